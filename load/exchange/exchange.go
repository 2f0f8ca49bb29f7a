// Package exchange makes the exchanges of a [bothends.Client] for package load: each on a
// connection of its own, or many on one connection, over TCP, TLS or unix sockets, with
// faults or without.
//
//	x := exchange.Exchanges{Addr: "localhost:1060", Request: []byte("Hi there, server")}
//	r := x.Runner()
//	r.Pacer, r.Workers, r.Duration = load.Constant(100), 10, 8*time.Second
//	record, err := r.Record(ctx, x.Meta())
package exchange

import (
	"cmp"
	"context"
	"sync"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/tcpinfo"
	"github.com/bothends/bothends/load"
)

// Exchanges are the exchanges of a run. The fields must not be changed after Runner or
// Start. A value is for one run.
type Exchanges struct {
	// Client connects. Its Dial may wrap connections with faults; exchanges that these
	// strike are neither timed nor errors.
	Client bothends.Client
	// Addr is the address to connect to, as Client.Connect takes it. A name is looked up
	// for each connection.
	Addr string
	// Request is the octets to send.
	Request []byte
	// PerConnection is the number of exchanges on one connection. If 0, it is 1. If
	// negative, there is no limit: each worker keeps its connection until an exchange
	// fails.
	PerConnection int

	mu    sync.Mutex
	stats Stats
}

// Stats are what is known of the exchanges of a run apart from its Record. Exchanges of the
// warm-up are not included.
type Stats struct {
	First error // of the first exchange that failed because of the server or the network
	Local error // of the first exchange that failed because of a limit of this machine
	Stale Stale
	// Surplus is the number of connections on which octets followed the last reply.
	Surplus int
	// Kernel is the sum of what the kernel reported about the connections before they were
	// closed. It is not known for all systems.
	Kernel load.Kernel
}

// Stale are the exchanges that failed because the server had closed a connection after an
// exchange on it, when the client used it again.
type Stale struct {
	Count       int
	Least, Most int // exchanges made on such a connection
}

// Runner returns a Runner for the exchanges. Set its Pacer, Workers, Duration and other
// fields before use.
func (x *Exchanges) Runner() load.Runner {
	return load.Runner{Start: x.Start, Outcome: Outcome, Timed: Timed, BackOff: FailsAtOnce}
}

// Meta returns what is known of the exchanges for [load.Runner.Record].
func (x *Exchanges) Meta() load.Meta {
	m := load.Meta{
		Target: x.Addr, RequestOctets: len(x.Request), PerConnection: cmp.Or(x.PerConnection, 1),
		ReplyOctets: max(0, cmp.Or(x.Client.ReplySize, bothends.DefaultMessageSize)),
		Timeout:     max(0, cmp.Or(x.Client.Timeout, bothends.DefaultTimeout)),
		Kernel:      x.kernel,
	}
	return m
}

// Stats returns what is known of the exchanges. Call it after the run.
func (x *Exchanges) Stats() Stats {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stats
}

// kernel returns the kernel's figures, or nil if there are none.
func (x *Exchanges) kernel() *load.Kernel {
	if k := x.Stats().Kernel; k.Connections > 0 {
		return &k
	}
	return nil
}

// Start is for [load.Runner]: it returns the exchanges of a worker. It does not connect.
func (x *Exchanges) Start(context.Context, int) (load.Op, error) {
	w := &worker{Exchanges: x, most: cmp.Or(x.PerConnection, 1)}
	w.trace = bothends.JoinTraces(w.timing.Trace(), &bothends.Trace{Exchanged: w.exchanged, Closing: w.closing})
	return load.Op{Do: w.exchange, Counted: w.counted, Close: w.end}, nil
}

// failed notes the error of an exchange. used is not 0 if the server had closed the
// connection after that many exchanges.
func (x *Exchanges) failed(err error, used int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if IsLocal(err) {
		x.stats.Local = cmp.Or(x.stats.Local, err)
		return
	}
	x.stats.First = cmp.Or(x.stats.First, err)
	if used == 0 {
		return
	}
	if s := &x.stats.Stale; s.Count == 0 {
		*s = Stale{1, used, used}
	} else {
		*s = Stale{s.Count + 1, min(s.Least, used), max(s.Most, used)}
	}
}

// closed adds what the kernel reported about a connection. good means that its last
// exchange succeeded: no octets are expected after it.
func (x *Exchanges) closed(info tcpinfo.Info, good bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := &x.stats.Kernel
	k.Connections++
	if good && info.Unread != nil && *info.Unread > 0 {
		x.stats.Surplus++
	}
	if info.Retransmissions != nil {
		k.Retransmissions += int64(*info.Retransmissions)
	}
	if info.RTT != nil {
		k.RTT.Record(*info.RTT)
	}
}

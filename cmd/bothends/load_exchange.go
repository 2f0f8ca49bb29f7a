package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/tcpinfo"
	"github.com/bothends/bothends/load"
)

// An exchanger makes the exchanges of a load.
type exchanger struct {
	client  bothends.Client
	addr    string
	request []byte
	most    int // exchanges on a connection; 0 for no limit
	workers []*exchangeWorker
	mu      sync.Mutex
	first   error // of the exchanges that failed by the server, or on the way to it
	local   error // the first one that failed by a limit of this machine
	stale   staleConns
	sum     load.Kernel // what the kernel said of connections that have ended
	surplus int         // connections with octets after their last, good, reply
}

// staleConns are the exchanges that failed because the server had closed a connection
// after an exchange on it, when the client meant to use it again.
type staleConns struct {
	count       int
	least, most int // exchanges that were made on such a connection
}

// exchanger is of the flags.
func (f *loadFlags) exchanger(addr string) *exchanger {
	x := &exchanger{addr: addr, request: f.message.octets, most: 1}
	switch {
	case f.persistent:
		x.most = 0
	case f.perConnection > 0:
		x.most = int(f.perConnection)
	}
	x.client = bothends.Client{ReplySize: noneIfZero(int(f.replySize)), Timeout: f.timeout.orNone()}
	if f.expect.given {
		x.client.Expect = f.expect.octets
	}
	dialer := f.dialer()
	faults := fault.New(fault.Sometimes(float64(f.faultShare), f.fault.Fault), f.seed)
	x.client.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return faults.Conn(conn), nil
	}
	return x
}

// dialer connects, from the addresses of --source in turn.
func (f *loadFlags) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if len(f.source.addrs) == 0 && f.source.low == 0 {
		dialer := net.Dialer{KeepAlive: -1}
		return dialer.DialContext
	}
	return f.source.dial
}

// worker is for load.Runner's Start.
func (x *exchanger) worker(int) (do func(context.Context) error, end func()) {
	w := &exchangeWorker{exchanger: x}
	w.trace = bothends.JoinTraces(w.timing.Trace(), &bothends.Trace{
		Exchanged: func(bothends.Exchange) {
			w.whole = true
			load.End(w.ctx)
		},
		Closing: w.closing,
	})
	x.mu.Lock()
	x.workers = append(x.workers, w)
	x.mu.Unlock()
	return w.exchange, w.drop
}

// An exchangeWorker makes one exchange after another, on a connection that it keeps
// for as many as it may have.
type exchangeWorker struct {
	*exchanger
	kept   *bothends.Conn // nil for none
	made   int            // exchanges on it
	trace  *bothends.Trace
	timing bothends.Timing
	whole  bool          // the last exchange has its reply
	struck []fault.Fault // those that have struck its connection

	ctx    context.Context // of the worker
	traced context.Context // the same with trace
}

func (w *exchangeWorker) exchange(ctx context.Context) error {
	if w.ctx != ctx {
		w.ctx, w.traced = ctx, bothends.WithTrace(ctx, w.trace)
	}
	w.whole, w.struck = false, nil
	used := 0
	if w.kept != nil {
		used = w.made
	}
	err := w.attempt()
	for name, spent := range w.timing.Phases() {
		if name != "close" { // that is not of the exchange's time
			load.Observe(ctx, name, spent)
		}
	}
	if w.kept != nil {
		w.struck = fault.Struck(w.kept.NetConn())
		if err != nil || w.made == w.most {
			w.drop()
		}
	}
	if len(w.struck) > 0 && (err == nil || byFault(w.struck, err)) {
		return &disturbed{err}
	}
	if err != nil && load.Counts(ctx) {
		if !closedEarly(err) {
			used = 0
		}
		w.failed(err, used)
	}
	return err
}

// attempt makes an exchange, on the connection that is kept or on a new one. A connection
// for one exchange is not kept.
func (w *exchangeWorker) attempt() error {
	if w.kept != nil {
		w.made++
		_, err := w.kept.Exchange(w.ctx, w.request)
		return err
	}
	w.timing.Reset()
	if w.most == 1 {
		_, err := w.client.Exchange(w.traced, w.addr, w.request)
		return err
	}
	ctx := w.traced
	if w.client.Timeout > 0 { // for both steps together
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.client.Timeout)
		defer cancel()
	}
	conn, err := w.client.Connect(ctx, w.addr)
	if err != nil {
		return err
	}
	w.kept, w.made = conn, 1
	_, err = conn.Exchange(ctx, w.request)
	return err
}

// closedEarly reports whether the server had ended the connection before an octet of the
// reply.
func closedEarly(err error) bool {
	outcome := bothends.Classify(err)
	var short *bothends.ShortError
	began := errors.As(err, &short) && short.Op == "read" && short.Done > 0
	return (outcome == bothends.Closed || outcome == bothends.Reset) && !began
}

// byFault reports whether an exchange failed because of what struck it: a delay or a
// drip is not a reason to fail.
func byFault(struck []fault.Fault, err error) bool {
	var own *fault.Error
	return errors.As(err, &own) || slices.ContainsFunc(struck, func(f fault.Fault) bool {
		return f.Has(fault.KindStall, fault.KindDiscard, fault.KindCorrupt, fault.KindClose, fault.KindHalfClose, fault.KindReset)
	})
}

// drop closes the connection that is kept.
func (w *exchangeWorker) drop() {
	if w.kept != nil {
		w.kept.Close()
		w.kept = nil
	}
}

// closing asks the kernel about a connection before it is closed.
func (w *exchangeWorker) closing(conn net.Conn) {
	w.struck = fault.Struck(conn)
	if w.ctx == nil || load.Counts(w.ctx) {
		w.ask(conn, w.whole && len(w.struck) == 0)
	}
}

// ask asks the kernel about a connection that is at its end. Behind a good reply there
// is nothing to come.
func (x *exchanger) ask(conn net.Conn, good bool) {
	info, err := tcpinfo.Read(conn)
	if err != nil {
		return
	}
	x.count(info, good)
}

// count adds what the kernel said of a connection.
func (x *exchanger) count(info tcpinfo.Info, good bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sum.Connections++
	if good && info.Unread != nil && *info.Unread > 0 {
		x.surplus++
	}
	if info.Retransmissions != nil {
		x.sum.Retransmissions += int64(*info.Retransmissions)
	}
	if info.RTT != nil {
		x.sum.RTT.Record(*info.RTT)
	}
}

// failed notes the error of an exchange. stale is not 0 if the server had closed the
// connection after that many exchanges.
func (x *exchanger) failed(err error, stale int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if isLocal(err) {
		x.local = cmp.Or(x.local, err)
		return
	}
	x.first = cmp.Or(x.first, err)
	if stale == 0 {
		return
	}
	if s := &x.stale; s.count == 0 {
		*s = staleConns{1, stale, stale}
	} else {
		*s = staleConns{s.count + 1, min(s.least, stale), max(s.most, stale)}
	}
}

// errors returns the first error that was not this machine's own, and the first that was.
func (x *exchanger) errors() (first, local error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.first, x.local
}

// close ends what the workers still keep; they have ended.
func (x *exchanger) close() {
	for _, w := range x.workers {
		w.drop()
	}
}

// kernel is the sum of what the kernel said; nil where it said nothing.
func (x *exchanger) kernel() *load.Kernel {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sum.Connections == 0 {
		return nil
	}
	return &x.sum
}

// disturbed is the end of an exchange that this end's own --fault has struck: it says
// nothing of the server.
type disturbed struct{ err error }

func (d *disturbed) Error() string { return fmt.Sprintf("disturbed: %v", d.err) }
func (d *disturbed) Unwrap() error { return d.err }

func isDisturbed(err error) bool {
	var d *disturbed
	return errors.As(err, &d)
}

// outcomeName is how an exchange ended. A disturbed one that failed is canceled: this
// end gave up.
func outcomeName(err error) string {
	if err == nil {
		return bothends.OK.String()
	}
	if d := (*disturbed)(nil); errors.As(err, &d) {
		if d.err == nil {
			return bothends.OK.String()
		}
		return bothends.Canceled.String()
	}
	if isLocal(err) {
		return load.Local
	}
	return bothends.Classify(err).String()
}

// succeeded reports whether an exchange ended well. A fault of ours that only slowed it
// does not make it fail.
func succeeded(err error) bool { return outcomeName(err) == bothends.OK.String() }

// timed reports whether an exchange counts in the latency.
func timed(err error) bool {
	if isDisturbed(err) {
		return false
	}
	outcome := bothends.Classify(err)
	return outcome == bothends.OK || outcome == bothends.Timeout
}

// failsAtOnce reports whether the next exchange would fail as fast as this one did.
func failsAtOnce(err error) bool {
	outcome := bothends.Classify(err)
	return outcome == bothends.Refused || outcome == bothends.Unreachable || isLocal(err)
}

// errorsIn returns how many exchanges failed, without those that this end gave up, and
// those that failed by a limit of this machine.
func errorsIn(i *load.Interval) int64 {
	return i.Operations() - i.Succeeded - i.Outcomes[bothends.Canceled.String()] - i.Outcomes[load.Local]
}

// idle connections are open during the load, and have no exchanges.
type idleConns struct {
	conns []net.Conn
	gone  atomic.Int64
	ended sync.WaitGroup
}

func holdIdle(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), addr string, n int) (*idleConns, error) {
	held := new(idleConns)
	for range n {
		limited, cancel := context.WithTimeout(ctx, bothends.DefaultTimeout)
		conn, err := dial(limited, "tcp", addr)
		cancel()
		if err != nil {
			held.close()
			return nil, fmt.Errorf("idle connection %d of %d: %w", len(held.conns)+1, n, err)
		}
		held.conns = append(held.conns, conn)
		held.ended.Go(func() {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				held.gone.Add(1)
			}
		})
	}
	return held, nil
}

// lost is how many the server has ended.
func (h *idleConns) lost() int64 { return h.gone.Load() }

func (h *idleConns) close() {
	for _, c := range h.conns {
		c.Close()
	}
	h.ended.Wait()
}

// A sourceFlag is the addresses, and the ports, to connect from, taken in turn.
type sourceFlag struct {
	shown     string
	addrs     []netip.Addr
	low, high uint16 // 0 leaves the port to the kernel
	next      *atomic.Uint64
}

func sleepUnless(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

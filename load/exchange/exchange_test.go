package exchange_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/load/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves exchanges until the test ends.
func serve(t *testing.T, ln net.Listener) {
	t.Helper()
	s := &bothends.Server{Persistent: true}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() { s.Close(); <-served })
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// A wire counts the connections that are made, and keeps what is sent on them.
type wire struct {
	mu    sync.Mutex
	conns int
	sent  strings.Builder
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns++
	return tapped{conn, w}, err
}

type tapped struct {
	net.Conn
	wire *wire
}

func (c tapped) Write(p []byte) (int, error) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.wire.sent.Write(p)
	return c.Conn.Write(p)
}

// Load goes over one TLS connection for each worker, with no plain text on the wire, and
// over a unix socket, with one or many exchanges on a connection.
func TestNetworks(t *testing.T) {
	plain := listen(t, "tcp", "127.0.0.1:0")
	secured := listen(t, "tcp", "127.0.0.1:0")
	unix := listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	server, client := certificates(t)
	serve(t, plain)
	serve(t, tls.NewListener(secured, server))
	serve(t, unix)
	for name, c := range map[string]struct {
		client        bothends.Client
		addr          string
		perConnection int
		conns         int
	}{
		"tcp":                     {bothends.Client{}, plain.Addr().String(), 1, 60},
		"tcp, five":               {bothends.Client{}, plain.Addr().String(), 5, 0},
		"tls, one each worker":    {bothends.Client{TLS: client}, secured.Addr().String(), -1, 3},
		"tls, one each exchange":  {bothends.Client{TLS: client}, secured.Addr().String(), 0, 60},
		"unix, one each worker":   {bothends.Client{Network: "unix"}, unix.Addr().String(), -1, 3},
		"unix, one each exchange": {bothends.Client{Network: "unix"}, unix.Addr().String(), 1, 60},
	} {
		wire := new(wire)
		c.client.Dial = wire.dial
		x := exchange.Exchanges{Client: c.client, Addr: c.addr, Request: []byte(bothends.DefaultRequest), PerConnection: c.perConnection}
		r := x.Runner()
		r.Workers, r.Count, r.Pacer = 3, 60, load.Constant(2000)
		record, err := r.Record(t.Context(), x.Meta())
		if err != nil {
			t.Fatal(err)
		}
		total := load.Total(record.Intervals)
		if total.Outcomes["ok"] != 60 || wire.conns > 60 || c.conns == 60 && wire.conns != 60 || c.conns == 3 && wire.conns > 3 {
			t.Errorf("%s: %v, %d connections; %v", name, total.Outcomes, wire.conns, x.Stats().First)
		}
		if encrypted := !strings.Contains(wire.sent.String(), bothends.DefaultRequest); encrypted != (c.client.TLS != nil) {
			t.Errorf("%s: encrypted: %v", name, encrypted)
		}
		if h := total.Phases["secure"]; c.client.TLS != nil && (h == nil || h.Count() != int64(wire.conns)) {
			t.Errorf("%s: the handshakes are not in the phases: %v", name, total.Phases)
		}
	}
}

// A server that closes the connection after two exchanges is noticed, and the exchanges
// that failed count as stale.
func TestStale(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			for range 2 {
				io.ReadFull(conn, make([]byte, 16))
				io.WriteString(conn, bothends.DefaultReply)
			}
			conn.Close()
		}
	})
	defer serving.Wait()
	defer ln.Close()
	x := exchange.Exchanges{Addr: ln.Addr().String(), Request: []byte(bothends.DefaultRequest), PerConnection: -1}
	r := x.Runner()
	r.Count = 10 // the last one on a connection of its own
	record, err := r.Record(t.Context(), x.Meta())
	if err != nil {
		t.Fatal(err)
	}
	total, stats := load.Total(record.Intervals), x.Stats()
	if total.Succeeded != 7 || stats.Kernel.Connections != 0 && stats.Kernel.Connections != 4 || runtime.GOOS == "linux" && record.Kernel == nil || stats.Stale != (exchange.Stale{Count: 3, Least: 2, Most: 2}) || stats.First == nil || stats.Local != nil {
		t.Errorf("%v, %+v", total.Outcomes, stats)
	}
}

// What fails because of a limit of this machine is not an error of the server.
func TestLocal(t *testing.T) {
	connect := func(call string, n syscall.Errno) error {
		return &net.OpError{Op: "dial", Err: os.NewSyscallError(call, n)}
	}
	for _, err := range []error{connect("socket", syscall.EMFILE), connect("connect", syscall.EADDRNOTAVAIL), connect("bind", syscall.EADDRINUSE)} {
		x := exchange.Exchanges{Client: bothends.Client{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, err }}, Addr: "127.0.0.1:1"}
		r := x.Runner()
		r.Count = 3
		record, failed := r.Record(t.Context(), x.Meta())
		if failed != nil {
			t.Fatal(failed)
		}
		total, stats := load.Total(record.Intervals), x.Stats()
		if total.Outcomes[load.Local] != 3 || total.Errors() != 0 || total.Failed() != 3 || total.BackOffs == 0 || stats.Local == nil || stats.First != nil || total.Latency.Count() != 0 {
			t.Errorf("%v: %v, %+v", err, total.Outcomes, stats)
		}
	}
	for _, err := range []error{connect("connect", syscall.ECONNREFUSED), connect("connect", syscall.EHOSTUNREACH)} {
		if exchange.IsLocal(err) || !exchange.FailsAtOnce(err) {
			t.Errorf("%v is taken for this machine's, or repeated at once", err)
		}
	}
	if exchange.FailsAtOnce(connect("read", syscall.ECONNRESET)) {
		t.Error("a reset is followed by a wait")
	}
}

// Operations of the warm-up are in no figure: neither connections nor errors.
func TestWarmup(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, ln)
	made := 0
	x := exchange.Exchanges{Client: bothends.Client{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if made++; made <= 3 {
			return nil, fmt.Errorf("cold")
		}
		return bothends.Dial(ctx, new(net.Dialer), network, addr)
	}}, Addr: ln.Addr().String(), Request: []byte(bothends.DefaultRequest)}
	r := x.Runner()
	r.Pacer, r.Warmup, r.Count = load.Constant(1000), 20e6, 20 // 20 in the warm-up
	record, err := r.Record(t.Context(), x.Meta())
	if err != nil {
		t.Fatal(err)
	}
	if stats := x.Stats(); made != 40 || stats.First != nil || load.Total(record.Intervals).Succeeded != 20 || record.Kernel != nil && record.Kernel.Connections != 20 {
		t.Errorf("%d made, %+v, %+v", made, stats, record.Kernel)
	}
}

// An exchange that failed because of a fault of this end is canceled, and not an error of
// the server. A fault that only slows is not a reason to fail.
func TestDisturbed(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, ln)
	for name, c := range map[string]struct {
		fault fault.Fault
		want  string
	}{
		"stall":        {fault.Stall(4), load.Canceled},
		"discard":      {fault.Discard(4), load.Canceled},
		"half-close":   {fault.HalfClose(4), load.Canceled},
		"close":        {fault.Close(4), load.Canceled},
		"reset":        {fault.Reset(4), load.Canceled},
		"corrupt":      {fault.Reads(fault.Corrupt(4)), load.Canceled},
		"drip, slowly": {fault.Drip(1, 20*time.Millisecond), bothends.Timeout.String()},
		"drip":         {fault.Drip(8, time.Millisecond), load.OK},
	} {
		faults := fault.New(fault.Sometimes(1, c.fault), 1)
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := bothends.Dial(ctx, new(net.Dialer), network, addr)
			if err != nil {
				return nil, err
			}
			return faults.Conn(conn), nil
		}
		x := exchange.Exchanges{
			Client: bothends.Client{Dial: dial, Timeout: 100 * time.Millisecond, Expect: []byte(bothends.DefaultReply)},
			Addr:   ln.Addr().String(), Request: []byte(bothends.DefaultRequest),
		}
		r := x.Runner()
		r.Count = 1
		record, err := r.Record(t.Context(), x.Meta())
		if err != nil {
			t.Fatal(err)
		}
		total, stats := load.Total(record.Intervals), x.Stats()
		ofServer := c.want == bothends.Timeout.String()
		if total.Outcomes[c.want] != 1 || (total.Latency.Count() > 0) != ofServer || (stats.First != nil) != ofServer {
			t.Errorf("%s: %v, want %s; %d timed, %v", name, total.Outcomes, c.want, total.Latency.Count(), stats.First)
		}
	}
}

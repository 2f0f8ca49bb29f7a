package bothends_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
)

// echo replies with the request. The fourth time it does not reply.
func echo() func(context.Context, *bothends.Request) ([]byte, error) {
	replies := 0
	return func(ctx context.Context, r *bothends.Request) ([]byte, error) {
		if replies++; replies == 4 {
			<-ctx.Done()
		}
		return r.Message, nil
	}
}

// Each exchange of a connection has a deadline and a result. Hooks are called in order, and
// Done once, after Close.
func TestConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		serve(t, &bothends.Server{Persistent: true, Reply: echo()}, ln)
		c := &bothends.Client{Dial: ln.Dial, Timeout: time.Second, Expect: []byte(sixteen)}
		var calls string
		ctx := bothends.WithTrace(t.Context(), &bothends.Trace{
			Connected: func(bothends.Connection) { calls += "C" },
			Sent:      func(bothends.Transfer) { calls += "s" },
			Received:  func(bothends.Transfer) { calls += "r" },
			Exchanged: func(bothends.Exchange) { calls += "x" },
			Closing:   func(net.Conn) { calls += "c" },
			Done: func(err error) {
				if calls += "D"; bothends.Classify(err) != bothends.Timeout {
					t.Errorf("Done: %v", err)
				}
			},
		})
		conn, err := c.Connect(ctx, "localhost:1060")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			time.Sleep(3 * time.Second) // the time limit is that of an exchange
			if reply, err := conn.Exchange(t.Context(), []byte(sixteen)); string(reply) != sixteen || err != nil {
				t.Fatalf("%q, %v", reply, err)
			}
		}
		if reply, err := conn.Exchange(t.Context(), []byte("something else..")); bothends.Classify(err) != bothends.Mismatch || len(reply) != 16 {
			t.Errorf("a reply that is not expected: %q, %v", reply, err)
		}
		start := time.Now()
		if _, err = conn.Exchange(t.Context(), []byte(sixteen)); bothends.Classify(err) != bothends.Timeout || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		for range 2 {
			if err := conn.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if _, err := conn.Exchange(t.Context(), []byte(sixteen)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("an exchange after one that failed: %v", err)
			}
		}
		if calls != "CsrxsrxsrxsrcD" {
			t.Errorf("hooks: %s", calls)
		}
	})
}

// At both ends, Exchanged receives the phases of its exchange.
func TestPhasesOfEachExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		var mu sync.Mutex
		phases := make(map[string][]string)
		record := func(end string) *bothends.Trace {
			return &bothends.Trace{Exchanged: func(e bothends.Exchange) {
				text := ""
				for name, spent := range e.Phases.All() {
					text += name + " " + spent.String() + ", "
				}
				mu.Lock()
				defer mu.Unlock()
				phases[end] = append(phases[end], text)
			}}
		}
		serve(t, &bothends.Server{
			Persistent: true, TraceConn: func(net.Conn) *bothends.Trace { return record("server") },
			Reply: func(context.Context, *bothends.Request) ([]byte, error) {
				time.Sleep(2 * time.Second)
				return []byte(farewell), nil
			},
		}, ln)
		c := &bothends.Client{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(time.Second)
			return ln.Dial(ctx, network, addr)
		}}
		conn, err := c.Connect(bothends.WithTrace(t.Context(), record("client")), "localhost:1060")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			time.Sleep(5 * time.Second)
			if _, err := conn.Exchange(t.Context(), []byte(sixteen)); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for end, want := range map[string][]string{
			"client": {"connect 1s, send 0s, wait 2s, receive 0s, ", "send 0s, wait 2s, receive 0s, "},
			"server": {"wait 5s, receive 0s, reply 2s, send 0s, ", "wait 5s, receive 0s, reply 2s, send 0s, "},
		} {
			if len(phases[end]) != 2 || phases[end][0] != want[0] || phases[end][1] != want[1] {
				t.Errorf("%s: %q, want %q", end, phases[end], want)
			}
		}
	})
}

// When the context ends, the exchange ends, and its error wraps the cause.
func TestConnExchangeCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		serve(t, &bothends.Server{Persistent: true, Timeout: time.Hour, Reply: func(ctx context.Context, _ *bothends.Request) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, ln)
		why := errors.New("enough")
		canceled, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		limited, cancel2 := context.WithTimeout(t.Context(), time.Second)
		defer cancel2()
		for want, ctx := range map[bothends.Outcome]context.Context{bothends.Canceled: canceled, bothends.Timeout: limited} {
			conn, err := memClient(ln).Connect(t.Context(), "localhost:1060")
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err = conn.Exchange(ctx, []byte(sixteen))
			if got := bothends.Classify(err); got != want || errors.Is(err, why) != (want == bothends.Canceled) || time.Since(start) > time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			conn.Close()
		}
	})
}

// slowToEnd is a connection on which setting a deadline in the past takes 1 s.
// If an exchange does not wait for that, it ends the next exchange.
type slowToEnd struct{ *memnet.Conn }

func (c slowToEnd) SetDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		time.Sleep(time.Second)
	}
	return c.Conn.SetDeadline(t)
}

// A context that ends just as an exchange succeeds does not affect the next exchange, and
// no deadline is left on the connection.
func TestConnLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		var peer sync.WaitGroup
		peer.Go(func() {
			for range 2 {
				if bothends.ReadMessage(far, make([]byte, 16)) != nil {
					return
				}
				time.Sleep(5 * time.Second)
				far.Write([]byte(farewell))
			}
			time.Sleep(time.Hour)
			far.Write([]byte("x"))
		})
		ending, cancel := context.WithCancel(t.Context())
		c := &bothends.Client{Dial: func(context.Context, string, string) (net.Conn, error) { return slowToEnd{near}, nil }}
		conn, err := c.Connect(bothends.WithTrace(t.Context(), &bothends.Trace{Exchanged: func(bothends.Exchange) { cancel() }}), "localhost:1060")
		if err != nil {
			t.Fatal(err)
		}
		for i, ctx := range []context.Context{ending, t.Context()} {
			if _, err := conn.Exchange(ctx, []byte(sixteen)); err != nil {
				t.Errorf("exchange %d: %v", i+1, err)
			}
		}
		if _, err := conn.NetConn().Read(make([]byte, 1)); err != nil {
			t.Errorf("a read after the exchanges: %v", err)
		}
		conn.Close()
		peer.Wait()
	})
}

// A tap is a connection that keeps a copy of the octets that it transfers.
type tap struct {
	net.Conn
	mu   sync.Mutex
	seen bytes.Buffer
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.note(p[:n])
	return n, err
}

func (t *tap) Write(p []byte) (int, error) {
	t.note(p)
	return t.Conn.Write(p)
}

func (t *tap) note(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen.Write(p)
}

// Two exchanges on one TLS connection, made by Client.TLS or by Dial. Nothing is
// sent in plain text, and the handshake is reported once.
func TestConnOverTLS(t *testing.T) {
	cert, pool := certificate(t)
	ln := loopback(t)
	config := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	serve(t, &bothends.Server{Persistent: true, Reply: func(_ context.Context, r *bothends.Request) ([]byte, error) {
		if r.TLS == nil || !r.TLS.HandshakeComplete || r.Peer == nil || r.Local.String() != ln.Addr().String() {
			t.Errorf("the request: %+v", r)
		}
		return []byte(farewell), nil
	}}, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}))

	for name, byDial := range map[string]bool{"Client.TLS": false, "Dial": true} {
		var wire *tap
		c := &bothends.Client{TLS: config}
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			wire = &tap{Conn: dial(t, ln)}
			if byDial {
				return tls.Client(wire, config), nil
			}
			return wire, nil
		}
		if byDial {
			c.TLS = nil
		}
		handshakes := 0
		conn, err := c.Connect(bothends.WithTrace(t.Context(), &bothends.Trace{Secured: func(bothends.Handshake) { handshakes++ }}), ln.Addr().String())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for range 2 {
			if reply, err := conn.Exchange(t.Context(), []byte(sixteen)); string(reply) != farewell || err != nil {
				t.Errorf("%s: %q, %v", name, reply, err)
			}
		}
		conn.Close()
		wire.mu.Lock()
		if wire.seen.Len() == 0 || bytes.Contains(wire.seen.Bytes(), []byte(sixteen)) || bytes.Contains(wire.seen.Bytes(), []byte(farewell)) {
			t.Errorf("%s: on the wire: %q", name, wire.seen.Bytes())
		}
		wire.mu.Unlock()
		if handshakes != 1 {
			t.Errorf("%s: %d handshakes", name, handshakes)
		}
	}
}

func TestConnectThatFails(t *testing.T) {
	cert, _ := certificate(t)
	ln := loopback(t)
	serve(t, new(bothends.Server), tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}))
	var calls string
	trace := &bothends.Trace{
		Secured: func(bothends.Handshake) { calls += "s" }, Closing: func(net.Conn) { calls += "c" },
		Done: func(err error) { calls += "D " + bothends.Classify(err).String() },
	}
	c := &bothends.Client{TLS: &tls.Config{ServerName: "127.0.0.1"}}
	conn, err := c.Connect(bothends.WithTrace(t.Context(), trace), ln.Addr().String())
	var failed *bothends.ExchangeError
	if conn != nil || !errors.As(err, &failed) || failed.Op != "secure" || calls != "scD tls" {
		t.Errorf("%v, %v, hooks %q", conn, err, calls)
	}
	calls = ""
	if _, err = memClient(closed()).Connect(bothends.WithTrace(t.Context(), trace), "localhost:1060"); bothends.Classify(err) != bothends.Refused || calls != "D refused" {
		t.Errorf("%v, hooks %q", err, calls)
	}
}

func closed() *memnet.Listener {
	ln := memnet.Listen()
	ln.Close()
	return ln
}

// Exchanges work over a Unix socket, with and without TLS.
func TestUnixSocket(t *testing.T) {
	cert, pool := certificate(t)
	for _, secure := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "socket")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c := &bothends.Client{Network: "unix"}
		if secure {
			ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}})
			c.TLS = &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
		}
		serve(t, &bothends.Server{Persistent: true}, ln)
		conn, err := c.Connect(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if reply, err := conn.Exchange(t.Context(), []byte(sixteen)); string(reply) != farewell || err != nil {
				t.Errorf("%q, %v", reply, err)
			}
		}
		conn.Close()
		if _, err := c.Exchange(t.Context(), path+"-of-no-server", nil); bothends.Classify(err) != bothends.Unreachable && bothends.Classify(err) != bothends.Refused {
			t.Errorf("no socket: %v is %v", err, bothends.Classify(err))
		}
	}
}

package bothends_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
)

// A reply is cut after n octets by FIN or RST of the kernel. The test checks the
// outcome, the number of octets, and that the next exchange works.
func TestReplyCutAnywhere(t *testing.T) {
	ln := loopback(t)
	type plan struct {
		octets int
		reset  bool
	}
	plans := make(chan plan)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for p := range plans {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.ReadFull(conn, make([]byte, 16))
			conn.Write([]byte(farewell[:p.octets]))
			if p.reset {
				// The octets are on loopback: the client has them before the RST.
				conn.(*net.TCPConn).SetLinger(0)
			}
			conn.Close()
		}
	}()
	for n := range 16 {
		for _, reset := range []bool{false, true} {
			want, how := bothends.Short, "FIN"
			if reset {
				want, how = bothends.Reset, "RST"
			} else if n == 0 {
				want = bothends.Closed
			}
			plans <- plan{n, reset}
			_, err := new(bothends.Client).Exchange(t.Context(), ln.Addr().String(), []byte(sixteen))
			checkCut(t, err, want, n, how)
			var ex *bothends.ExchangeError
			if !errors.As(err, &ex) || ex.Op != "receive" || ex.Peer != ln.Addr().String() {
				t.Errorf("%s at %d: %#v", how, n, err)
			}
			plans <- plan{16, false}
			mustExchange(t, new(bothends.Client), ln.Addr().String())
		}
	}
	close(plans)
	<-served
}

func TestReplySilentAfterEachOctet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n := range 16 {
			ln := memnet.Listen()
			go func() {
				conn, _ := ln.Accept()
				conn.Write([]byte(farewell[:n]))
				time.Sleep(2 * time.Minute)
				conn.Close()
			}()
			start := time.Now()
			c := &bothends.Client{Dial: ln.Dial, Timeout: time.Minute}
			_, err := c.Exchange(t.Context(), "localhost:1060", []byte(sixteen))
			checkCut(t, err, bothends.Timeout, n, "silence")
			if d := time.Since(start); d != time.Minute {
				t.Errorf("a deadline of a minute took %v", d)
			}
			time.Sleep(time.Hour)
		}
	})
}

var errBored = errors.New("bored")

func TestCancelInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { time.Sleep(time.Second); cancel(errBored) }()
		start := time.Now()
		_, err := memClient(ln).Exchange(ctx, "localhost:1060", []byte(sixteen))
		checkCut(t, err, bothends.Canceled, 0, "cancel")
		if !errors.Is(err, errBored) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ln.Close()
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := new(bothends.Client).Exchange(ctx, "127.0.0.1:1", nil); bothends.Classify(err) != bothends.Canceled {
		t.Errorf("cancelled before it began: %v", err)
	}
}

// The peer never reads, so send blocks until the timeout.
func TestTimeoutWhileSending(t *testing.T) {
	ln := loopback(t)
	c := &bothends.Client{Timeout: 50 * time.Millisecond}
	_, err := c.Exchange(t.Context(), ln.Addr().String(), make([]byte, 32<<20))
	var ex *bothends.ExchangeError
	var short *bothends.ShortError
	if bothends.Classify(err) != bothends.Timeout || !errors.As(err, &ex) || ex.Op != "send" ||
		!errors.As(err, &short) || short.Op != "write" || short.Done == 0 || short.Done >= 32<<20 {
		t.Errorf("%v", err)
	}
}

func TestExpectAndSizes(t *testing.T) {
	ln := memnet.Listen()
	serve(t, new(bothends.Server), ln)
	c := &bothends.Client{Dial: ln.Dial, Expect: []byte("Goodbye, clients")}
	reply, err := c.Exchange(t.Context(), "localhost:1060", []byte(sixteen))
	var mismatch *bothends.MismatchError
	if string(reply) != farewell || !errors.As(err, &mismatch) || bothends.Classify(err) != bothends.Mismatch {
		t.Errorf("%q, %v", reply, err)
	}
	if want := `the reply "Farewell, client" is not the expected "Goodbye, clients"`; err.Error() != want {
		t.Errorf("text: %s", err)
	}
	c.Expect = []byte(farewell)
	mustExchange(t, c, "localhost:1060")

	// A server without a request, and a client without a reply.
	greeter := memnet.Listen()
	serve(t, &bothends.Server{MessageSize: -1}, greeter)
	if reply, err := memClient(greeter).Exchange(t.Context(), "localhost:1060", nil); string(reply) != farewell || err != nil {
		t.Errorf("a greeting: %q, %v", reply, err)
	}
	sink := memnet.Listen()
	serve(t, &bothends.Server{Reply: func(context.Context, *bothends.Request) ([]byte, error) { return nil, nil }}, sink)
	reply, err = (&bothends.Client{Dial: sink.Dial, ReplySize: -1}).Exchange(t.Context(), "localhost:1060", []byte(sixteen))
	if len(reply) != 0 || err != nil {
		t.Errorf("no reply: %q, %v", reply, err)
	}
}

// events returns a Trace that records each call of its hooks.
func events(list *[]string) *bothends.Trace {
	add := func(format string) { *list = append(*list, format) }
	return &bothends.Trace{
		Resolved:  func(r bothends.Resolution) { add("resolved " + r.Name) },
		Connected: func(c bothends.Connection) { add("connected") },
		Accepted:  func(c bothends.Connection) { add("accepted") },
		Secured:   func(h bothends.Handshake) { add("secured " + bothends.Classify(h.Err).String()) },
		Sent:      func(s bothends.Transfer) { add("sent " + string(s.Message)) },
		Received: func(r bothends.Transfer) {
			if r.Want == 0 {
				add("past the message " + bothends.Classify(r.Err).String())
			} else {
				add("received " + string(r.Message))
			}
		},
		Exchanged: func(e bothends.Exchange) { add("exchanged " + string(e.Request) + "/" + string(e.Reply)) },
		Closing:   func(net.Conn) { add("closing") },
		Done:      func(err error) { add("done " + bothends.Classify(err).String()) },
	}
}

func TestTraceOfBothEnds(t *testing.T) {
	ln := memnet.Listen()
	var client, server []string
	done := make(chan struct{})
	serve(t, &bothends.Server{MessageSize: 4, TraceConn: func(net.Conn) *bothends.Trace {
		return bothends.JoinTraces(events(&server), nil, &bothends.Trace{Done: func(error) { close(done) }})
	}}, ln)
	ctx := bothends.WithTrace(bothends.WithTrace(t.Context(), events(&client)), &bothends.Trace{})
	c := memClient(ln)
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := ln.Dial(ctx, network, addr)
		return pieces{conn.(*memnet.Conn)}, err
	}
	if _, err := c.Exchange(ctx, "localhost:1060", []byte("abcd")); err != nil {
		t.Fatal(err)
	}
	<-done
	wantClient := []string{"connected", "sent a", "sent abc", "sent abcd", "received " + farewell, "exchanged abcd/" + farewell, "closing", "done ok"}
	if !reflect.DeepEqual(client, wantClient) {
		t.Errorf("client:\n%s", strings.Join(client, "\n"))
	}
	wantServer := []string{"accepted", "received a", "received abc", "received abcd", "sent " + farewell,
		"exchanged abcd/" + farewell, "past the message closed", "closing", "done ok"}
	if !reflect.DeepEqual(server, wantServer) {
		t.Errorf("server:\n%s", strings.Join(server, "\n"))
	}
}

// pieces writes 1 octet in the first call and 2 in each later one, as a kernel may.
type pieces struct{ *memnet.Conn }

func (p pieces) Write(b []byte) (int, error) {
	if len(b) == 4 {
		return p.Conn.Write(b[:1])
	}
	return p.Conn.Write(b[:min(2, len(b))])
}

func TestTraceOfFailures(t *testing.T) {
	var list []string
	ctx := bothends.WithTrace(t.Context(), events(&list))
	ln := loopback(t)
	ln.Close()
	new(bothends.Client).Exchange(ctx, ln.Addr().String(), nil)
	if want := []string{"connected", "done refused"}; !reflect.DeepEqual(list, want) {
		t.Errorf("refused: %v", list)
	}
	list = nil
	new(bothends.Client).Exchange(ctx, "no port", nil)
	if want := []string{"done unreachable"}; !reflect.DeepEqual(list, want) {
		t.Errorf("no address: %v", list)
	}
}

func TestResolved(t *testing.T) {
	ln := loopback(t)
	serve(t, new(bothends.Server), ln)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	var got bothends.Resolution
	ctx := bothends.WithTrace(t.Context(), &bothends.Trace{Resolved: func(r bothends.Resolution) { got = r }})
	mustExchange(t, new(bothends.Client), net.JoinHostPort("localhost", port))
	if _, err := new(bothends.Client).Exchange(ctx, net.JoinHostPort("localhost", port), []byte(sixteen)); err != nil {
		t.Fatal(err)
	}
	if got.Name != "localhost" || got.Err != nil || got.Start.IsZero() || !contains(got.Addrs, "127.0.0.1") {
		t.Errorf("%+v", got)
	}
}

func contains(addrs []netip.Addr, want string) bool {
	for _, a := range addrs {
		if a.String() == want {
			return true
		}
	}
	return false
}

func TestTLSBothEnds(t *testing.T) {
	cert, pool := certificate(t)
	ln := loopback(t)
	results := &score{done: make(chan error, 1)}
	var server []string // of the first connection
	var first sync.Once
	serve(t, &bothends.Server{TraceConn: func(c net.Conn) *bothends.Trace {
		trace := results.trace(c)
		first.Do(func() { trace = bothends.JoinTraces(events(&server), trace) })
		return trace
	}}, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}))
	addr := ln.Addr().String()

	var client []string
	ctx := bothends.WithTrace(t.Context(), events(&client))
	trusting := &bothends.Client{TLS: &tls.Config{RootCAs: pool}}
	if reply, err := trusting.Exchange(ctx, addr, []byte(sixteen)); string(reply) != farewell || err != nil {
		t.Errorf("%q, %v", reply, err)
	}
	if err := <-results.done; err != nil {
		t.Error(err)
	}
	if len(client) < 2 || client[1] != "secured ok" || len(server) < 2 || server[1] != "secured ok" {
		t.Errorf("client %v\nserver %v", client, server)
	}

	for name, c := range map[string]struct {
		client *bothends.Client
		want   bothends.Outcome
	}{
		"a client that does not trust the server": {&bothends.Client{TLS: &tls.Config{}}, bothends.TLS},
		"a client without TLS":                    {&bothends.Client{}, bothends.Closed},
	} {
		_, err := c.client.Exchange(t.Context(), addr, []byte(sixteen))
		if got := bothends.Classify(err); got != c.want {
			t.Errorf("%s: %v is %v", name, err, got)
		}
		if err := <-results.done; bothends.Classify(err) != bothends.TLS {
			t.Errorf("%s, server: %v is %v", name, err, bothends.Classify(err))
		}
	}

	dial(t, ln).Close() // a port probe
	if err := <-results.done; bothends.Classify(err) != bothends.Closed {
		t.Errorf("a probe: %v", err)
	}
	reset := dial(t, ln)
	reset.SetLinger(0)
	reset.Close()
	if err := <-results.done; bothends.Classify(err) != bothends.Reset {
		t.Errorf("a reset handshake: %v", err)
	}
	mustExchange(t, trusting, addr)
	<-results.done

	plain := loopback(t)
	serve(t, new(bothends.Server), plain)
	if _, err := trusting.Exchange(t.Context(), plain.Addr().String(), []byte(sixteen)); bothends.Classify(err) != bothends.TLS {
		t.Errorf("TLS to a server without: %v", err)
	}
	slow := &bothends.Client{TLS: &tls.Config{RootCAs: pool}, Timeout: 20 * time.Millisecond}
	if _, err := slow.Exchange(t.Context(), loopback(t).Addr().String(), nil); bothends.Classify(err) != bothends.Timeout {
		t.Errorf("a silent handshake: %v", err)
	}
}

// With TLS 1.3, the server rejects the client's certificate after the client has
// finished its handshake, so the alert arrives where the reply should.
func TestTLSAlertInsteadOfReply(t *testing.T) {
	cert, pool := certificate(t)
	ln := loopback(t)
	serve(t, new(bothends.Server), tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
	}))
	c := &bothends.Client{TLS: &tls.Config{RootCAs: pool}}
	_, err := c.Exchange(t.Context(), ln.Addr().String(), []byte(sixteen))
	if bothends.Classify(err) != bothends.TLS || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("%v", err)
	}
}

func TestTimingOfBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		var client, server bothends.Timing
		done := make(chan struct{})
		serve(t, &bothends.Server{
			TraceConn: func(net.Conn) *bothends.Trace {
				return bothends.JoinTraces(server.Trace(), &bothends.Trace{Done: func(error) { close(done) }})
			},
			Reply: func(context.Context, *bothends.Request) ([]byte, error) {
				time.Sleep(3 * time.Second)
				return []byte(farewell), nil
			},
		}, ln)
		c := memClient(ln)
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(time.Second)
			conn, err := ln.Dial(ctx, network, addr)
			return slowWriter{conn}, err
		}
		start := time.Now()
		if _, err := c.Exchange(bothends.WithTrace(t.Context(), client.Trace()), "localhost:1060", []byte(sixteen)); err != nil {
			t.Fatal(err)
		}
		<-done
		if !client.Start.Equal(start) {
			t.Errorf("client began at %v, not %v", client.Start, start)
		}
		checkPhases(t, &client, "connect 1s send 2s wait 3s receive 0s close 0s")
		checkPhases(t, &server, "wait 1s receive 1s reply 3s send 0s close 0s")
	})
}

// slowWriter takes 1 s for each half of a message.
type slowWriter struct{ net.Conn }

func (w slowWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Second)
	n := (len(p) + 1) / 2
	if _, err := w.Conn.Write(p[:n]); err != nil {
		return 0, err
	}
	time.Sleep(time.Second)
	m, err := w.Conn.Write(p[n:])
	return n + m, err
}

func checkPhases(t *testing.T, timing *bothends.Timing, want string) {
	t.Helper()
	var got []string
	for name, spent := range timing.Phases() {
		got = append(got, name+" "+spent.String())
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("phases: %s\nwant:   %s", s, want)
	}
}

func TestTimingOfFailuresAndPersistence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var timing bothends.Timing
		c := &bothends.Client{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, Timeout: time.Minute}
		c.Exchange(bothends.WithTrace(t.Context(), timing.Trace()), "localhost:1060", nil)
		checkPhases(t, &timing, "connect 1m0s")

		ln := memnet.Listen()
		timing = bothends.Timing{}
		c = &bothends.Client{Dial: ln.Dial, Timeout: time.Minute}
		c.Exchange(bothends.WithTrace(t.Context(), timing.Trace()), "localhost:1060", []byte(sixteen))
		checkPhases(t, &timing, "connect 0s send 0s wait 1m0s close 0s")
		ln.Close()

		ln = memnet.Listen()
		timing = bothends.Timing{}
		var each []string
		done := make(chan struct{})
		serve(t, &bothends.Server{Persistent: true, TraceConn: func(net.Conn) *bothends.Trace {
			return bothends.JoinTraces(timing.Trace(), &bothends.Trace{
				Exchanged: func(bothends.Exchange) {
					for name, spent := range timing.Phases() {
						each = append(each, name+" "+spent.String())
					}
				},
				Done: func(error) { close(done) },
			})
		}}, ln)
		conn, _ := ln.Dial(t.Context(), "tcp", "")
		for range 2 {
			time.Sleep(time.Second)
			conn.Write([]byte(sixteen))
			bothends.ReadMessage(conn, make([]byte, 16))
		}
		conn.Close()
		<-done
		one := "wait 1s receive 0s reply 0s send 0s"
		if got := strings.Join(each, " "); got != one+" "+one {
			t.Errorf("two exchanges on one connection: %s", got)
		}
	})
}

func TestConnectWithNoAddressToSpare(t *testing.T) {
	ln := loopback(t)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}
	_, err := (&bothends.Client{Dial: d.DialContext}).Exchange(t.Context(), ln.Addr().String(), nil)
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || bothends.Classify(err) != bothends.Unreachable {
		t.Errorf("%v", err)
	}
}

// The cause of a context comes from the caller. The outcome depends on how the context
// ended.
func TestCausesAreNotClassified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cause := range []error{bothends.ErrDenied, bothends.ErrServerClosed, context.Canceled, io.EOF} {
			ln := memnet.Listen()
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
			_, err := memClient(ln).Exchange(ctx, "localhost:1060", []byte(sixteen))
			checkCut(t, err, bothends.Timeout, 0, "deadline")
			if !errors.Is(err, cause) {
				t.Errorf("%v lacks its cause, %v", err, cause)
			}
			cancel()
			canceled, cancelWith := context.WithCancelCause(t.Context())
			go func() { time.Sleep(time.Second); cancelWith(cause) }()
			_, err = memClient(ln).Exchange(canceled, "localhost:1060", []byte(sixteen))
			checkCut(t, err, bothends.Canceled, 0, "cancel")
			ln.Close()
		}
	})
}

// The server rejects the client's certificate while a large request is on its
// way. The client receives the alert, and not the RST of a socket closed with unread input.
func TestTLSAlertDuringALargeRequest(t *testing.T) {
	cert, pool := certificate(t)
	ln := loopback(t)
	serve(t, new(bothends.Server), tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
	}))
	c := &bothends.Client{TLS: &tls.Config{RootCAs: pool}}
	for range 20 {
		_, err := c.Exchange(t.Context(), ln.Addr().String(), make([]byte, 8<<20))
		if bothends.Classify(err) != bothends.TLS {
			t.Fatalf("%v is %v", err, bothends.Classify(err))
		}
	}
}

// The text of an error that crypto/tls wraps does not contain the peer twice.
func TestTLSErrorNamesThePeerOnce(t *testing.T) {
	cert, pool := certificate(t)
	ln := loopback(t)
	go func() {
		conn, err := tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}).Accept()
		if err != nil {
			return
		}
		conn.(*tls.Conn).Handshake()
		tcp := conn.(*tls.Conn).NetConn().(*net.TCPConn)
		tcp.SetLinger(0)
		tcp.Close()
	}()
	c := &bothends.Client{TLS: &tls.Config{RootCAs: pool}}
	_, err := c.Exchange(t.Context(), ln.Addr().String(), make([]byte, 8<<20))
	if bothends.Classify(err) != bothends.Reset || strings.Count(err.Error(), ln.Addr().String()) != 1 {
		t.Errorf("%v", err)
	}
}

// A Timing may be used for successive connections.
func TestTimingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		serve(t, new(bothends.Server), ln)
		var timing bothends.Timing
		for range 3 {
			time.Sleep(time.Second)
			began := time.Now()
			c := memClient(ln)
			if _, err := c.Exchange(bothends.WithTrace(t.Context(), timing.Trace()), "localhost:1060", []byte(sixteen)); err != nil {
				t.Fatal(err)
			}
			checkPhases(t, &timing, "connect 0s send 0s wait 0s receive 0s close 0s")
			if timing.Start != began {
				t.Errorf("it began at %v, want %v", timing.Start, began)
			}
		}
	})
}

func TestTimingOfAReplyThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		var timing bothends.Timing
		done := make(chan struct{})
		serve(t, &bothends.Server{
			TraceConn: func(net.Conn) *bothends.Trace {
				return bothends.JoinTraces(timing.Trace(), &bothends.Trace{Done: func(error) { close(done) }})
			},
			Reply: func(context.Context, *bothends.Request) ([]byte, error) {
				time.Sleep(3 * time.Second)
				return nil, errBored
			},
		}, ln)
		memClient(ln).Exchange(t.Context(), "localhost:1060", []byte(sixteen))
		<-done
		checkPhases(t, &timing, "wait 0s receive 0s reply 3s")
	})
}

// A connection of a port to itself is refused.
func TestSelfConnect(t *testing.T) {
	ln := loopback(t)
	addr := ln.Addr()
	ln.Close()
	d := net.Dialer{LocalAddr: addr}
	_, err := (&bothends.Client{Dial: d.DialContext}).Exchange(t.Context(), addr.String(), []byte(sixteen))
	if bothends.Classify(err) != bothends.Refused {
		t.Errorf("%v is %v", err, bothends.Classify(err))
	}
}

// Equal addresses mean a connection to itself only in TCP. The ends of a
// net.Pipe, and of a Unix socket without names, have equal addresses.
func TestDialOfOtherNetworks(t *testing.T) {
	for name, dial := range map[string]func() (near, far net.Conn){
		"net.Pipe":               net.Pipe,
		"addresses without port": func() (near, far net.Conn) { n, f := net.Pipe(); return addressed{n, &net.TCPAddr{}}, f },
		"no addresses":           func() (near, far net.Conn) { n, f := net.Pipe(); return addressed{n, nil}, f },
	} {
		var far net.Conn
		c := &bothends.Client{Dial: func(context.Context, string, string) (near net.Conn, _ error) {
			near, far = dial()
			go answerOnce(far)
			return near, nil
		}}
		mustExchange(t, c, "pipe:1060")

		c.Dial = func(context.Context, string, string) (near net.Conn, _ error) {
			near, far = dial()
			return near, far.Close()
		}
		if _, err := c.Exchange(t.Context(), "pipe:1060", []byte(sixteen)); bothends.Classify(err) != bothends.Reset {
			t.Errorf("%s, closed: %v is %v", name, err, bothends.Classify(err))
		}
	}

	path := t.TempDir() + "/socket"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, new(bothends.Server), ln)
	mustExchange(t, &bothends.Client{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}, "unix:1060")
}

func answerOnce(conn net.Conn) {
	defer conn.Close()
	if bothends.ReadMessage(conn, make([]byte, 16)) == nil {
		conn.Write([]byte(farewell))
	}
}

type addressed struct {
	net.Conn
	addr net.Addr
}

func (a addressed) LocalAddr() net.Addr  { return a.addr }
func (a addressed) RemoteAddr() net.Addr { return a.addr }

// Dial looks up names in other goroutines. Resolved is called by one goroutine at a
// time, never concurrently with another hook, and not after Done.
func TestResolvedInTheBackground(t *testing.T) {
	ln := memnet.Listen()
	serve(t, new(bothends.Server), ln)
	var list []string // without a lock, so that the race detector finds concurrent calls
	var looksUp sync.WaitGroup
	left, finish := make(chan struct{}), make(chan struct{})
	c := &bothends.Client{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		lookUp := func() { httptrace.ContextClientTrace(ctx).DNSDone(httptrace.DNSDoneInfo{}) }
		looksUp.Go(lookUp)
		looksUp.Go(lookUp)
		looksUp.Wait()
		looksUp.Go(func() { // continues after Dial returns
			<-left
			lookUp()
		})
		return ln.Dial(ctx, network, addr)
	}}
	ctx := bothends.WithTrace(t.Context(), bothends.JoinTraces(events(&list), &bothends.Trace{
		Sent: func(bothends.Transfer) { close(left) },
		Done: func(error) { close(finish) },
	}))
	if _, err := c.Exchange(ctx, "name:1060", []byte(sixteen)); err != nil {
		t.Fatal(err)
	}
	<-finish
	looksUp.Wait()
	want := []string{"resolved name", "resolved name", "connected", "sent " + sixteen, "received " + farewell,
		"exchanged " + sixteen + "/" + farewell, "closing", "done ok"}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("%s", strings.Join(list, "\n"))
	}
}

// If the source address cannot be bound, the step of the error is bind, not connect.
func TestBindThatFails(t *testing.T) {
	ln := loopback(t)
	d := net.Dialer{LocalAddr: ln.Addr()}
	_, err := (&bothends.Client{Dial: d.DialContext}).Exchange(t.Context(), "127.0.0.1:1", nil)
	if want := "bind to " + ln.Addr().String() + ": address already in use"; bothends.Classify(err) != bothends.Unreachable || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

package bothends_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
)

func TestZeroValuesMakeTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		serve(t, new(bothends.Server), ln)
		mustExchange(t, memClient(ln), "localhost:1060")
	})
	ln := loopback(t)
	serve(t, new(bothends.Server), ln)
	mustExchange(t, new(bothends.Client), ln.Addr().String())
}

// A request that is cut after n octets by FIN, RST or silence has the right outcome, and
// the next exchange works at once. The kernel sends the FIN and the RST.
func TestRequestCutAnywhere(t *testing.T) {
	results := &score{done: make(chan error, 1)}
	ln := loopback(t)
	serve(t, &bothends.Server{TraceConn: results.trace}, ln)
	for n := range 16 {
		for how, cut := range map[string]func(*net.TCPConn) error{
			"FIN": (*net.TCPConn).CloseWrite,
			"RST": func(c *net.TCPConn) error { c.SetLinger(0); return c.Close() },
		} {
			conn := dial(t, ln)
			conn.Write([]byte(sixteen[:n]))
			cut(conn)
			want := bothends.Short
			if how == "RST" {
				want = bothends.Reset
			} else if n == 0 {
				want = bothends.Closed
			}
			checkCut(t, <-results.done, want, n, how)
			mustExchange(t, new(bothends.Client), ln.Addr().String())
			if err := <-results.done; err != nil {
				t.Errorf("the exchange after %s at %d: %v", how, n, err)
			}
		}
	}
}

func TestSilenceAfterEachOctet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := &score{done: make(chan error, 2)}
		ln := memnet.Listen()
		serve(t, &bothends.Server{TraceConn: results.trace, Timeout: time.Minute}, ln)
		for n := range 16 {
			start := time.Now()
			conn, _ := ln.Dial(t.Context(), "tcp", "")
			conn.Write([]byte(sixteen[:n]))
			mustExchange(t, memClient(ln), "localhost:1060")
			if time.Since(start) != 0 {
				t.Errorf("somebody else waited %v for a silent client", time.Since(start))
			}
			if err := <-results.done; err != nil {
				t.Error(err)
			}
			checkCut(t, <-results.done, bothends.Timeout, n, "silence")
			if d := time.Since(start); d != time.Minute {
				t.Errorf("a deadline of a minute took %v", d)
			}
			conn.Close()
		}
	})
}

func checkCut(t *testing.T, err error, want bothends.Outcome, n int, how string) {
	t.Helper()
	var short *bothends.ShortError
	if got := bothends.Classify(err); got != want || !errors.As(err, &short) || short.Done != n || short.Want != 16 {
		t.Errorf("%s after %d octets: %v (%v), want %v", how, n, err, got, want)
	}
}

// Octets that arrive do not extend the deadline.
func TestDeadlineIsAbsolute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := &score{done: make(chan error, 1)}
		ln := memnet.Listen()
		serve(t, &bothends.Server{TraceConn: results.trace, Timeout: time.Minute}, ln)
		start := time.Now()
		conn, _ := ln.Dial(t.Context(), "tcp", "")
		defer conn.Close()
		go func() {
			for range 8 {
				conn.Write([]byte("x"))
				time.Sleep(7 * time.Second)
			}
			conn.Write([]byte("x"))
		}()
		checkCut(t, <-results.done, bothends.Timeout, 9, "an octet each 7 s")
		if d := time.Since(start); d != time.Minute {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestNegativeTimeoutIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		serve(t, &bothends.Server{Timeout: -1}, ln)
		conn, _ := ln.Dial(t.Context(), "tcp", "")
		time.Sleep(24 * time.Hour)
		conn.Write([]byte(sixteen))
		if reply, err := io.ReadAll(conn); string(reply) != farewell || err != nil {
			t.Errorf("%q, %v", reply, err)
		}
		conn.Close()
	})
}

// A client that sends more than its message, before or after the reply was sent,
// still receives a reply much larger than the socket's buffers.
func TestSurplusDoesNotDestroyTheReply(t *testing.T) {
	reply := bytes.Repeat([]byte("0123456789abcdef"), 3<<18) // 12 MiB
	for _, surplus := range []int{1, 16, 5000} {
		for _, late := range []bool{false, true} {
			ln := loopback(t)
			results := &score{done: make(chan error, 1)}
			gate := make(chan struct{})
			serve(t, &bothends.Server{TraceConn: results.trace, Reply: func(context.Context, *bothends.Request) ([]byte, error) {
				<-gate
				return reply, nil
			}}, ln)
			conn := dial(t, ln)
			conn.Write([]byte(sixteen))
			extra := func() { conn.Write(bytes.Repeat([]byte("x"), surplus)) }
			if !late {
				extra()
			}
			close(gate)
			got := make([]byte, len(reply))
			n, _ := io.ReadFull(conn, got[:1])
			if late {
				extra()
			}
			m, err := io.ReadFull(conn, got[n:])
			if err != nil || !bytes.Equal(got, reply) {
				t.Errorf("%d octets too many (late: %v): got %d of %d, %v", surplus, late, n+m, len(reply), err)
			}
			conn.Close()
			if err := <-results.done; err != nil {
				t.Errorf("outcome: %v", err)
			}
		}
	}
}

// The server waits at most 1 s for the peer's FIN.
func TestLingerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := &score{done: make(chan error, 1)}
		ln := memnet.Listen()
		serve(t, &bothends.Server{TraceConn: results.trace}, ln)
		start := time.Now()
		conn, _ := ln.Dial(t.Context(), "tcp", "")
		defer conn.Close()
		conn.Write([]byte(sixteen + "x"))
		if err := <-results.done; err != nil || time.Since(start) != time.Second {
			t.Errorf("a peer that stays: %v after %v", err, time.Since(start))
		}
	})
}

func TestPersistent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := &score{done: make(chan error, 1)}
		ln := memnet.Listen()
		serve(t, &bothends.Server{TraceConn: results.trace, Persistent: true, Timeout: time.Minute}, ln)

		conn, _ := ln.Dial(t.Context(), "tcp", "")
		for range 3 {
			time.Sleep(50 * time.Second) // each exchange has a time limit of 1 min
			conn.Write([]byte(sixteen))
			reply := make([]byte, 16)
			if err := bothends.ReadMessage(conn, reply); err != nil || string(reply) != farewell {
				t.Fatalf("%q, %v", reply, err)
			}
		}
		conn.Write([]byte(sixteen[:4]))
		conn.Close()
		checkCut(t, <-results.done, bothends.Short, 4, "FIN inside a later message")

		conn, _ = ln.Dial(t.Context(), "tcp", "")
		conn.Write([]byte(sixteen + sixteen)) // both at once
		reply := make([]byte, 32)
		if err := bothends.ReadMessage(conn, reply); err != nil || string(reply) != farewell+farewell {
			t.Fatalf("%q, %v", reply, err)
		}
		conn.Close()
		if err := <-results.done; err != nil {
			t.Errorf("closed between two exchanges: %v", err)
		}

		conn, _ = ln.Dial(t.Context(), "tcp", "")
		conn.Close()
		checkCut(t, <-results.done, bothends.Closed, 0, "closed before the first exchange")
	})
}

func TestReplyThatFails(t *testing.T) {
	var logged bytes.Buffer
	results := &score{done: make(chan error, 1)}
	fail := errors.New("no answer to this")
	s := &bothends.Server{
		TraceConn: results.trace,
		MaxConns:  1, // after each kind of Reply, the slot is free again
		Log:       testLogger(&logged),
		Reply: func(_ context.Context, r *bothends.Request) ([]byte, error) {
			switch r.Message[0] {
			case 'p':
				panic("cannot")
			case 'e':
				return nil, fail
			case 'd':
				return nil, fmt.Errorf("not you: %w", bothends.ErrDenied)
			case 'x':
				runtime.Goexit()
			}
			return []byte(farewell), nil
		},
	}
	ln := memnet.Listen()
	serve(t, s, ln)
	for first, want := range map[string]bothends.Outcome{
		"p": bothends.Canceled, "e": bothends.Canceled, "d": bothends.Denied, "x": bothends.Canceled,
	} {
		reply, err := memClient(ln).Exchange(t.Context(), "localhost:1060", []byte(first+sixteen[1:]))
		if bothends.Classify(err) != bothends.Closed {
			t.Errorf("the client of %q got %q, %v", first, reply, err)
		}
		err = <-results.done
		if bothends.Classify(err) != want || first == "e" && !errors.Is(err, fail) {
			t.Errorf("%q: %v is %v, want %v", first, err, bothends.Classify(err), want)
		}
		mustExchange(t, memClient(ln), "localhost:1060")
		<-results.done
	}
	if got := logged.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "panic=cannot") {
		t.Errorf("log: %s", got)
	}
}

func TestReplyHasTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := &score{done: make(chan error, 1)}
		ln := memnet.Listen()
		serve(t, &bothends.Server{TraceConn: results.trace, Timeout: time.Minute,
			Reply: func(ctx context.Context, _ *bothends.Request) ([]byte, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}, ln)
		start := time.Now()
		_, err := (&bothends.Client{Dial: ln.Dial, Timeout: -1}).Exchange(t.Context(), "localhost:1060", []byte(sixteen))
		if bothends.Classify(err) != bothends.Closed || time.Since(start) != time.Minute {
			t.Errorf("client: %v after %v", err, time.Since(start))
		}
		if err := <-results.done; bothends.Classify(err) != bothends.Timeout {
			t.Errorf("server: %v", err)
		}
	})
}

func TestMaxConnsMakesOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := new(score)
		ln := memnet.Listen()
		serve(t, &bothends.Server{TraceConn: results.trace, MaxConns: 2, Timeout: time.Minute}, ln)
		for range 2 {
			silent, _ := ln.Dial(t.Context(), "tcp", "")
			defer silent.Close()
		}
		start := time.Now()
		c := &bothends.Client{Dial: ln.Dial, Timeout: time.Hour}
		go func() {
			time.Sleep(time.Second)
			results.mu.Lock()
			defer results.mu.Unlock()
			if results.accepted != 2 {
				t.Errorf("%d accepted at a limit of 2", results.accepted)
			}
		}()
		mustExchange(t, c, "localhost:1060")
		if d := time.Since(start); d != time.Minute {
			t.Errorf("the third got its turn after %v", d)
		}
	})
}

// Accept of this listener fails several times.
type failingListener struct {
	*memnet.Listener
	errs []error
	asks atomic.Int32
}

func (l *failingListener) Accept() (net.Conn, error) {
	if i := int(l.asks.Add(1)) - 1; i < len(l.errs) && l.errs[i] != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", l.errs[i])}
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make([]error, 10)
		for i := range errs {
			errs[i] = syscall.EMFILE
		}
		ln := &failingListener{Listener: memnet.Listen(), errs: errs}
		start := time.Now()
		serve(t, &bothends.Server{Log: quiet, MaxConns: 1}, ln) // an error does not occupy the slot
		mustExchange(t, &bothends.Client{Dial: ln.Dial, Timeout: time.Hour}, "localhost:1060")
		// 5, 10, 20, ... 640 ms, then 1 s each.
		if d := time.Since(start); d != 1275*time.Millisecond+2*time.Second {
			t.Errorf("ten times EMFILE took %v", d)
		}

		// After a connection, the pauses start again at 5 ms. This happens twice.
		ln = &failingListener{Listener: memnet.Listen(), errs: []error{syscall.EMFILE, nil, syscall.EMFILE}}
		start = time.Now()
		serve(t, &bothends.Server{Log: quiet}, ln)
		for range 2 {
			mustExchange(t, &bothends.Client{Dial: ln.Dial}, "localhost:1060")
		}
		if d := time.Since(start); d != 10*time.Millisecond {
			t.Errorf("EMFILE before each of two connections took %v", d)
		}

		errs[0] = syscall.EBADF
		ln = &failingListener{Listener: memnet.Listen(), errs: errs}
		if err := (&bothends.Server{Log: quiet}).Serve(ln); !errors.Is(err, syscall.EBADF) {
			t.Errorf("an error that does not pass: %v", err)
		}

		errs[0] = syscall.EMFILE
		ln = &failingListener{Listener: memnet.Listen(), errs: errs}
		s := &bothends.Server{Log: quiet}
		ended := make(chan error)
		go func() { ended <- s.Serve(ln) }()
		time.Sleep(time.Second) // during a pause
		now := time.Now()
		s.Close()
		if err := <-ended; !errors.Is(err, bothends.ErrServerClosed) || time.Since(now) != 0 {
			t.Errorf("closing during the pause: %v after %v", err, time.Since(now))
		}
	})
}

func TestShutdownDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := new(score)
		ln := memnet.Listen()
		s := &bothends.Server{TraceConn: results.trace, Persistent: true, Timeout: time.Minute}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()

		idle, _ := ln.Dial(t.Context(), "tcp", "")
		idle.Write([]byte(sixteen))
		bothends.ReadMessage(idle, make([]byte, 16))
		begun, _ := ln.Dial(t.Context(), "tcp", "")
		begun.Write([]byte(sixteen))
		bothends.ReadMessage(begun, make([]byte, 16))
		begun.Write([]byte(sixteen[:7])) // its second exchange has started
		synctest.Wait()

		start := time.Now()
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF || time.Since(start) != 0 {
			t.Errorf("a connection between two exchanges: %v after %v", err, time.Since(start))
		}
		idle.Close()
		if _, err := memClient(ln).Exchange(t.Context(), "localhost:1060", []byte(sixteen)); bothends.Classify(err) != bothends.Refused {
			t.Errorf("a client after Shutdown began: %v", err)
		}
		time.Sleep(30 * time.Second)
		select {
		case <-down:
			t.Error("Shutdown returned before the last exchange had ended")
		default:
		}
		begun.Write([]byte(sixteen[7:]))
		if reply, err := io.ReadAll(begun); string(reply) != farewell || err != nil {
			t.Errorf("the exchange under way: %q, %v", reply, err)
		}
		begun.Close()
		if err := <-down; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, bothends.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if results.accepted != 2 || results.outcomes[bothends.OK] != 2 {
			t.Errorf("accepted %d, outcomes %v", results.accepted, results.outcomes)
		}
		if err := s.Serve(ln); !errors.Is(err, bothends.ErrServerClosed) {
			t.Errorf("Serve again: %v", err)
		}
	})
}

func TestShutdownGivesUpAndCloseCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := &score{done: make(chan error, 3)}
		ln := memnet.Listen()
		s := &bothends.Server{TraceConn: results.trace, Timeout: -1}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		for range 3 {
			conn, _ := ln.Dial(t.Context(), "tcp", "")
			defer conn.Close()
			conn.Write([]byte("Hi"))
		}
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("Shutdown: %v after %v", err, time.Since(start))
		}
		s.Close()
		if err := <-served; !errors.Is(err, bothends.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		for range 3 {
			err := <-results.done
			checkCut(t, err, bothends.Canceled, 2, "Close")
			if !errors.Is(err, bothends.ErrServerClosed) || !strings.Contains(err.Error(), "stopped by shutdown 2 bytes into") {
				t.Errorf("a cut connection: %v", err)
			}
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown after Close: %v", err)
		}
	})
}

func TestCloseBeforeServe(t *testing.T) {
	s := new(bothends.Server)
	s.Close()
	ln := memnet.Listen()
	if err := s.Serve(ln); !errors.Is(err, bothends.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
	if err := new(bothends.Server).Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// The server does not allocate memory for octets that have not arrived.
func TestHugeMessageCostsNothingUntilItComes(t *testing.T) {
	ln := loopback(t)
	serve(t, &bothends.Server{MessageSize: 1 << 30}, ln)
	before := heap()
	for range 200 {
		dial(t, ln).Write([]byte("x"))
	}
	mustSettle(t, ln)
	if grown := heap() - before; grown > 64<<20 {
		t.Errorf("200 peers with an octet each hold %d MiB", grown>>20)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// mustSettle waits until the server has read the octets of one more peer, which it
// accepted after all earlier peers.
func mustSettle(t *testing.T, ln net.Listener) {
	t.Helper()
	conn := dial(t, ln)
	conn.CloseWrite()
	io.ReadAll(conn)
}

func TestThousandSilentConnections(t *testing.T) {
	ln := loopback(t)
	serve(t, new(bothends.Server), ln)
	for range 1000 {
		dial(t, ln)
	}
	start := time.Now()
	mustExchange(t, new(bothends.Client), ln.Addr().String())
	took := time.Since(start)
	t.Logf("an exchange beside 1,000 silent connections: %v", took)
	if took > time.Second { // normally milliseconds; the limit allows for a busy machine
		t.Errorf("took %v", took)
	}
}

// A listener without connections does not occupy a slot of the others.
func TestMaxConnsOverTwoListeners(t *testing.T) {
	s := &bothends.Server{MaxConns: 1}
	idle, busy := memnet.Listen(), memnet.Listen()
	serve(t, s, idle)
	serve(t, s, busy)
	for range 10 {
		mustExchange(t, memClient(busy), "localhost:1060")
	}
	mustExchange(t, memClient(idle), "localhost:1060")
}

func TestShutdownOfAnIdleServerNeedsNoTime(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if err := new(bothends.Server).Shutdown(ended); err != nil {
			t.Fatal(err)
		}
	}
}

// When Done is called, the connection has been closed.
func TestDoneComesAfterClose(t *testing.T) {
	ln := loopback(t)
	done := make(chan error, 1)
	serve(t, &bothends.Server{TraceConn: func(c net.Conn) *bothends.Trace {
		return &bothends.Trace{Done: func(error) {
			_, err := c.Read(make([]byte, 1))
			done <- err
		}}
	}}, ln)
	mustExchange(t, new(bothends.Client), ln.Addr().String())
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read in Done: %v", err)
	}
}

// A server keeps no memory for a connection that has ended.
func TestServerForgetsConnections(t *testing.T) {
	ln := loopback(t)
	s := new(bothends.Server)
	freed := make(chan int, 3)
	serve(t, s, wrapping{ln, func(c net.Conn) net.Conn {
		wrapped := &struct{ net.Conn }{c}
		runtime.AddCleanup(wrapped, func(int) { freed <- 1 }, 0)
		return wrapped
	}})
	for range 3 {
		mustExchange(t, new(bothends.Client), ln.Addr().String())
	}
	for range 3 {
		for got := false; !got; {
			runtime.GC()
			select {
			case <-freed:
				got = true
			case <-t.Context().Done():
				t.Fatal("still held")
			default:
			}
		}
	}
	runtime.KeepAlive(s)
}

// wrapping is a listener that wraps its connections.
type wrapping struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w wrapping) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return w.wrap(conn), nil
}

// Shutdown is called when the first octets of another exchange have been read,
// and changes the deadline of a connection that it considers idle.
func TestShutdownAtTheFirstOctet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		s := &bothends.Server{Persistent: true}
		down := make(chan error, 1)
		results := &score{done: make(chan error, 1)}
		s.TraceConn = results.trace
		served := make(chan error, 1)
		go func() {
			served <- s.Serve(wrapping{ln, func(c net.Conn) net.Conn {
				return &atFirstOctet{Conn: c, after: 16, do: func() {
					go func() { down <- s.Shutdown(context.Background()) }()
					synctest.Wait()
				}}
			}})
		}()
		conn, _ := ln.Dial(t.Context(), "tcp", "")
		conn.Write([]byte(sixteen))
		bothends.ReadMessage(conn, make([]byte, 16))
		conn.Write([]byte(sixteen[:7]))
		time.Sleep(time.Second)
		conn.Write([]byte(sixteen[7:]))
		if reply, err := io.ReadAll(conn); string(reply) != farewell || err != nil {
			t.Errorf("the exchange that had begun: %q, %v", reply, err)
		}
		conn.Close()
		if err := <-down; err != nil {
			t.Error(err)
		}
		if err := <-results.done; err != nil {
			t.Error(err)
		}
		<-served
	})
}

// atFirstOctet calls a function in the first read that exceeds a number of octets.
type atFirstOctet struct {
	net.Conn
	after, read int
	do          func()
}

func (c *atFirstOctet) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.read += n; c.read > c.after && c.do != nil {
		do := c.do
		c.do = nil
		do()
	}
	return n, err
}

// A large message is read to its end and not past it.
func TestLargeMessagesBackToBack(t *testing.T) {
	const size = 100_001
	var got []byte
	ln := loopback(t)
	serve(t, &bothends.Server{MessageSize: size, Persistent: true, Reply: func(_ context.Context, r *bothends.Request) ([]byte, error) {
		got = append(got, r.Message[0], r.Message[size-1])
		return []byte{byte(len(got))}, nil
	}}, ln)
	conn := dial(t, ln)
	for _, c := range "abc" {
		go conn.Write(append(bytes.Repeat([]byte{byte(c)}, size-1), 'z'))
		if err := bothends.ReadMessage(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	conn.Write(append(append(bytes.Repeat([]byte("d"), size-1), 'z'), append(bytes.Repeat([]byte("e"), size-1), 'z')...))
	if err := bothends.ReadMessage(conn, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if string(got) != "azbzczdzez" {
		t.Errorf("%q", got)
	}
}

// TraceConn may read from the connection, and so may the address methods of a wrapper.
// The deadline and Close apply to them.
func TestDeadlineAndCloseReachTraceConn(t *testing.T) {
	for name, setUp := range map[string]func(*bothends.Server, net.Listener) net.Listener{
		"TraceConn": func(s *bothends.Server, ln net.Listener) net.Listener {
			s.TraceConn = func(c net.Conn) *bothends.Trace {
				c.Read(make([]byte, 1))
				return nil
			}
			return ln
		},
		"RemoteAddr": func(s *bothends.Server, ln net.Listener) net.Listener {
			return wrapping{ln, func(c net.Conn) net.Conn { return asksFirst{c} }}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			ln := memnet.Listen()
			s := &bothends.Server{Timeout: time.Minute}
			served := make(chan error, 1)
			wrapped := setUp(s, ln)
			go func() { served <- s.Serve(wrapped) }()

			start := time.Now()
			conn, _ := ln.Dial(t.Context(), "tcp", "")
			conn.Read(make([]byte, 1))
			conn.Close()
			if d := time.Since(start); d != time.Minute {
				t.Errorf("%s: a deadline of a minute took %v", name, d)
			}
			conn, _ = ln.Dial(t.Context(), "tcp", "")
			defer conn.Close()
			synctest.Wait()
			start = time.Now()
			s.Close()
			<-served
			if d := time.Since(start); d != 0 {
				t.Errorf("%s: Close took %v", name, d)
			}
		})
	}
}

// asksFirst reads before it returns its address, as a wrapper for the PROXY protocol does.
type asksFirst struct{ net.Conn }

func (c asksFirst) RemoteAddr() net.Addr {
	c.Read(make([]byte, 1))
	return c.Conn.RemoteAddr()
}

// The first temporary accept error is logged at once. Then the number is logged every 10 s.
func TestAcceptErrorsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make([]error, 30)
		for i := range errs {
			errs[i] = syscall.EMFILE
		}
		ln := &failingListener{Listener: memnet.Listen(), errs: errs}
		var logged bytes.Buffer
		s := &bothends.Server{Log: testLogger(&logged)}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		mustExchange(t, &bothends.Client{Dial: ln.Dial, Timeout: time.Hour}, "localhost:1060")
		s.Close()
		<-served
		// 8 pauses take 1.275 s in total, and each of the other 22 takes 1 s.
		var counts []string
		for line := range strings.Lines(logged.String()) {
			if !strings.Contains(line, "too many open files") {
				t.Errorf("%s", line)
			}
			_, count, _ := strings.Cut(strings.TrimSpace(line), "failures=")
			counts = append(counts, count)
		}
		if got := strings.Join(counts, " "); got != "1 17 10 2" {
			t.Errorf("failures in each line: %s\n%s", got, &logged)
		}
	})
}

// The limit of connections is logged when it is first reached, and not again.
func TestConnectionLimitIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		var logged bytes.Buffer
		s := &bothends.Server{MaxConns: 2, Log: testLogger(&logged)}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		mustExchange(t, memClient(ln), "localhost:1060")
		synctest.Wait()
		if logged.Len() > 0 {
			t.Errorf("below the limit: %s", &logged)
		}
		for range 2 {
			for range 3 {
				silent, _ := ln.Dial(t.Context(), "tcp", "")
				defer silent.Close()
			}
			time.Sleep(time.Hour) // all of them have ended
		}
		s.Close()
		<-served
		if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "limit=2") {
			t.Errorf("%s", got)
		}
	})
}

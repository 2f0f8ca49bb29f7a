package check_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/memnet"
)

func TestMain(m *testing.M) {
	if os.Getenv("BOTHENDS_PORT") != "" { // run by a case
		recordingClient()
		return
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each client that a case runs takes one second longer
	flag.Parse()
	flag.Set("test.parallel", "8") // the tests wait more than they work
	goleak.VerifyTestMain(m)
}

// verdicts runs cases against a server. It returns "name: verdict" for each case.
func verdicts(t *testing.T, s *check.Server, only ...string) (all []string, why map[string]string) {
	t.Helper()
	why = make(map[string]string)
	for r := range s.Run(t.Context(), cases(t, only...)) {
		all = append(all, r.Case+": "+r.Verdict.String())
		why[r.Case] = r.Why
		if r.Took < 0 || r.Title == "" {
			t.Errorf("%s took %v, and its title is %q", r.Case, r.Took, r.Title)
		}
	}
	return all, why
}

// cases returns the cases for servers with these names, or all of them.
func cases(t *testing.T, only ...string) (chosen []check.ServerCase) {
	t.Helper()
	for _, c := range check.ServerCases() {
		if len(only) == 0 {
			chosen = append(chosen, c)
		}
		for _, name := range only {
			if c.Name == name {
				chosen = append(chosen, c)
			}
		}
	}
	if len(only) > 0 && len(chosen) != len(only) {
		t.Fatalf("no such cases: %q", only)
	}
	return chosen
}

// serve listens on a TCP port, and calls handle for each connection in a goroutine.
func serve(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, handle, false)
	return ln.Addr().String()
}

// inMemory runs a test, or a subtest if it has a name, in a bubble of package synctest, where
// time passes only while all goroutines wait. Its network must be in memory.
func inMemory(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	if name == "" {
		synctest.Test(t, test)
		return
	}
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// serveInMemory is serveOn over a network in memory. It returns the Dial of a Server.
func serveInMemory(t *testing.T, handle func(net.Conn), inTurn bool) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	ln := memnet.Listen()
	serveOn(t, ln, handle, inTurn)
	return ln.Dial
}

// serveOn calls handle for each connection until the test ends: one connection after another
// if inTurn is set.
func serveOn(t *testing.T, ln net.Listener, handle func(net.Conn), inTurn bool) {
	t.Helper()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			one := func() {
				defer conn.Close()
				handle(conn)
			}
			if inTurn {
				one()
			} else {
				conns.Go(one)
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		conns.Wait()
	})
}

// answer is the server's part of a normal exchange.
func answer(conn net.Conn) error {
	if err := bothends.ReadMessage(conn, make([]byte, 16)); err != nil {
		return err
	}
	return bothends.WriteMessage(conn, []byte(bothends.DefaultReply))
}

// Our server passes every case.
func TestOurServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ours := &bothends.Server{Timeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- ours.Serve(ln) }()
	defer func() {
		ours.Close()
		<-served
	}()
	s := &check.Server{Addr: ln.Addr().String(), Expect: []byte(bothends.DefaultReply), Silence: 5 * time.Second, Times: 200}
	got, why := verdicts(t, s)
	var want []string
	for _, c := range check.ServerCases() {
		want = append(want, c.Name+": pass")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%q", diff, why)
	}
}

// Each case finds the bugs that it is for.
func TestBrokenServers(t *testing.T) {
	request := func(conn net.Conn) error { return bothends.ReadMessage(conn, make([]byte, 16)) }
	reply := func(conn net.Conn) { conn.Write([]byte(bothends.DefaultReply)) }
	for _, c := range []struct {
		cases   string
		verdict string
		why     string
		handle  func(net.Conn)
		inTurn  bool
	}{
		{"octets cut", "fail", "of the request: |connection reset by peer|0 bytes into a 16-byte message", func(conn net.Conn) {
			if n, _ := conn.Read(make([]byte, 16)); n == 16 { // takes one Read for the message
				reply(conn)
			}
		}, false},
		{"octets cut", "fail", "the server answered after ", func(conn net.Conn) {
			for p := make([]byte, 16); ; { // answers each Read
				if n, _ := conn.Read(p); n == 0 {
					return
				}
				reply(conn)
			}
		}, false},
		{"octets cut", "fail", "the server answered after |of the request: ", func(conn net.Conn) {
			conn.Read(make([]byte, 16)) // and closes after the first
			reply(conn)
		}, false},
		{"half-close", "fail", "the reply did not arrive: socket closed 0 bytes into a 16-byte message", func(conn net.Conn) {
			if request(conn) != nil {
				return
			}
			conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF { // takes the FIN for a client that has left
				reply(conn)
			}
		}, false},
		{"surplus", "warn", "the reply was lost: ", func(conn net.Conn) {
			if request(conn) != nil {
				return
			}
			conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			if n, _ := conn.Read(make([]byte, 1)); n == 0 { // takes a surplus octet for an attack
				reply(conn)
			}
		}, false},
		{"surplus", "warn", "the server closed the connection with an octet unread", func(conn net.Conn) {
			answer(conn) // and closes at once
		}, false},
		{"many", "fail", "exchanges did not work, one of them: ", func(conn net.Conn) {
			conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond)) // and slowly
			io.Copy(io.Discard, conn)
			bothends.WriteMessage(conn, []byte(bothends.DefaultReply))
		}, true},
		{"no-reader", "fail", "another client was not served: ", func(conn net.Conn) {
			for answer(conn) == nil { // persistent
			}
		}, true},
		{"fin", "warn", "the server answered a request that ended after ", func(conn net.Conn) {
			io.ReadAtLeast(conn, make([]byte, 16), 16)
			reply(conn)
		}, false},
		{"fin", "warn", "the server had not closed its end", func(conn net.Conn) {
			if answer(conn) != nil {
				slow := time.NewTimer(2200 * time.Millisecond)
				<-slow.C // forgets to close
			}
		}, false},
		{"silence", "fail", "while two clients are silent, another one is not served: ", func(conn net.Conn) {
			answer(conn)
		}, true},
		{"silence", "warn", "no deadline within 500ms: a client that sent nothing was still connected", func(conn net.Conn) { answer(conn) }, false},
		{"whole", "fail", "not the expected", func(conn net.Conn) {
			if request(conn) == nil {
				conn.Write([]byte("Farewell, CLIENT"))
			}
		}, false},
	} {
		for name := range strings.FieldsSeq(c.cases) {
			inMemory(t, name, func(t *testing.T) {
				s := &check.Server{Dial: serveInMemory(t, c.handle, c.inTurn), Expect: []byte(bothends.DefaultReply), Limit: 2 * time.Second, Silence: time.Second / 2, Many: 120}
				got, why := verdicts(t, s, name)
				matches := false
				for text := range strings.SplitSeq(c.why, "|") {
					matches = matches || strings.Contains(why[name], text)
				}
				if len(got) != 1 || got[0] != name+": "+c.verdict || !matches {
					t.Errorf("%s, %q", got, why)
				}
			})
		}
	}
}

// A server that sends all replies in one goroutine stops for all clients if one of them does
// not read.
func TestOneSender(t *testing.T) { inMemory(t, "", testOneSender) }

func testOneSender(t *testing.T) {
	replies := make(chan net.Conn)
	var sender sync.WaitGroup
	sender.Go(func() {
		for conn := range replies {
			conn.Write([]byte(bothends.DefaultReply))
		}
	})
	t.Cleanup(func() { // before serve's
		close(replies)
		sender.Wait()
	})
	dial := serveInMemory(t, func(conn net.Conn) {
		for bothends.ReadMessage(conn, make([]byte, 16)) == nil {
			replies <- conn
		}
	}, false)
	s := &check.Server{Dial: dial, Limit: 2 * time.Second}
	if got, why := verdicts(t, s, "no-reader"); got[0] != "no-reader: fail" {
		t.Errorf("%q, %q", got, why)
	}
}

// A long message is not cut into so many pieces that a healthy server fails.
func TestLongMessages(t *testing.T) { inMemory(t, "", testLongMessages) }

func testLongMessages(t *testing.T) {
	const n = 200_000
	dial := serveInMemory(t, func(conn net.Conn) {
		p := make([]byte, n)
		if bothends.ReadMessage(conn, p) == nil {
			conn.Write(p)
			io.Copy(io.Discard, conn)
		}
	}, false)
	s := &check.Server{Dial: dial, Request: make([]byte, n), ReplySize: n, Limit: 2 * time.Second}
	if got, why := verdicts(t, s, "octets", "slow-reader"); got[0] != "octets: pass" || got[1] != "slow-reader: pass" {
		t.Errorf("%q, %q", got, why)
	}
}

// A server that a case ends fails the case. The cases after it are skipped, or, with Restart,
// run.
func TestServerThatDies(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		var ln net.Listener
		var loop sync.WaitGroup
		start := func(addr string) {
			var err error
			if ln, err = net.Listen("tcp", addr); err != nil {
				t.Fatal(err)
			}
			loop.Go(func() { // ends at the first error, as a program without a handler does
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					err = answer(conn)
					conn.Close()
					if err != nil {
						ln.Close()
						return
					}
				}
			})
		}
		start("127.0.0.1:0")
		s := &check.Server{Addr: ln.Addr().String(), Limit: time.Second, Silence: -1, Times: 10}
		if restarts {
			s.Restart = func(context.Context) error {
				ln.Close()
				loop.Wait()
				start(s.Addr)
				return nil
			}
		}
		got, why := verdicts(t, s, "whole", "fin", "reset", "connect-close")
		ln.Close()
		loop.Wait()
		want := []string{"whole: pass", "fin: fail", "reset: skip", "connect-close: skip"}
		if restarts {
			want = []string{"whole: pass", "fin: fail", "reset: fail", "connect-close: fail"}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s\n%q", diff, why)
		}
		if !restarts && !strings.HasPrefix(why["reset"], "no normal exchange has worked since case fin: ") {
			t.Errorf("reset is skipped: %s", why["reset"])
		}
	}
}

// A server that ends some time after a case has not survived.
func TestServerThatDiesLater(t *testing.T) { inMemory(t, "", testServerThatDiesLater) }

func testServerThatDiesLater(t *testing.T) {
	ln := memnet.Listen()
	serveOn(t, ln, func(conn net.Conn) {
		if answer(conn) != nil {
			time.Sleep(250 * time.Millisecond)
			ln.Close()
		}
	}, false)
	got, why := verdicts(t, &check.Server{Dial: ln.Dial}, "whole", "reset")
	if want := []string{"whole: pass", "reset: fail"}; !slices.Equal(got, want) || !strings.Contains(why["reset"], "(this case or an earlier one ended the server)") {
		t.Errorf("%q, %q", got, why)
	}
}

// If a server does not answer, the cases after the first do not wait for the whole limit.
func TestServerThatIsSilent(t *testing.T) { inMemory(t, "", testServerThatIsSilent) }

func testServerThatIsSilent(t *testing.T) {
	dial := serveInMemory(t, func(conn net.Conn) { io.Copy(io.Discard, conn) }, false)
	const limit = 2 * time.Second
	for r := range (&check.Server{Dial: dial, Limit: limit}).Run(t.Context(), cases(t, "whole", "octets", "cut", "fin")) {
		switch {
		case r.Case == "whole" && r.Verdict == check.Fail && r.Took >= limit:
		case r.Case == "octets": // the first that is tried again, with the whole limit
		case r.Verdict != check.Skip || r.Took >= limit:
			t.Errorf("%s: %v after %v", r.Case, r.Verdict, r.Took)
		}
	}
}

// A server that sends first has no request to cut.
func TestServerThatSendsFirst(t *testing.T) { inMemory(t, "", testServerThatSendsFirst) }

func testServerThatSendsFirst(t *testing.T) {
	dial := serveInMemory(t, func(conn net.Conn) {
		conn.Write([]byte("220 ready\r\n"))
		io.Copy(io.Discard, conn)
	}, false)
	s := &check.Server{Dial: dial, Request: []byte{}, Expect: []byte("220 ready\r\n"), Limit: time.Second, Times: 10}
	got, why := verdicts(t, s)
	for i, c := range check.ServerCases() {
		want := c.Name + ": pass"
		switch c.Name {
		case "octets", "cut":
			want = c.Name + ": skip"
		}
		if got[i] != want {
			t.Errorf("%s, want %s: %s", got[i], want, why[c.Name])
		}
	}
}

// If no server listens, there is no verdict.
func TestNoServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	broken := func(context.Context) error { return errors.New("no program") }
	for why, s := range map[string]*check.Server{
		"connection refused": {Addr: ln.Addr().String(), Limit: time.Second},
		"no program":         {Addr: ln.Addr().String(), Restart: broken},
	} {
		var tally check.Tally
		for r := range s.Run(t.Context(), cases(t, "whole", "cut")) {
			tally.Add(r)
			if notRun := new(check.NotRunError); r.Verdict != check.Skip || !errors.As(r.Err, &notRun) || !strings.Contains(r.Why, why) {
				t.Errorf("%s: %v, %q, %v", r.Case, r.Verdict, r.Why, r.Err)
			}
		}
		if tally.OK() || tally.Count(check.Skip) != 2 || tally.Total() != 2 {
			t.Errorf("%v is OK: %v", &tally, tally.OK())
		}
	}
}

// A server with wrong replies fails the case whole. No other case is run.
func TestWrongServer(t *testing.T) { inMemory(t, "", testWrongServer) }

func testWrongServer(t *testing.T) {
	dial := serveInMemory(t, func(conn net.Conn) {
		if bothends.ReadMessage(conn, make([]byte, 16)) == nil {
			conn.Write([]byte("Farewell, CLIENT"))
		}
	}, false)
	s := &check.Server{Dial: dial, Expect: []byte(bothends.DefaultReply)}
	got, why := verdicts(t, s, "whole", "reset")
	if want := []string{"whole: fail", "reset: skip"}; !slices.Equal(got, want) {
		t.Errorf("%q, %q", got, why)
	}
	got, why = verdicts(t, s, "reset")
	if want := []string{"reset: skip"}; !slices.Equal(got, want) || !strings.HasPrefix(why["reset"], "not run: ") {
		t.Errorf("%q, %q", got, why)
	}
}

// A server that does not work after a restart is not started again for each case.
func TestHopelessServer(t *testing.T) { inMemory(t, "", testHopelessServer) }

func testHopelessServer(t *testing.T) {
	restarts := 0
	s := &check.Server{Dial: serveInMemory(t, func(net.Conn) {}, false), Limit: time.Second, Restart: func(context.Context) error { restarts++; return nil }}
	got, why := verdicts(t, s, "whole", "octets", "reset")
	if want := []string{"whole: fail", "octets: skip", "reset: skip"}; !slices.Equal(got, want) || restarts != 2 {
		t.Errorf("%q, %q, %d restarts", got, why, restarts)
	}
}

// Fewer connections than requested are not a pass.
func TestFewerTimes(t *testing.T) { inMemory(t, "", testFewerTimes) }

func testFewerTimes(t *testing.T) {
	dial := serveInMemory(t, func(conn net.Conn) { answer(conn) }, false)
	slowly := func(ctx context.Context, network, addr string) (net.Conn, error) {
		time.Sleep(10 * time.Millisecond)
		return dial(ctx, network, addr)
	}
	s := &check.Server{Dial: slowly, Limit: 200 * time.Millisecond, Times: 1000}
	got, why := verdicts(t, s, "connect-close")
	if want := []string{"connect-close: warn"}; !slices.Equal(got, want) || !strings.Contains(why["connect-close"], "stopped after 81 of 1000 connections, because 800ms (4 times the limit)") {
		t.Errorf("%q, %q", got, why)
	}
}

// A run stops when the caller leaves the loop, and when the context ends.
func TestStop(t *testing.T) { inMemory(t, "", testStop) }

func testStop(t *testing.T) {
	s := &check.Server{Dial: serveInMemory(t, func(conn net.Conn) { answer(conn) }, false)}
	for range s.Run(t.Context(), check.ServerCases()) {
		break
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	for r := range s.Run(ctx, cases(t, "silence")) {
		t.Errorf("%+v", r)
	}
	if took := time.Since(start); took != 100*time.Millisecond {
		t.Errorf("stopped after %v", took)
	}
}

func TestTitlesFit(t *testing.T) {
	var out bytes.Buffer
	report := check.NewReporter("text", &out, "x", 1, false)
	for _, c := range check.ServerCases() {
		report.Add(check.Result{Case: c.Name, Title: c.Title, Took: 123456 * time.Microsecond})
	}
	for _, c := range check.ClientCases() {
		report.Add(check.Result{Case: c.Name, Title: c.Title, Took: 123456 * time.Microsecond})
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 81 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}

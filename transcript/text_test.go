package transcript_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
	"github.com/bothends/bothends/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	hello    = "Hi there, server"
	farewell = "Farewell, client"
)

// A peer calls the hooks of a transcript for one connection.
type peer struct {
	trace *bothends.Trace
	conn  bothends.Connection
}

type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

var serverAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1060}

func accept(s *transcript.Server, port int) peer {
	remote := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	p := peer{s.Trace(addressed{remote: remote}), bothends.Connection{Local: serverAddr, Peer: remote}}
	p.trace.Accepted(p.conn)
	return p
}

func (p peer) request() {
	for _, n := range []int{7, 16} {
		p.trace.Received(bothends.Transfer{Asked: 16, N: n, Message: []byte(hello[:n]), Want: 16})
	}
}

func (p peer) reply() {
	p.trace.Exchanged(bothends.Exchange{Request: []byte(hello), Reply: []byte(farewell)})
}

func (p peer) done(err error) { p.trace.Done(err) }

func (p peer) failed(outcome error) {
	p.done(&bothends.ExchangeError{Op: "receive", Peer: p.conn.Peer.String(), Err: outcome})
}

// chapter returns the transcript of one connection from that port.
func chapter(port int) string {
	return fmt.Sprintf(`We have accepted a connection from ('127.0.0.1', %[1]d)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', %[1]d)
The incoming sixteen-octet message says 'Hi there, server'
Reply sent, socket closed
Listening at ('127.0.0.1', 1060)
`, port)
}

const listening = "Listening at ('127.0.0.1', 1060)\n"

func start(persistent bool) (*transcript.Server, *bytes.Buffer) {
	var out bytes.Buffer
	s := transcript.NewServer(&out, &out, persistent)
	s.Listening(serverAddr)
	return s, &out
}

func check(t *testing.T, out *bytes.Buffer, want string) {
	t.Helper()
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestOneAtATime(t *testing.T) {
	s, out := start(false)
	for port := range 2 {
		p := accept(s, 50000+port)
		p.request()
		p.reply()
		p.done(nil)
	}
	check(t, out, listening+chapter(50000)+chapter(50001))
}

// The next clients connect before the goroutine of the first one has closed.
func TestOneAtATimeThoughTheServerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := start(false)
		a := accept(s, 50000)
		a.request()
		a.reply()
		b := accept(s, 50001)
		b.request()
		b.reply()
		b.done(nil)
		c := accept(s, 50002)
		time.Sleep(99 * time.Millisecond)
		if strings.Contains(out.String(), "50001") {
			t.Errorf("the second is shown before the first has ended:\n%s", out)
		}
		a.done(nil)
		c.request()
		time.Sleep(time.Second)
		c.done(nil)
		check(t, out, listening+chapter(50000)+chapter(50001)+chapter(50002))
	})
}

func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := start(false)
		a := accept(s, 50000)
		time.Sleep(time.Hour)
		b := accept(s, 50001)
		a.request()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		c := accept(s, 50002) // written at once, because the connections are known to overlap
		b.request()
		c.done(&bothends.ExchangeError{Op: "receive", Peer: "127.0.0.1:50002",
			Err: &bothends.ShortError{Op: "read", Done: 4, Want: 16, Err: io.ErrUnexpectedEOF}})
		b.done(nil)
		a.done(nil)
		d := accept(s, 50003) // no other connection is open
		d.request()
		d.done(nil)
		check(t, out, listening+
			`We have accepted a connection from ('127.0.0.1', 50000)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 50000)
The incoming sixteen-octet message says 'Hi there, server'
We have accepted a connection from ('127.0.0.1', 50001)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 50001)
We have accepted a connection from ('127.0.0.1', 50002)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 50002)
('127.0.0.1', 50001): The incoming sixteen-octet message says 'Hi there, server'
bothends: receive from 127.0.0.1:50002: socket closed 4 bytes into a 16-byte message
('127.0.0.1', 50001): Reply sent, socket closed
('127.0.0.1', 50000): Reply sent, socket closed
`+listening+chapter(50003))
	})
}

// After a wait that ended early, the next connection gets a new timer.
func TestWaitAfterAWaitThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := start(true)
		a := accept(s, 50000)
		accept(s, 50001)
		time.Sleep(60 * time.Millisecond)
		a.done(nil)
		time.Sleep(60 * time.Millisecond) // the first timer would have ended
		synctest.Wait()
		c := accept(s, 50002)
		if strings.Contains(out.String(), "50002") {
			t.Error("the third is shown at once")
		}
		c.request()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if want := "('127.0.0.1', 50002): The incoming"; !strings.Contains(out.String(), want) {
			t.Errorf("the third is still kept back:\n%s", out)
		}
	})
}

// Lines wait at most 100 ms, for any number of earlier connections.
func TestNobodyWaitsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := start(false)
		var open []peer
		for i := range 8 {
			open = append(open, accept(s, 50000+i))
			time.Sleep(10 * time.Millisecond)
		}
		for i := range 8 {
			time.Sleep(80 * time.Millisecond)
			open[i].request()
			open[i].done(nil)
			if i == 0 {
				continue // after 160 ms; the last connection was accepted at 70 ms
			}
			synctest.Wait()
			if !strings.Contains(out.String(), "We have accepted a connection from ('127.0.0.1', 50007)") {
				t.Fatalf("after %d ms:\n%s", 160+80*i, out)
			}
		}
		if n := strings.Count(out.String(), "): Reply sent, socket closed\n"); n != 8 {
			t.Errorf("%d of 8 that overlap are named:\n%s", n, out)
		}
	})
}

func TestStoppedListensNoMore(t *testing.T) {
	s, out := start(false)
	p := accept(s, 50000)
	p.request()
	s.Stopped()
	p.done(nil)
	check(t, out, listening+strings.TrimSuffix(chapter(50000), listening))
}

// For any order of events, no line is lost, a connection's lines keep their
// order, and each end without another one open is followed by Listening.
func TestManyAtOnceLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := start(false)
		var open []peer
		for i := range 200 {
			open = append(open, accept(s, 50000+i))
			if i%3 == 0 {
				time.Sleep(time.Duration(i) * time.Millisecond)
			}
			for len(open) > i%40 {
				p := open[len(open)/2]
				open = append(open[:len(open)/2], open[len(open)/2+1:]...)
				p.request()
				p.reply()
				p.done(nil)
			}
		}
		for _, p := range open {
			p.request()
			p.done(nil)
		}
		time.Sleep(time.Second)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		count := func(what string) (n int) {
			for _, l := range lines {
				if strings.Contains(l, what) {
					n++
				}
			}
			return n
		}
		for _, what := range []string{"We have accepted", "Socket connects", "The incoming", "Reply sent, socket closed"} {
			if n := count(what); n != 200 {
				t.Errorf("%q: %d lines of 200", what, n)
			}
		}
		if lines[len(lines)-1]+"\n" != listening {
			t.Errorf("the last line is %q", lines[len(lines)-1])
		}
	})
}

// The number of waiting octets is limited.
func TestOverlapWithHugeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := start(false)
		a := accept(s, 50000)
		b := accept(s, 50001)
		huge := bytes.Repeat([]byte("x"), 1<<20)
		b.trace.Received(bothends.Transfer{Asked: 1 << 20, N: 1 << 20, Message: huge, Want: 1 << 20})
		if want := "('127.0.0.1', 50001): The incoming 1048576-octet message"; !strings.Contains(out.String(), want) {
			t.Errorf("%d octets printed, without %q", out.Len(), want)
		}
		b.done(nil)
		a.done(nil)
	})
}

func TestProbeAndFailures(t *testing.T) {
	s, out := start(false)
	accept(s, 50000).failed(&bothends.ShortError{Op: "read", Want: 16, Err: io.EOF})
	accept(s, 50001).failed(context.DeadlineExceeded)
	accept(s, 50002).done(errors.New("something else"))
	check(t, out, listening+
		`We have accepted a connection from ('127.0.0.1', 50000)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 50000)
Socket closed by ('127.0.0.1', 50000) before the first octet
`+listening+`We have accepted a connection from ('127.0.0.1', 50001)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 50001)
bothends: receive from 127.0.0.1:50001: timed out
`+listening+`We have accepted a connection from ('127.0.0.1', 50002)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 50002)
bothends: something else
`+listening)
}

func TestPersistentConnection(t *testing.T) {
	s, out := start(true)
	p := accept(s, 50000)
	for range 2 {
		p.request()
		p.reply()
	}
	p.done(nil)
	check(t, out, listening+
		`We have accepted a connection from ('127.0.0.1', 50000)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 50000)
The incoming sixteen-octet message says 'Hi there, server'
Reply sent
The incoming sixteen-octet message says 'Hi there, server'
Reply sent
Socket closed
`+listening)
}

// 100 sequential exchanges of a real Server and Client.
func TestRealExchangesOneAtATime(t *testing.T) {
	ln := memnet.Listen()
	s, out := start(false)
	server := &bothends.Server{TraceConn: s.Trace}
	served := make(chan error)
	go func() { served <- server.Serve(ln) }()
	want := listening
	var told bytes.Buffer
	client := &bothends.Client{Dial: ln.Dial}
	for i := range 100 {
		ctx := bothends.WithTrace(t.Context(), transcript.Client(&told))
		if _, err := client.Exchange(ctx, "localhost:1060", []byte(hello)); err != nil {
			t.Fatal(err)
		}
		want += chapter(50000 + i)
	}
	server.Shutdown(t.Context())
	<-served
	check(t, out, want)
	if !strings.HasPrefix(told.String(), "Client has been assigned socket name ('127.0.0.1', 50000)\nThe server said 'Farewell, client'\n") {
		t.Errorf("client:\n%s", &told)
	}
}

func TestNames(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:1060":          "('127.0.0.1', 1060)",
		"[::]:1060":               "('', 1060)",
		"0.0.0.0:1060":            "('', 1060)",
		":1060":                   "('', 1060)",
		"[::ffff:127.0.0.1]:1060": "('127.0.0.1', 1060)",
		"[fe80::1%eth0]:1060":     "('fe80::1%eth0', 1060)",
		"localhost:1060":          "('localhost', 1060)",
		"nosuch.example":          "'nosuch.example'",
	} {
		if got := transcript.HostPortName(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	for text, want := range map[string]string{
		"Hi there, server":      `'Hi there, server'`,
		"it's":                  `"it's"`,
		`it's "quoted"`:         `'it\'s "quoted"'`,
		"\x00\x1f\x7f\xff":      `'\x00\x1f\x7f\xff'`,
		"é":                     `'\xc3\xa9'`,
		"tab\tnl\ncr\rback\\ ~": `'tab\tnl\ncr\rback\\ ~'`,
		"":                      `''`,
	} {
		if got := transcript.Quote([]byte(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for n, want := range map[int]string{1: "one-octet", 5: "five-octet", 16: "sixteen-octet", 20: "twenty-octet", 21: "21-octet", 4096: "4096-octet"} {
		if got := transcript.Octets(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

// A connection that waits for two others waits at most 100 ms in total.
func TestWaitingIsCountedFromAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := start(false)
		a := accept(s, 50000)
		time.Sleep(10 * time.Millisecond)
		accept(s, 50001)
		time.Sleep(50 * time.Millisecond)
		accept(s, 50002) // at 60 ms
		time.Sleep(30 * time.Millisecond)
		a.done(nil)
		time.Sleep(70 * time.Millisecond) // at 160 ms
		synctest.Wait()
		if !strings.Contains(out.String(), "50002") {
			t.Errorf("after 100 ms the third is still kept back:\n%s", out)
		}
	})
}

func TestErrorsAlone(t *testing.T) {
	var out bytes.Buffer
	trace := transcript.Errors(&out)(nil)
	trace.Done(nil)
	trace.Done(&bothends.ExchangeError{Op: "receive", Peer: "127.0.0.1:1", Err: &bothends.ShortError{Want: 16, Err: io.EOF}})
	trace.Done(&bothends.ExchangeError{Op: "receive", Peer: "127.0.0.1:1", Err: &bothends.ShortError{Done: 4, Want: 16, Err: io.ErrUnexpectedEOF}})
	check(t, &out, "bothends: receive from 127.0.0.1:1: socket closed 4 bytes into a 16-byte message\n")
}

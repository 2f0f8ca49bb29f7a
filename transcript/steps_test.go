package transcript_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/need"
	"github.com/bothends/bothends/memnet"
	"github.com/bothends/bothends/transcript"
)

// slow connects in 2 ms, writes 7 octets, and writes the rest 3 ms later.
type slow struct{ *memnet.Conn }

func (s slow) Write(p []byte) (int, error) {
	if len(p) == 16 {
		return s.Conn.Write(p[:7])
	}
	time.Sleep(3 * time.Millisecond)
	return s.Conn.Write(p)
}

// exchange makes one exchange with Steps at both ends.
func exchange(t *testing.T, ascii bool) (client, server string) {
	t.Helper()
	var c, s bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		steps := &transcript.Steps{Out: &s, ASCII: ascii}
		srv := &bothends.Server{TraceConn: steps.Server}
		served := make(chan error)
		go func() { served <- srv.Serve(ln) }()
		cl := &bothends.Client{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(2 * time.Millisecond)
			conn, err := ln.Dial(ctx, network, addr)
			return slow{conn.(*memnet.Conn)}, err
		}}
		ctx := bothends.WithTrace(t.Context(), (&transcript.Steps{Out: &c, ASCII: ascii}).Client())
		if _, err := cl.Exchange(ctx, "localhost:1060", []byte(hello)); err != nil {
			t.Error(err)
		}
		srv.Shutdown(t.Context())
		<-served
	})
	return c.String(), s.String()
}

func TestSteps(t *testing.T) {
	client, server := exchange(t, false)
	for line := range strings.Lines(client + server) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if diff := cmp.Diff(`    2.000 ms connect: returned after 2.000 ms; the kernel chose local port 50000
    2.000 ms send: the kernel took 7 of 16 octets; 9 to send again
    5.000 ms send: the kernel took 9 of 9 octets in 3.000 ms, to deliver later
    5.000 ms receive: got 16 of 16 octets after 0.000 ms; the message is whole
    5.000 ms close: ok

this end's calls (their times, not those of segments):
             client                                  server
             127.0.0.1:50000                 127.0.0.1:1060
    0.000 ms │─── SYN ───────────────────────────────────▶│
    2.000 ms │◀────────────────────────────── SYN, ACK ───│
    2.000 ms │─── 7 octets ──────────────────────────────▶│
    2.000 ms │─── 9 octets ──────────────────────────────▶│
    5.000 ms │◀───────────────────────────── 16 octets ───│
    5.000 ms │  closed                                    │

the kernel's view at the end:
  not available on this system
`, client); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`    0.000 ms 127.0.0.1:50000 accept: returned a connection that was complete
    0.000 ms 127.0.0.1:50000 receive: got 7 of 16 octets after 0.000 ms; 9 still
               to come
    3.000 ms 127.0.0.1:50000 receive: got 9 of 9 octets after 3.000 ms; the
               message is whole
    3.000 ms 127.0.0.1:50000 send: the kernel took 16 of 16 octets in 0.000 ms,
               to deliver later
    3.000 ms 127.0.0.1:50000 receive: got 0 octets: the peer has closed its side
               too
    3.000 ms 127.0.0.1:50000 close: ok

127.0.0.1:50000 this end's calls (their times, not those of segments):
             client                                  server
             127.0.0.1:50000                 127.0.0.1:1060
    0.000 ms │                                  accepted  │
    0.000 ms │─── 7 octets ──────────────────────────────▶│
    3.000 ms │─── 9 octets ──────────────────────────────▶│
    3.000 ms │◀───────────────────────────── 16 octets ───│
    3.000 ms │◀─────────────────────────────────── FIN ───│
    3.000 ms │─── FIN ───────────────────────────────────▶│
    3.000 ms │                                    closed  │

127.0.0.1:50000 the kernel's view at the end:
  not available on this system
`, server); diff != "" {
		t.Error(diff)
	}
}

func TestLadderInASCII(t *testing.T) {
	client, _ := exchange(t, true)
	for _, c := range client {
		if c > 126 {
			t.Fatalf("%q in\n%s", c, client)
		}
	}
	if want := "    2.000 ms |<------------------------------ SYN, ACK ---|\n"; !strings.Contains(client, want) {
		t.Errorf("no %q in\n%s", want, client)
	}
}

// Each failure has a line and a rung.
func TestStepsOfFailures(t *testing.T) {
	tell := func(server func(*memnet.Conn)) string {
		var out bytes.Buffer
		synctest.Test(t, func(t *testing.T) {
			ln := memnet.Listen()
			if server == nil {
				ln.Close()
			} else {
				go func() {
					conn, _ := ln.Accept()
					server(conn.(*memnet.Conn))
				}()
			}
			c := &bothends.Client{Dial: ln.Dial, Timeout: time.Second}
			c.Exchange(bothends.WithTrace(t.Context(), (&transcript.Steps{Out: &out}).Client()), "localhost:1060", []byte(hello))
			if server != nil {
				time.Sleep(time.Hour) // the server waits
				ln.Close()
			}
		})
		return out.String()
	}
	takeAnd := func(then func(*memnet.Conn)) func(*memnet.Conn) {
		return func(c *memnet.Conn) {
			bothends.ReadMessage(c, make([]byte, 16))
			c.Write([]byte(farewell[:10]))
			then(c)
		}
	}
	for _, c := range []struct {
		what   string
		server func(*memnet.Conn)
		lines  []string
	}{
		{"refused", nil, []string{"connect: refused after 0.000 ms, by an RST or an ICMP message\n"}},
		{"FIN", takeAnd(func(c *memnet.Conn) { c.Close() }), []string{
			"receive: got 0 of 6 octets: the peer has closed its side; 6 missing\n", "◀─────────────────────────────────── FIN ───", "close: short\n"}},
		{"RST", takeAnd(func(c *memnet.Conn) { c.Reset() }), []string{
			"receive: got 0 of 6 octets, then connection reset by peer\n", "◀─────────────────────────────────── RST ───", "close: reset\n"}},
		{"silence", takeAnd(func(c *memnet.Conn) { time.Sleep(time.Minute); c.Close() }), []string{
			" 1000.000 ms receive: got 0 of 6 octets until the deadline or a stop\n", "close: timeout\n"}},
	} {
		got := tell(c.server)
		for _, want := range c.lines {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", c.what, want, got)
			}
		}
	}
}

// The ladder of a connection with many exchanges has a limited length and shows the end.
func TestLadderIsBounded(t *testing.T) {
	for _, n := range []int{98, 99, 1000} {
		got := byHand(func(trace *bothends.Trace) {
			for range n {
				trace.Received(bothends.Transfer{Asked: 16, N: 16, Message: []byte(hello), Want: 16})
			}
		})
		_, ladder, _ := strings.Cut(got, "server\n")
		ladder, _, _ = strings.Cut(ladder, "\n\n")
		lines := strings.Split(ladder, "\n")[1:] // without the names
		more := fmt.Sprintf("%13s... and %d more", "", n+2-100)
		if n+2 <= 100 {
			if len(lines) != n+2 || strings.Contains(ladder, "more") {
				t.Errorf("%d lines for %d rungs", len(lines), n+2)
			}
			continue
		}
		if len(lines) != 101 || lines[50] != more || !strings.Contains(lines[0], "accepted") || !strings.Contains(lines[100], "closed") {
			t.Errorf("%d lines, %q in the middle:\n%s", len(lines), lines[50], ladder)
		}
	}
}

// If a connection was not the first attempt, its time is that of all attempts, and there
// is no SYN at an unknown time.
func TestStepsOfSeveralAddresses(t *testing.T) {
	first, second := netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000}
	for _, c := range []struct {
		addrs      []netip.Addr
		peer       net.Addr
		err        error
		says, rung string
	}{
		{[]netip.Addr{second}, serverAddr, nil, "connect: returned after 0.000 ms; the kernel", "│─── SYN ──"},
		{[]netip.Addr{second, first}, serverAddr, nil, "connect: returned after 0.000 ms; the kernel", "│─── SYN ──"},
		{[]netip.Addr{first, second}, serverAddr, nil,
			"connect: returned after 0.000 ms (all attempts at the 2 addresses\n               together); the kernel", "│  other addresses first  "},
		{[]netip.Addr{second}, nil, os.NewSyscallError("connect", syscall.EACCES), " connect: failed after 0.000 ms: permission denied", ""},
		{[]netip.Addr{second}, nil, os.NewSyscallError("bind", syscall.EACCES), " bind: failed after 0.000 ms: permission denied", ""},
		{[]netip.Addr{first, second}, nil, syscall.ECONNREFUSED,
			"refused after 0.000 ms (all attempts at the 2 addresses\n               together), by", ""},
	} {
		var out bytes.Buffer
		synctest.Test(t, func(t *testing.T) {
			trace := (&transcript.Steps{Out: &out}).Client()
			trace.Resolved(bothends.Resolution{Start: time.Now(), Name: "two.example", Addrs: c.addrs})
			trace.Connected(bothends.Connection{Start: time.Now(), Local: local, Peer: c.peer, Err: c.err})
			trace.Done(c.err)
		})
		if got := out.String(); !strings.Contains(got, c.says) || !strings.Contains(got, c.rung) ||
			strings.Contains(got, "│─── SYN ──") != (c.rung == "│─── SYN ──") {
			t.Errorf("%v, %v: want %q and %q in\n%s", c.addrs, c.peer, c.says, c.rung, got)
		}
	}
}

// On a real connection, the kernel's view is present in the text and in JSON.
func TestKernelView(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := new(bothends.Server)
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()
	defer func() { s.Close(); <-served }()
	var text, object bytes.Buffer
	j := &transcript.JSON{Out: &object, RequestSize: 16, ReplySize: 16, Events: true}
	steps := &transcript.Steps{Out: &text}
	ctx := bothends.WithTrace(bothends.WithTrace(t.Context(), steps.Client()), j.Client())
	if _, err := new(bothends.Client).Exchange(ctx, ln.Addr().String(), []byte(hello)); err != nil {
		t.Fatal(err)
	}
	var x struct {
		Events []struct {
			At            float64
			Event         string
			Asked, Octets *int
		}
		Kernel *struct {
			State          string
			OctetsReceived uint64 `json:"octets_received"`
			SRTT           float64
		}
	}
	if err := json.Unmarshal(object.Bytes(), &x); err != nil {
		t.Fatal(err)
	}
	var got []string
	last := 0.0
	for _, e := range x.Events {
		got = append(got, e.Event)
		if e.At < last || (e.Event == "sent" || e.Event == "received") != (e.Asked != nil && e.Octets != nil && *e.Octets == 16) {
			t.Errorf("%+v", e)
		}
		last = e.At
	}
	if s := strings.Join(got, " "); s != "connected sent received closed" {
		t.Errorf("events: %s", s)
	}
	if strings.Contains(text.String(), "not available") {
		need.Skip(t, "a system that tells about TCP connections")
	}
	// The server's FIN arrived with its reply. It counts as an octet.
	if x.Kernel == nil || x.Kernel.State != "CLOSE_WAIT" || x.Kernel.OctetsReceived != 17 || x.Kernel.SRTT <= 0 {
		t.Errorf("kernel: %+v", x.Kernel)
	}
	for _, want := range []string{"state CLOSE_WAIT, congestion control ", "ms smoothed, variance ", "octets received 17 (a FIN counts as one)", "send queue 0, receive queue 0"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}

// byHand calls the hooks of a server's Steps.
func byHand(events func(*bothends.Trace)) string {
	var out bytes.Buffer
	remote := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000}
	trace := (&transcript.Steps{Out: &out}).Server(addressed{remote: remote})
	trace.Accepted(bothends.Connection{Local: serverAddr, Peer: remote})
	events(trace)
	trace.Done(nil)
	return out.String()
}

func TestStepsOfAPersistentConnection(t *testing.T) {
	fin := bothends.Transfer{Asked: 16, Want: 16, Err: io.EOF}
	onOneLine := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	got := byHand(func(trace *bothends.Trace) {
		trace.Exchanged(bothends.Exchange{})
		trace.Received(fin)
	})
	if !strings.Contains(onOneLine(got), "got 0 of 16 octets: the peer has closed its side, between two messages ") {
		t.Errorf("closed between two exchanges:\n%s", got)
	}
	got = byHand(func(trace *bothends.Trace) { trace.Received(fin) })
	if !strings.Contains(onOneLine(got), "got 0 of 16 octets: the peer has closed its side; 16 missing ") {
		t.Errorf("closed before the first one:\n%s", got)
	}
}

// faultError is the error of a fault of this end.
type faultError struct{ error }

func (faultError) HalfClosed() bool { return false }
func (e faultError) Unwrap() error  { return e.error }

// Segments that a fault of this end has sent lead to the peer.
func TestLadderOfFaults(t *testing.T) {
	for err, want := range map[error]string{
		faultError{syscall.ECONNRESET}: "◀─────────────────────────────────── RST ───│",
		faultError{net.ErrClosed}:      "◀─────────────────────────────────── FIN ───│",
		syscall.ECONNRESET:             "─── RST ───────────────────────────────────▶│",
	} {
		got := byHand(func(trace *bothends.Trace) {
			trace.Sent(bothends.Transfer{Asked: 16, N: 10, Message: []byte(farewell)[:10], Want: 16, Err: err})
			trace.Received(bothends.Transfer{Asked: 512, Err: io.EOF})
		})
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
		if fins := strings.Count(got, " FIN "); errors.Is(err, net.ErrClosed) && fins != 2 {
			t.Errorf("%d FINs, not one each way, in\n%s", fins, got)
		}
	}
}

func TestStepsUnderTLS(t *testing.T) {
	got := byHand(func(trace *bothends.Trace) {
		trace.Secured(bothends.Handshake{})
		trace.Sent(bothends.Transfer{Asked: 16, N: 16, Message: []byte(farewell), Want: 16})
	})
	if !strings.Contains(got, "send: TLS took 16 of 16 octets") {
		t.Errorf("%s", got)
	}
}

package proxy

import (
	"bytes"
	"context"
	"errors"
	"github.com/bothends/bothends/internal/proxytest"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
)

func TestZeroFaultsPassOctetsOn(t *testing.T) {
	p := launch(t, &Proxy{Name: "plain", Target: proxytest.Target(t, proxytest.Answers("Farewell, client", 16))})
	c := p.dial()
	io.WriteString(c, "Hi there, server")
	if got, how := proxytest.HowItEnds(t, c); got != "Farewell, client" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
	c.Close()
	got := p.want(EndedFIN, 16, 16)
	if got.Schema != Schema || got.Proxy != "plain" || got.Client != c.LocalAddr().String() || got.Target != p.Target ||
		got.Seconds <= 0 || time.Since(got.Time) > giveUp || got.Error != "" {
		t.Errorf("%+v", got)
	}
}

// The reply arrives after the FIN of the client. toxiproxy closes both sides at the first
// FIN.
func TestHalfCloseKeepsTheReply(t *testing.T) {
	const request, reply = 1 << 20, 8 << 20
	for _, faults := range []string{"", "delay:1ms"} {
		p := launch(t, &Proxy{Requests: parse(t, faults), Replies: parse(t, faults), Target: proxytest.Target(t, func(c *net.TCPConn) {
			if n, err := io.Copy(io.Discard, c); n != request || err != nil { // all of it, before the first octet of the reply
				t.Errorf("the target got %d octets, %v", n, err)
			}
			c.Write(make([]byte, reply))
		})})
		c := p.dial()
		c.Write(make([]byte, request))
		c.CloseWrite()
		if n, err := io.Copy(io.Discard, c); n != reply || err != nil {
			t.Errorf("with %q the client got %d octets, %v", faults, n, err)
		}
		if got := p.next(); got.Ended != EndedFIN || got.RequestOctets != request || got.ReplyOctets != reply {
			t.Errorf("%+v", got)
		}
	}
}

func TestTargetMayCloseFirst(t *testing.T) {
	const request = 8 << 20
	got := make(chan int64, 1)
	p := launch(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) {
		io.WriteString(c, "go on")
		c.CloseWrite()
		n, _ := io.Copy(io.Discard, c)
		got <- n
	})})
	c := p.dial()
	if text, how := proxytest.HowItEnds(t, c); text != "go on" || how != "fin" {
		t.Errorf("%q, %s", text, how)
	}
	c.Write(make([]byte, request))
	c.Close()
	if n := <-got; n != request {
		t.Errorf("the target got %d octets", n)
	}
	p.want(EndedFIN, request, 5)
}

// The octets before an RST are not lost, however many still wait to be sent.
func TestResetIsPassedOnAfterTheOctets(t *testing.T) {
	for _, octets := range []int{0, 10, 100_000} {
		for _, faults := range []string{"", "drip:30000"} {
			p := launch(t, &Proxy{Requests: parse(t, faults), Replies: parse(t, faults), Target: proxytest.Target(t, func(c *net.TCPConn) {
				io.ReadFull(c, make([]byte, 1))
				fault.Conn(c, fault.Reset(octets)).Write(make([]byte, octets))
			})})
			c := p.dial()
			io.WriteString(c, "x")
			if got, how := proxytest.HowItEnds(t, c); len(got) != octets || how != "reset" {
				t.Errorf("%d octets and RST with %q came as %d octets and %s", octets, faults, len(got), how)
			}
			if got := p.next(); got.Ended != EndedTargetReset || got.ReplyOctets != int64(octets) || got.Error == "" {
				t.Errorf("%+v", got)
			}

			type end struct {
				octets int
				how    string
			}
			got := make(chan end, 1)
			p = launch(t, &Proxy{Requests: parse(t, faults), Replies: parse(t, faults), Target: proxytest.Target(t, func(c *net.TCPConn) {
				text, how := proxytest.HowItEnds(t, c)
				got <- end{len(text), how}
			})})
			fault.Conn(p.dial(), fault.Reset(octets)).Write(make([]byte, octets))
			if e := <-got; e.octets != octets || e.how != "reset" {
				t.Errorf("%d octets and RST of the client with %q came as %+v", octets, faults, e)
			}
			if got := p.next(); got.Ended != EndedClientReset || got.RequestOctets != int64(octets) {
				t.Errorf("%+v", got)
			}
		}
	}
}

// The same holds if the reader's kernel has no room for them: they wait in the send queue
// of the proxy.
func TestResetWaitsForASlowReader(t *testing.T) {
	const octets = 50_000
	p := launch(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		fault.Conn(c, fault.Reset(octets)).Write(make([]byte, octets))
	})})
	c := p.dial()
	c.SetReadBuffer(4096)
	io.WriteString(c, "x")
	awaitOpen(p)
	for session, seen := p.openSessions()[0], false; !seen; { // the proxy has the RST
		session.mu.Lock()
		seen = session.ended != ""
		session.mu.Unlock()
	}
	if got, how := proxytest.HowItEnds(t, c); len(got) != octets || how != "reset" {
		t.Errorf("%d octets and %s", len(got), how)
	}
	p.want(EndedTargetReset, 1, octets)
}

// A side that has sent its FIN is not read any more. Its RST is noticed nevertheless.
func TestResetAfterFIN(t *testing.T) {
	got, mayReset := make(chan string, 1), make(chan struct{})
	p := launch(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		close(mayReset)
		if newPeerConn(c).awaitGone() { // after the FIN a read would return at once
			got <- "reset"
		} else {
			got <- "not reset"
		}
	})})
	c := p.dial()
	c.CloseWrite()
	<-mayReset
	c.SetLinger(0)
	c.Close()
	if how := <-got; how != "reset" {
		t.Error(how)
	}
	p.want(EndedClientReset, 0, 0)
}

func TestFaultsOnReplies(t *testing.T) {
	for _, c := range []struct {
		fault, got, how string
		ended           Ended
		struck          []string
	}{
		{"drip:1/1ms", "Farewell, client", "fin", EndedFIN, []string{"replies drip:1/1ms"}},
		{"corrupt:0", "Garewell, client", "fin", EndedFIN, []string{"replies corrupt:0"}},
		{"reset:10", "Farewell, ", "reset", EndedFault, []string{"replies reset:10"}},
		{"reset:0", "", "reset", EndedFault, []string{"replies reset:0"}},
		{"close:10", "Farewell, ", "fin", EndedFault, []string{"replies close:10"}},
		{"halfclose:10", "Farewell, ", "fin", EndedFIN, []string{"replies halfclose:10"}},
		{"stall:10", "Farewell, ", "silence", EndedStopped, []string{"replies stall:10"}},
		{"drip:3+reset:7", "Farewel", "reset", EndedFault, []string{"replies reset:7"}},
		{"first:0(reset:10)", "Farewell, client", "fin", EndedFIN, nil},
	} {
		t.Run(c.fault, func(t *testing.T) {
			p := launch(t, &Proxy{Replies: parse(t, c.fault), Target: proxytest.Target(t, proxytest.Answers("Farewell, client", 16))})
			conn := p.dial()
			io.WriteString(conn, "Hi there, server")
			if c.how == "silence" {
				conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			}
			got, how := proxytest.HowItEnds(t, conn)
			if got != c.got || how != c.how {
				t.Errorf("the client got %q and %s, want %q and %s", got, how, c.got, c.how)
			}
			if c.how == "silence" {
				p.Close()
			}
			conn.Close()
			if r := p.want(c.ended, 16, int64(len(c.got)), c.struck...); r.Seconds > 0.9 {
				t.Errorf("it ended after %v s; a close must wait only until the peer has closed", r.Seconds)
			}
		})
	}
}

func TestFaultsOnRequests(t *testing.T) {
	for _, c := range []struct {
		fault, got, how string
		client          string // how it ends there
		ended           Ended
	}{
		{"drip:4", "Hi there, server", "fin", "fin", EndedFIN},
		{"reset:10", "Hi there, ", "reset", "reset", EndedFault},
		{"close:10", "Hi there, ", "fin", "fin", EndedFault},
		{"halfclose:10", "Hi there, ", "fin", "fin", EndedFIN},
	} {
		t.Run(c.fault, func(t *testing.T) {
			got, how := "", ""
			read := make(chan struct{})
			p := launch(t, &Proxy{Requests: parse(t, c.fault), Target: proxytest.Target(t, func(conn *net.TCPConn) {
				got, how = proxytest.HowItEnds(t, conn)
				close(read)
			})})
			conn := p.dial()
			io.WriteString(conn, "Hi there, server")
			conn.CloseWrite()
			if _, how := proxytest.HowItEnds(t, conn); how != c.client {
				t.Errorf("the client's end: %s, want %s", how, c.client)
			}
			<-read
			if got != c.got || how != c.how {
				t.Errorf("the target got %q and %s, want %q and %s", got, how, c.got, c.how)
			}
			if r := p.next(); r.Ended != c.ended || r.RequestOctets != int64(len(c.got)) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A side that a fault has closed may send until it closes too, and what it sends is passed
// on: the fault does not read and drop it.
func TestAfterCloseTheOtherDirectionIsComplete(t *testing.T) {
	const reply = 4 << 20
	p := launch(t, &Proxy{Requests: fault.Close(5), Target: proxytest.Target(t, func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Write(bytes.Repeat([]byte("0123456789abcdef"), reply/16))
	})})
	c := p.dial()
	io.WriteString(c, "Hi there, server")
	got, how := proxytest.HowItEnds(t, c)
	if got != strings.Repeat("0123456789abcdef", reply/16) || how != "fin" {
		t.Errorf("%d octets, %s", len(got), how)
	}
	c.Close()
	p.want(EndedFault, 5, reply, "requests close:5")
}

// A client that has sent more than was read gets the reply nevertheless: to close with
// octets unread would send RST, and drop what the client has not received yet.
func TestAfterCloseWhatWasNotReadDoesNotDestroyTheReply(t *testing.T) {
	const reply = 3_000_000
	sent := make(chan struct{})
	p := launch(t, &Proxy{Requests: fault.Close(8), Target: proxytest.Target(t, func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Write(make([]byte, reply))
		c.Close()
		close(sent)
	})})
	c := p.dial()
	c.Write(make([]byte, 100_000))
	<-sent
	if got, how := proxytest.HowItEnds(t, c); len(got) != reply || how != "fin" {
		t.Errorf("the client got %d octets and %s", len(got), how)
	}
	c.Close()
	p.want(EndedFault, 8, reply, "requests close:8")
}

// The target does not know of the half-close, and must be able to send everything.
func TestAfterHalfCloseTheTargetIsNotStopped(t *testing.T) {
	done := make(chan error, 1)
	p := launch(t, &Proxy{Replies: fault.HalfClose(5), Target: proxytest.Target(t, func(c *net.TCPConn) {
		_, err := c.Write(make([]byte, 32<<20))
		done <- err
	})})
	c := p.dial()
	if got, how := proxytest.HowItEnds(t, c); len(got) != 5 || how != "fin" {
		t.Errorf("%d octets, %s", len(got), how)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The first connections fail, and then it works. toxiproxy cannot do that (its issue 404).
func TestFailTheFirstAndThenWork(t *testing.T) {
	p := launch(t, &Proxy{Replies: fault.FailFirst(2, fault.Reset(10)), Target: proxytest.Target(t, proxytest.Answers("Farewell, client", 1))})
	for i, want := range []string{"10 reset", "10 reset", "16 fin", "16 fin"} {
		c := p.dial()
		io.WriteString(c, "x")
		got, how := proxytest.HowItEnds(t, c)
		if (len(got) == 10) != strings.HasPrefix(want, "10") || !strings.HasSuffix(want, how) {
			t.Errorf("connection %d: %d octets and %s, want %s", i, len(got), how, want)
		}
		c.Close()
		p.next()
	}
}

func TestTargetThatDoesNotListen(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	p := launch(t, &Proxy{Target: ln.Addr().String()})
	p.dialReset()
	if got := p.want(EndedNoTarget, 0, 0); got.Error != "connect to "+p.Target+": connection refused" {
		t.Error(got.Error)
	}
}

func TestDialTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hanging := fault.Listen(ln, fault.Hang())
	defer hanging.Close()
	p := launch(t, &Proxy{Target: ln.Addr().String(), DialTimeout: 30 * time.Millisecond})
	p.dialReset()
	if got := p.want(EndedNoTarget, 0, 0); !strings.HasSuffix(got.Error, "i/o timeout") {
		t.Error(got.Error)
	}

	p = launch(t, &Proxy{Target: ln.Addr().String(), DialTimeout: -1})
	c := p.dial()
	awaitOpen(p)
	p.Close() // ends the attempt to connect
	if _, how := proxytest.HowItEnds(t, c); how != "reset" {
		t.Error(how)
	}
	p.want(EndedStopped, 0, 0)
}

// awaitOpen waits until the proxy has the connection.
func awaitOpen(p *running) {
	for start := time.Now(); p.Open() == 0; {
		if time.Since(start) > giveUp {
			p.t.Fatal("no connection")
		}
	}
}

// A side that does not read stops only what is sent to it.
func TestSlowReaderHoldsOnlyItsOwnDirection(t *testing.T) {
	const request = 16 << 20
	p := launch(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) {
		blocked := make(chan struct{})
		go func() { // more than all buffers hold
			defer close(blocked)
			c.Write(make([]byte, 64<<20))
		}()
		io.CopyN(io.Discard, c, request)
		c.Close()
		<-blocked
	})})
	c := p.dial()
	if _, err := c.Write(make([]byte, request)); err != nil { // without a read
		t.Error(err)
	}
}

// A fault blocks a Write forever, and the side that the octets came from resets.
func TestStalledSessionEndsWithItsClient(t *testing.T) {
	p := launch(t, &Proxy{Requests: fault.Stall(4), Target: proxytest.Target(t, func(c *net.TCPConn) {
		if got, how := proxytest.HowItEnds(t, c); got != "Hi t" || how != "reset" {
			t.Errorf("%q, %s", got, how)
		}
	})})
	c := p.dial()
	io.WriteString(c, "Hi there, server")
	awaitOpen(p)
	c.SetLinger(0)
	c.Close()
	p.want(EndedClientReset, 4, 0, "requests stall:4")
}

// A client that has sent its FIN still waits in silence, also after the target has closed.
func TestStallIsSilentAfterBothFINs(t *testing.T) {
	gone := make(chan struct{})
	p := launch(t, &Proxy{Replies: fault.Stall(4), Target: proxytest.Target(t, func(c *net.TCPConn) {
		proxytest.Answers("Farewell, client", 16)(c)
		c.Close()
		close(gone)
	})})
	c := p.dial()
	io.WriteString(c, "Hi there, server")
	c.CloseWrite()
	<-gone
	c.SetReadDeadline(time.Now().Add(4 * patience))
	if got, how := proxytest.HowItEnds(t, c); got != "Fare" || how != "silence" {
		t.Errorf("%q, %s", got, how)
	}
	c.SetLinger(0)
	c.Close()
	p.want(EndedClientReset, 16, 4, "replies stall:4")
}

// A FIN does not show whether a client has closed or only sends no more. It gets silence
// for a while, and then the session ends, also if the target has not ended.
func TestStallEndsAfterTheFIN(t *testing.T) {
	for _, targetEnds := range []bool{true, false} {
		p := launch(t, &Proxy{Replies: fault.Stall(4), Target: proxytest.Target(t, func(c *net.TCPConn) {
			io.WriteString(c, "Farewell, client")
			io.Copy(io.Discard, c)
			if !targetEnds && !newPeerConn(c).awaitGone() {
				t.Error("the target was not reset")
			}
		})})
		c := p.dial()
		io.WriteString(c, "Hi there, server")
		io.ReadFull(c, make([]byte, 4))
		start := time.Now()
		c.Close()
		got := p.want(EndedFault, 16, 4, "replies stall:4")
		if d := time.Since(start); d < grace || d > 10*grace || got.Error != "octets were held for 300ms after the FIN of the client" {
			t.Errorf("after %v: %s", d, got.Error)
		}
	}
}

// What a fault only delays is waited for, however long after the FIN it arrives.
func TestSlowReplyOutlastsTheFIN(t *testing.T) {
	p := launch(t, &Proxy{Replies: fault.Delay(grace * 3 / 2), Target: proxytest.Target(t, proxytest.Answers("Farewell, client", 1))})
	c := p.dial()
	io.WriteString(c, "x")
	c.CloseWrite()
	if got, how := proxytest.HowItEnds(t, c); got != "Farewell, client" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
}

// A reset and a lack of descriptors do not mean that there is no target.
func TestHowDiallingEnded(t *testing.T) {
	for err, want := range map[error]Ended{
		os.NewSyscallError("connect", syscall.ECONNRESET):   EndedTargetReset,
		os.NewSyscallError("socket", syscall.EMFILE):        EndedError,
		os.NewSyscallError("connect", syscall.ECONNREFUSED): EndedNoTarget,
		os.ErrDeadlineExceeded:                              EndedNoTarget,
	} {
		if got := howDialEnded(&net.OpError{Op: "dial", Err: err}); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	p := launch(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) { c.SetLinger(0) })})
	if _, how := proxytest.HowItEnds(t, p.dial()); how != "reset" {
		t.Error(how)
	}
	p.want(EndedTargetReset, 0, 0)
}

// A long Write is not disturbed by watching its peers.
func TestSlowWritesAreWatchedAndGoOn(t *testing.T) {
	text := strings.Repeat("0123456789", 8)
	p := launch(t, &Proxy{Replies: fault.Drip(10, 2*patience), Target: proxytest.Target(t, proxytest.Answers(text, 0))})
	if got, how := proxytest.HowItEnds(t, p.dial()); got != text || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
}

func TestSeedRepeatsTheDecisions(t *testing.T) {
	run := func(seed uint64) string {
		p := launch(t, &Proxy{
			Seed: seed, Target: proxytest.Target(t, proxytest.Answers("Farewell, client", 1)),
			Replies: parse(t, "50%(reset:10)"), Requests: parse(t, "50%(corrupt:0)"), // which does not prevent the other fault
		})
		var b strings.Builder
		for range 40 {
			c := p.dial()
			io.WriteString(c, "x")
			proxytest.HowItEnds(t, c)
			c.Close()
			for _, s := range p.next().Faults {
				b.WriteString(string(s.On)[2:3]) // q or p
			}
			b.WriteByte(' ')
		}
		return b.String()
	}
	first, again, other := run(7), run(7), run(8)
	if first != again {
		t.Errorf("seed 7 gives\n%s\nand then\n%s", first, again)
	}
	if first == other {
		t.Error("seed 8 gives the same as 7")
	}
	if both := strings.Count(first, "qp"); both == strings.Count(first, "q") || both == strings.Count(first, "p") {
		t.Error("the directions do not decide independently:", first)
	}
}

func TestShutdownLetsConnectionsEnd(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, proxytest.Answers("ok", 4))})
	c := p.dial()
	io.WriteString(c, "12")
	awaitOpen(p)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Shutdown(now); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown with an open connection: %v", err)
	}
	if _, err := net.Dial("tcp", p.address); !errno.Refused.Has(err) {
		t.Errorf("after Shutdown: %v", err)
	}
	io.WriteString(c, "34")
	if got, how := proxytest.HowItEnds(t, c); got != "ok" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
	c.Close()
	if err := p.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	p.want(EndedFIN, 4, 2)
}

func TestCloseResetsBothSides(t *testing.T) {
	ends := make(chan string, 1)
	p := launch(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) {
		_, how := proxytest.HowItEnds(t, c)
		ends <- how
	})})
	c := p.dial()
	io.WriteString(c, "x")
	for awaitOpen(p); p.Open() == 0; {
	}
	p.Close()
	if _, how := proxytest.HowItEnds(t, c); how != "reset" {
		t.Error(how)
	}
	if got := p.next(); got.Ended != EndedStopped {
		t.Errorf("%+v", got)
	}
}

func TestServeErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for want, p := range map[string]*Proxy{
		"proxy: requests: refuse is a fault of connecting; for requests, use reset:0 or stall:0":   {Requests: fault.Refuse()},
		"proxy: replies: hang is a fault of connecting; for replies, use reset:0 or stall:0":       {Replies: fault.For(time.Hour, fault.Hang())},
		"proxy: connect: drip is not a fault of connecting; use refuse, hang or delay":             {Connect: fault.FailFirst(2, fault.Join(fault.Delay(time.Minute), fault.Drip(1, 0)))},
		"proxy: cannot serve a proxy.otherListener; use a *net.TCPListener or a *net.UnixListener": nil,
	} {
		if p == nil {
			if err := new(Proxy).Serve(otherListener{ln}); err == nil || err.Error() != want {
				t.Error(err)
			}
			continue
		}
		fresh, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Serve(fresh); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	p := launch(t, new(Proxy))
	p.dialReset()
	p.want(EndedNoTarget, 0, 0)
	again, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Serve(again); err == nil {
		t.Error("it served twice")
	}
	var closed Proxy
	closed.Close()
	again, _ = net.Listen("tcp", "127.0.0.1:0")
	if err := closed.Serve(again); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

type otherListener struct{ net.Listener }

// Without a fault on a direction, the octets of a transfer do not pass through the process.
func TestWithoutFaultsTheOctetsStayInTheKernel(t *testing.T) {
	if _, err := os.Stat("/proc/self/io"); err != nil {
		t.Skip("no /proc/self/io here")
	}
	const octets = 32 << 20
	through := func(requests fault.Fault) int {
		p := launch(t, &Proxy{Requests: requests, Target: proxytest.Target(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })})
		before := ioOctets(t)
		c := p.dial()
		c.Write(make([]byte, octets))
		c.CloseWrite()
		proxytest.HowItEnds(t, c)
		return ioOctets(t) - before
	}
	// The two ends in the test read and write each octet once.
	if got := through(fault.Fault{}); got > 2*octets+octets/4 {
		t.Errorf("%d octets were read and written for %d that were sent: the proxy copied", got, octets)
	}
	if got := through(fault.Corrupt(0)); got < 3*octets {
		t.Errorf("%d octets were read and written under a fault: the measure is wrong", got)
	}
}

func ioOctets(t *testing.T) (sum int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	return sumOf(string(text), "rchar:") + sumOf(string(text), "wchar:")
}

func sumOf(text, field string) (n int) {
	_, rest, _ := strings.Cut(text, field+" ")
	for _, digit := range rest {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + int(digit-'0')
	}
	return n
}

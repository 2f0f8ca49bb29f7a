package proxy

import (
	"cmp"
	"github.com/bothends/bothends/internal/proxytest"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bothends/bothends/fault"
)

// FIN and RST arrive after the octets that a delay holds.
func TestEndsComeAfterADelay(t *testing.T) {
	const delay = 50 * time.Millisecond
	for _, c := range []struct {
		replies, got, how string
		end               func(*net.TCPConn)
		ended             Ended
		octets            int64
	}{
		{"delay:50ms", "Farewell, client", "fin", func(*net.TCPConn) {}, EndedFIN, 16},
		{"delay:50ms", "Farewell, client", "reset", func(c *net.TCPConn) { fault.Conn(c, fault.Reset(0)).Write(nil) }, EndedTargetReset, 16},
		{"delay:50ms+reset:10", "Farewell, ", "reset", func(c *net.TCPConn) { io.Copy(io.Discard, c) }, EndedFault, 10},
		{"delay:50ms+close:10", "Farewell, ", "fin", func(c *net.TCPConn) { io.Copy(io.Discard, c) }, EndedFault, 10},
		{"delay:50ms+halfclose:10", "Farewell, ", "fin", func(c *net.TCPConn) { io.Copy(io.Discard, c) }, EndedFIN, 10},
	} {
		t.Run(c.replies+" "+c.how, func(t *testing.T) {
			p := launch(t, &Proxy{Replies: parse(t, c.replies), Target: proxytest.Target(t, func(conn *net.TCPConn) {
				io.ReadFull(conn, make([]byte, 1))
				io.WriteString(conn, "Farewell, client")
				c.end(conn)
			})})
			conn := p.dial()
			start := time.Now()
			io.WriteString(conn, "x")
			got, how := proxytest.HowItEnds(t, conn)
			if got != c.got || how != c.how || time.Since(start) < delay {
				t.Errorf("%q, %s after %v", got, how, time.Since(start))
			}
			conn.Close()
			if r := p.next(); r.Ended != c.ended || r.ReplyOctets != c.octets || r.RequestOctets != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A proxy ends, with its goroutines, while a delay holds octets.
func TestCloseDropsWhatADelayHolds(t *testing.T) {
	p := launch(t, &Proxy{Replies: fault.Delay(time.Hour), Target: proxytest.Target(t, func(c *net.TCPConn) {
		io.WriteString(c, "held")
		c.CloseWrite()
		io.Copy(io.Discard, c)
	})})
	c := p.dial()
	awaitOpen(p)
	for session := p.openSessions()[0]; len(fault.Struck(session.replies.faulty)) == 0; {
	}
	p.Close()
	if text, how := proxytest.HowItEnds(t, c); text != "" || how != "reset" {
		t.Errorf("%q, %s", text, how)
	}
	p.want(EndedStopped, 0, 0, "replies delay:1h0m0s")
}

// Clients that leave during a delay on connecting are let go: at once, or after some time
// if they have sent a request. One that has sent its request and its FIN gets the reply if
// the delay is over by then.
func TestClientsThatLeaveBeforeADelayIsOver(t *testing.T) {
	const clients = 200
	p := launch(t, &Proxy{Connect: fault.Delay(time.Hour), Target: "127.0.0.1:1"})
	var leaving sync.WaitGroup
	for i := range clients {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		leaving.Go(func() {
			if i%4 < 2 {
				c.(*net.TCPConn).SetLinger(0)
			}
			if i%2 == 0 {
				io.WriteString(c, "Hi there, server")
			}
			c.Close()
		})
	}
	leaving.Wait()
	start := time.Now()
	for range clients {
		got := p.next()
		if got.Ended != EndedClientReset && (got.Ended != EndedFault || got.Error != errLeft.Error()) {
			t.Errorf("%+v", got)
		}
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the sessions ended after %v", d)
	}

	p = launch(t, &Proxy{Connect: fault.Delay(50 * time.Millisecond), Target: proxytest.Target(t, proxytest.Answers("ok", 1))})
	c := p.dial()
	io.WriteString(c, "x")
	c.CloseWrite()
	if got, how := proxytest.HowItEnds(t, c); got != "ok" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
}

// Without a target, the client's connect always succeeds, and then the connection ends in
// the way that was set.
func TestUnreachableTarget(t *testing.T) {
	closed := proxytest.FreeAddress(t)
	for _, how := range []Closing{"", ClosingReset, ClosingFIN} {
		p := launch(t, &Proxy{Target: closed, Unreachable: how})
		want := string(cmp.Or(how, ClosingReset))
		var clients sync.WaitGroup
		few := make(chan struct{}, 20) // limits the time that each waits for a processor
		for i := range 100 {
			few <- struct{}{}
			clients.Go(func() {
				defer func() { <-few }()
				c, err := net.Dial("tcp", p.address)
				if err != nil {
					t.Errorf("connect: %v", err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(giveUp))
				if i%100 > 0 { // a request, which is not read
					io.WriteString(c, "x")
				}
				if _, got := proxytest.HowItEnds(t, c); got != want {
					t.Errorf("%q: %s", how, got)
				}
			})
		}
		clients.Wait()
		for range 100 {
			p.want(EndedNoTarget, 0, 0)
		}
	}
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Proxy{Unreachable: "rst"}).Serve(ln); err == nil || err.Error() != `proxy: unreachable: "rst": expected reset or fin` {
		t.Error(err)
	}
}

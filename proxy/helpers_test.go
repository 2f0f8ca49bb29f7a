package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
)

func TestMain(m *testing.M) {
	patience, grace, leaveGrace = 20*time.Millisecond, 300*time.Millisecond, 500*time.Millisecond
	goleak.VerifyTestMain(m)
}

// giveUp bounds a test that waits for what does not come.
const giveUp = 20 * time.Second

func parse(t testing.TB, text string) fault.Fault {
	t.Helper()
	f, err := fault.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// target listens, and runs handle on each connection until the test is over.
func target(t testing.TB, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		var handling sync.WaitGroup
		defer handling.Wait()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			handling.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(giveUp))
				handle(c.(*net.TCPConn))
			})
		}
	}()
	t.Cleanup(func() { ln.Close(); <-served })
	return ln.Addr().String()
}

// answers is a target that sends a reply to n octets, and then its FIN.
func answers(reply string, n int) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		if _, err := io.ReadFull(c, make([]byte, n)); err == nil {
			io.WriteString(c, reply)
		}
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
}

// running is a proxy that serves.
type running struct {
	*Proxy
	t       testing.TB
	address string
	ended   chan Connection
	served  chan error
}

// serve runs p until the test is over.
func serve(t testing.TB, p *Proxy) *running {
	t.Helper()
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{p, t, ln.Addr().String(), make(chan Connection, 10000), make(chan error, 1)}
	p.Done = func(c Connection) { r.ended <- c }
	go func() { r.served <- p.Serve(ln) }()
	for entered := false; !entered; { // a fault on connecting acts from then on
		p.mu.Lock()
		entered = p.gate != nil
		p.mu.Unlock()
	}
	t.Cleanup(func() {
		p.Close()
		if err := <-r.served; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// dial connects through the proxy.
func (r *running) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(giveUp))
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// dialReset connects, sends an octet, and wants an RST and nothing else.
func (r *running) dialReset() {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	if _, err := io.WriteString(c, "x"); errno.Reset.Has(err) {
		return // which read would not tell a second time
	}
	if got, how := howItEnds(r.t, c); got != "" || how != "reset" {
		r.t.Errorf("the client saw %q and %s: a failure must not look like an end", got, how)
	}
}

// next is what was reported of the next connection.
func (r *running) next() Connection {
	r.t.Helper()
	select {
	case c := <-r.ended:
		return c
	case <-time.After(giveUp):
		r.t.Fatal("no connection was reported")
		return Connection{}
	}
}

// want compares what is reported with what was expected.
func (r *running) want(ended Ended, requests, replies int64, faults ...string) Connection {
	r.t.Helper()
	c := r.next()
	var got []string
	for _, s := range c.Faults {
		got = append(got, string(s.On)+" "+s.Fault)
	}
	if c.Ended != ended || c.RequestOctets != requests || c.ReplyOctets != replies || !slices.Equal(got, faults) {
		r.t.Errorf("reported %+v, want %s, %d octets and %d, faults %v", c, ended, requests, replies, faults)
	}
	return c
}

// howItEnds reads to the end, and says how that came: fin, reset or silence.
func howItEnds(t testing.TB, c net.Conn) (octets string, how string) {
	t.Helper()
	var b strings.Builder
	_, err := io.Copy(&b, c)
	switch {
	case err == nil:
		return b.String(), "fin"
	case errno.Reset.Has(err):
		return b.String(), "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return b.String(), "silence"
	}
	t.Fatal(err)
	return "", ""
}

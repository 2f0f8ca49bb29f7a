package proxy

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/proxytest"
)

func TestMain(m *testing.M) {
	patience, grace, leaveGrace = 20*time.Millisecond, 300*time.Millisecond, 500*time.Millisecond
	goleak.VerifyTestMain(m)
}

const giveUp = proxytest.GiveUp

func parse(t testing.TB, text string) fault.Fault {
	t.Helper()
	f, err := fault.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// running is a proxy that serves.
type running struct {
	*Proxy
	t       testing.TB
	address string
	ended   chan Connection
	served  chan error
}

// launch runs p until the test is over.
func launch(t testing.TB, p *Proxy) *running {
	t.Helper()
	return launchAt(t, p, "127.0.0.1:0")
}

func launchAt(t testing.TB, p *Proxy, address string) *running {
	t.Helper()
	ln, err := listen(address)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{p, t, addressOf(ln.Addr()), make(chan Connection, 10000), make(chan error, 1)}
	p.Done = func(c Connection) { r.ended <- c }
	go func() { r.served <- p.Serve(ln) }()
	for !p.Enabled() { // a fault on connecting acts from then on
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
		return // a read does not return the error a second time
	}
	if got, how := proxytest.HowItEnds(r.t, c); got != "" || how != "reset" {
		r.t.Errorf("the client saw %q and %s: a failure must not look like a normal end", got, how)
	}
}

// next returns the report of the next connection.
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

// want compares the next report with what was expected.
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

// echo sends back what it reads. It does not use a pipe, as io.Copy does.
func echo(c *net.TCPConn) { io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

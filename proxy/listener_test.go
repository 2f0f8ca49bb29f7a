package proxy

import (
	"errors"
	"github.com/bothends/bothends/internal/proxytest"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
)

// works returns the reply that a client gets, or "refused", "hangs" or "reset".
func (r *running) works() string {
	r.t.Helper()
	dialer := net.Dialer{Timeout: 100 * time.Millisecond}
	c, err := dialer.Dial("tcp", r.address)
	var timeout net.Error
	switch {
	case errno.Refused.Has(err):
		return "refused"
	case errno.Reset.Has(err):
		return "reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "hangs"
	case err != nil:
		r.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(giveUp))
	if _, err := io.WriteString(c, "x"); errno.Reset.Has(err) {
		return "reset" // a read does not return the error a second time
	}
	got, how := proxytest.HowItEnds(r.t, c)
	if got == "ok" && how == "fin" {
		return "ok"
	}
	return how
}

// Refuse and hang act in the kernel, and setting and clearing them acts at once.
func TestConnectFaultsChangeWhileItRuns(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("connections are refused in the kernel on Linux alone")
	}
	p := launch(t, &Proxy{Target: proxytest.Target(t, proxytest.Answers("ok", 1)), Connect: fault.Refuse()})
	for i, step := range []struct{ fault, want string }{
		{"refuse", "refused"}, {"", "ok"}, {"hang", "hangs"}, {"refuse", "refused"}, {"hang", "hangs"}, {"", "ok"},
		{"first:1(refuse)", "reset"}, {"first:1(refuse)", "reset"}, {"", "ok"}, {"delay:1ms", "ok"},
	} {
		if i > 0 {
			if err := p.SetFault(Connect, parse(t, step.fault)); err != nil {
				t.Fatal(err)
			}
		}
		if got := p.works(); got != step.want {
			t.Errorf("step %d, with %q: %s, want %s", i, step.fault, got, step.want)
		}
	}
}

// SetFaultForNew leaves an open connection as it is.
func TestChangesForNewConnections(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, proxytest.Answers("Farewell, client", 16))})
	c := p.dial()
	io.WriteString(c, "Hi there")
	awaitOpen(p)
	for on, f := range map[Direction]fault.Fault{Requests: fault.Reset(0), Replies: fault.Corrupt(0), Connect: fault.FailFirst(1, fault.Refuse())} {
		if err := p.SetFaultForNew(on, f); err != nil {
			t.Fatal(err)
		}
	}
	p.SetTarget("127.0.0.1:1")
	io.WriteString(c, ", server")
	if got, how := proxytest.HowItEnds(t, c); got != "Farewell, client" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
	c.Close()
	p.want(EndedFIN, 16, 16)
	p.dialReset()
	p.want(EndedFault, 0, 0, "connect refuse")
	p.dialReset()
	if got := p.want(EndedNoTarget, 0, 0); got.Target != "127.0.0.1:1" {
		t.Error(got.Target)
	}
}

func TestFirstConnectionsAreRefusedAndReported(t *testing.T) {
	p := launch(t, &Proxy{Name: "k", Target: proxytest.Target(t, proxytest.Answers("ok", 1)), Connect: fault.FailFirst(2, fault.Refuse())})
	p.dialReset()
	p.dialReset()
	for range 2 {
		if got := p.want(EndedFault, 0, 0, "connect refuse"); got.Proxy != "k" || got.Client == "" || got.Target != p.Target {
			t.Errorf("%+v", got)
		}
	}
	if got := p.works(); got != "ok" {
		t.Error(got)
	}
	p.want(EndedFIN, 1, 2)
	if p.Accepted() != 3 || p.Open() != 0 {
		t.Errorf("%d accepted, %d open", p.Accepted(), p.Open())
	}
}

// A client that hangs is held, and closed when the fault is taken away.
func TestHeldClients(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, proxytest.Answers("ok", 1)), Connect: fault.FailFirst(2, fault.Hang())})
	held := p.dial()
	p.awaitHeld()
	if err := p.SetFault(Connect, fault.Fault{}); err != nil {
		t.Fatal(err)
	}
	if _, how := proxytest.HowItEnds(t, held); how == "silence" {
		t.Error(how)
	}
	p.want(EndedFault, 0, 0, "connect hang")

	if runtime.GOOS != "linux" {
		t.Skip("a client that goes is seen on Linux alone")
	}
	if err := p.SetFault(Connect, fault.FailFirst(2, fault.Hang())); err != nil {
		t.Fatal(err)
	}
	held = p.dial()
	held.Close()
	p.want(EndedFault, 0, 0, "connect hang")
}

// awaitHeld waits until a fault on connecting holds a connection.
func (r *running) awaitHeld() {
	for start, held := time.Now(), 0; held == 0; {
		if time.Since(start) > giveUp {
			r.t.Fatal("no connection is held")
		}
		r.listener.mu.Lock()
		held = len(r.listener.held)
		r.listener.mu.Unlock()
	}
}

// A delay on connecting delays the connection to the target.
func TestConnectDelay(t *testing.T) {
	const delay = 50 * time.Millisecond
	reached := make(chan time.Time, 1)
	p := launch(t, &Proxy{Connect: fault.Delay(delay), Target: proxytest.Target(t, func(*net.TCPConn) { reached <- time.Now() })})
	start := time.Now()
	c := p.dial()
	if waited := (<-reached).Sub(start); waited < delay {
		t.Errorf("after %v", waited)
	}
	c.Close()
	p.want(EndedFIN, 0, 0, "connect delay:50ms")

	if err := p.SetFault(Connect, fault.Delay(time.Hour)); err != nil {
		t.Fatal(err)
	}
	c = p.dial()
	awaitOpen(p)
	for len(fault.Struck(p.openSessions()[0].admission)) == 0 {
	}
	p.Close()
	if _, how := proxytest.HowItEnds(t, c); how != "reset" {
		t.Error(how)
	}
	p.want(EndedStopped, 0, 0, "connect delay:1h0m0s")
}

// SetFault does not block when the proxy ends.
func TestSetFaultWhileItEnds(t *testing.T) {
	for range 50 {
		p := launch(t, &Proxy{Connect: fault.Refuse()})
		set := make(chan struct{})
		go func() {
			defer close(set)
			for range 4 {
				p.SetFault(Connect, fault.Hang())
				p.SetFault(Connect, fault.Fault{})
			}
		}()
		p.Close()
		<-set
	}
	p := launch(t, new(Proxy))
	if err := p.SetFault("sideways", fault.Fault{}); err == nil || !strings.Contains(err.Error(), "sideways") {
		t.Error(err)
	}
	if err := p.SetFault(Connect, fault.Drip(1, 0)); err == nil {
		t.Error("a drip on connecting was accepted")
	}
}

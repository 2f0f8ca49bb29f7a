package proxy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/proxytest"
)

// exchange writes a request, and reads as many octets as it has.
func exchange(c net.Conn, request string) (string, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	reply := make([]byte, len(request))
	n, err := io.ReadFull(c, reply)
	return string(reply[:n]), err
}

// A connection that is open meets each fault that is set, and works when there is none.
func TestSetFaultActsOnOpenConnections(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, echo)})
	c := p.dial()
	for i, step := range []struct {
		on          Direction
		fault, want string
	}{
		{Replies, "", "ping"}, {Replies, "corrupt:0", "qing"}, {Replies, "", "ping"}, {Requests, "corrupt:1", "phng"},
		{Requests, "corrupt:3", "pinf"}, {Requests, "drip:1/1ms", "ping"}, {Requests, "", "ping"}, {Replies, "delay:1ms", "ping"},
		{Replies, "first:1(corrupt:2)", "piog"}, {Replies, "", "ping"},
	} {
		if err := p.SetFault(step.on, parse(t, step.fault)); err != nil {
			t.Fatal(err)
		}
		if got, err := exchange(c, "ping"); got != step.want || err != nil {
			t.Errorf("step %d, %q on %s: %q, %v, want %q", i, step.fault, step.on, got, err, step.want)
		}
	}
	if err := p.SetFault(Replies, fault.Reset(2)); err != nil {
		t.Fatal(err)
	}
	if got, err := exchange(c, "ping"); got != "pi" || !errno.Reset.Has(err) {
		t.Errorf("%q, %v", got, err)
	}
	got := p.next()
	if got.Ended != EndedFault || got.RequestOctets != 44 || got.ReplyOctets != 42 || got.Faults[len(got.Faults)-1] != (Strike{Replies, "reset:2"}) {
		t.Errorf("%+v", got)
	}
}

// A fault that is set again decides as it did before, with the same seed.
func TestSetFaultRepeatsTheDecisions(t *testing.T) {
	p := launch(t, &Proxy{Seed: 7, Target: proxytest.Target(t, echo)})
	decisions := func() (struck string) {
		if err := p.SetFault(Replies, parse(t, "50%(corrupt:0)")); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			c := p.dial()
			reply, _ := exchange(c, "p")
			struck += reply
			c.Close()
			p.next()
		}
		return struck
	}
	first, again := decisions(), decisions()
	if first != again || !strings.Contains(first, "p") || !strings.Contains(first, "q") {
		t.Errorf("%s and then %s", first, again)
	}
}

// What a stall keeps back is sent when it is taken away, in order, and nothing is lost.
func TestStallThatIsTakenAway(t *testing.T) {
	p := launch(t, &Proxy{Replies: fault.Stall(4), Target: proxytest.Target(t, proxytest.Answers("Farewell, client", 1))})
	c := p.dial()
	io.WriteString(c, "x")
	io.ReadFull(c, make([]byte, 4))
	if err := p.SetFault(Replies, fault.Fault{}); err != nil {
		t.Fatal(err)
	}
	if got, how := proxytest.HowItEnds(t, c); got != "well, client" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
}

// Faults that are set and cleared all the time neither lose nor double nor reorder an
// octet, with and without a copy in the kernel.
func TestNoOctetIsLostWhileFaultsChange(t *testing.T) {
	const octets = 8 << 20
	data := make([]byte, octets)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	received := make(chan []byte, 1)
	p := launch(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) {
		hash := sha256.New()
		io.Copy(hash, c)
		received <- hash.Sum(nil)
	})})
	c := p.dial()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Write(data)
		c.CloseWrite()
	}()
	faults := []fault.Fault{{}, fault.Drip(30000, 0), fault.Delay(time.Millisecond), {}, fault.Stall(1 << 17)}
	changes := 0
	for running := true; running; changes++ {
		if err := p.SetFault(Requests, faults[changes%len(faults)]); err != nil {
			t.Fatal(err)
		}
		if changes > 2000 {
			p.SetFault(Requests, fault.Fault{})
			<-done
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	p.SetFault(Requests, fault.Fault{})
	if want := sha256.Sum256(data); !bytes.Equal(<-received, want[:]) {
		t.Errorf("other octets arrived, after %d changes", changes)
	}
	if changes < 20 {
		t.Errorf("only %d changes", changes)
	}
}

func TestDropConns(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, echo)})
	c := p.dial()
	exchange(c, "ping")
	p.DropConns()
	if _, how := proxytest.HowItEnds(t, c); how != "reset" {
		t.Error(how)
	}
	p.want(EndedStopped, 4, 4)
	if got, err := exchange(p.dial(), "ping"); got != "ping" || err != nil {
		t.Errorf("a connection after that: %q, %v", got, err)
	}
}

func TestDisableAndEnable(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, echo)})
	for range 3 {
		c := p.dial()
		exchange(c, "ping")
		for range 2 {
			if err := p.Disable(); err != nil || p.Enabled() {
				t.Errorf("Disable: %v, enabled: %v", err, p.Enabled())
			}
		}
		if _, how := proxytest.HowItEnds(t, c); how != "reset" {
			t.Error(how)
		}
		if proxytest.ListensAt(p.address) {
			t.Error("disabled, and it listens")
		}
		for range 2 {
			if err := p.Enable(); err != nil || !p.Enabled() {
				t.Errorf("Enable: %v, enabled: %v", err, p.Enabled())
			}
		}
		if got, err := exchange(p.dial(), "ping"); got != "ping" || err != nil {
			t.Errorf("enabled: %q, %v", got, err)
		}
	}
	if err := p.Disable(); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal("the address of a disabled proxy is not free:", err)
	}
	if err := p.Enable(); !errno.AddrInUse.Has(err) || p.Enabled() {
		t.Errorf("Enable where another program listens: %v", err)
	}
	other.Close()
	p.Close()
	if err := p.Enable(); !errors.Is(err, ErrClosed) {
		t.Errorf("Enable after Close: %v", err)
	}
	if err := new(Proxy).Disable(); err == nil || !strings.Contains(err.Error(), "Serve has not been called") {
		t.Error(err)
	}
}

// A fault on connecting stays while a proxy is disabled, and can be changed meanwhile.
func TestConnectFaultOfADisabledProxy(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, echo)})
	if err := errors.Join(p.Disable(), p.SetFault(Connect, fault.Refuse()), p.Enable()); err != nil {
		t.Fatal(err)
	}
	if proxytest.ListensAt(p.address) {
		t.Error("it does not refuse")
	}
	if err := p.SetFault(Connect, fault.Fault{}); err != nil {
		t.Fatal(err)
	}
	if got, err := exchange(p.dial(), "ping"); got != "ping" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A fault that strikes by time ends a connection on which nothing is sent, also one that
// was open before, and one of whose directions has ended.
func TestTimedFaults(t *testing.T) {
	const target, client = "target", "client"
	for _, c := range []struct {
		on        Direction
		fault     string
		early     bool   // set before the connection
		finished  string // which side has sent its FIN before
		how, ends string
	}{
		{Replies, "reset@20ms", true, "", "reset", "reset"},
		{Replies, "reset@20ms", false, "", "reset", "reset"},
		{Requests, "reset@20ms", false, "", "reset", "reset"},
		{Requests, "close@20ms", false, "", "fin", "fin"},
		{Replies, "close@20ms", true, "", "fin", "fin"},
		{Requests, "reset@20ms", false, target, "fin", "reset"},
		{Replies, "reset@20ms", false, target, "fin", "reset"},
		{Replies, "reset@20ms", false, client, "reset", "reset"},
	} {
		ends, read := make(chan string, 1), make(chan struct{})
		p := launch(t, &Proxy{Target: proxytest.Target(t, func(conn *net.TCPConn) {
			if c.finished == target {
				conn.CloseWrite()
			}
			_, how := proxytest.HowItEnds(t, conn)
			close(read)
			if c.finished == client && newPeerConn(conn).awaitGone() {
				how = "reset"
			}
			ends <- how
		})})
		if c.early {
			if err := p.SetFault(c.on, parse(t, c.fault)); err != nil {
				t.Fatal(err)
			}
		}
		conn := p.dial()
		awaitOpen(p)
		switch c.finished {
		case target:
			conn.Read(make([]byte, 1))
		case client:
			conn.CloseWrite()
			<-read
		}
		if !c.early {
			if err := p.SetFault(c.on, parse(t, c.fault)); err != nil {
				t.Fatal(err)
			}
		}
		if _, how := proxytest.HowItEnds(t, conn); how != c.how {
			t.Errorf("%+v: the client got %s", c, how)
		}
		if how := <-ends; how != c.ends {
			t.Errorf("%+v: the target got %s", c, how)
		}
		conn.Close()
		p.want(EndedFault, 0, 0, string(c.on)+" "+c.fault)
	}
}

// Octets that were read before the direction noticed a fault pass it nevertheless.
func TestFaultIsNoticedAfterARead(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, echo)})
	c := p.dial()
	exchange(c, "ping")
	p.replies.Set(fault.Corrupt(0)) // as SetFault, but without waking the direction
	if got, err := exchange(c, "ping"); got != "qing" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A client that waits for a delay on connecting meets the fault that is set meanwhile.
func TestConnectFaultDuringADelay(t *testing.T) {
	for f, want := range map[string]string{"": "fin", "refuse": "reset"} {
		p := launch(t, &Proxy{Connect: fault.Delay(time.Hour), Target: proxytest.Target(t, proxytest.Answers("ok", 1))})
		c := p.dial()
		awaitOpen(p)
		if err := p.SetFault(Connect, parse(t, f)); err != nil {
			t.Fatal(err)
		}
		if f == "" {
			io.WriteString(c, "x")
		}
		if _, how := proxytest.HowItEnds(t, c); how != want {
			t.Errorf("%q: %s, want %s", f, how, want)
		}
		c.Close()
		if got := p.next(); f == "refuse" && got.Ended != EndedFault || f == "" && got.Ended != EndedFIN {
			t.Errorf("%q: %+v", f, got)
		}
	}
}

// A fault that is set before Serve is in force from the first connection.
func TestSetFaultBeforeServe(t *testing.T) {
	p := &Proxy{Target: proxytest.Target(t, echo)}
	if err := p.SetFault(Replies, fault.Corrupt(0)); err != nil {
		t.Fatal(err)
	}
	if got, err := exchange(launch(t, p).dial(), "ping"); got != "qing" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

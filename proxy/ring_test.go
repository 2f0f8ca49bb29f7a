package proxy

import (
	"context"
	"errors"
	"github.com/bothends/bothends/internal/proxytest"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// silentResolver asks a name server that does not answer. Its questions end with the test:
// Resolver does not end them when a context ends.
func silentResolver(t *testing.T) *net.Resolver {
	t.Helper()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { silent.Close(); cancel() })
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "udp", silent.LocalAddr().String())
		if err == nil {
			context.AfterFunc(ctx, func() { c.Close() })
		}
		return c, err
	}}
}

const unanswered = "name.unanswered.example"

// A name that is not answered delays neither other changes nor the end.
func TestNoLockWaitsForALookup(t *testing.T) {
	s, _ := set(t)
	s.Resolver = silentResolver(t)
	added, err := s.Add(context.Background(), Spec{Name: "a", Listen: "127.0.0.1:0", Target: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	rules := []Spec{{Listen: unanswered + ":1", Target: "127.0.0.1:1"}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	waiting := make(chan error, 3)
	go func() { waiting <- s.Apply(ctx, rules) }()
	cancelled := make(chan error, 1)
	mine, cancelMine := context.WithCancel(context.Background())
	go func() {
		_, err := s.Add(mine, Spec{Listen: unanswered + ":1", Target: "127.0.0.1:1"})
		cancelled <- err
	}()
	target := unanswered + ":1"
	go func() {
		_, err := s.Change(ctx, "a", Change{Target: &target})
		waiting <- err
	}()
	go func() {
		_, err := s.Add(ctx, Spec{Listen: unanswered + ":1", Target: target})
		waiting <- err
	}()

	start := time.Now()
	cancelMine()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("Add after its context has ended: %v", err)
	}
	seed := uint64(7)
	if got, err := s.Change(ctx, "a", Change{Seed: &seed}); err != nil || got.Seed != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if got := s.Proxies(); len(got) != 1 || got[0].Listen != added.Listen {
		t.Errorf("%+v", got)
	}
	s.Close()
	for range 3 {
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	if d := time.Since(start); d > targetTime/2 {
		t.Errorf("it took %v", d)
	}
}

// A target that is the proxy itself, or leads back to it, is rejected in every notation.
func TestRingsAreRejected(t *testing.T) {
	s, _ := set(t)
	ctx := context.Background()
	_, port, _ := net.SplitHostPort(proxytest.FreeAddress(t))
	for _, c := range []struct{ listen, target string }{
		{"127.0.0.1:", "127.0.0.1:"}, {"127.0.0.1:", "localhost:"}, {"localhost:", "127.0.0.1:"}, {"127.0.0.1:", "0.0.0.0:"},
		{":", "127.0.0.1:"}, {":", "127.0.0.9:"}, {":", "[::1]:"}, {"0.0.0.0:", "localhost:"}, {"[::]:", "127.0.0.1:"},
		{"[::1]:", "[::1]:"}, {"[::1]:", "[::]:"}, {":", "[::ffff:127.0.0.1]:"}, {":", "0.0.0.0:"},
	} {
		_, err := s.Add(ctx, Spec{Listen: c.listen + port, Target: c.target + port})
		var spec *SpecError
		if !errors.As(err, &spec) || err.Error() != "target: it is the address of this proxy itself" {
			t.Errorf("%s to %s: %v", c.listen, c.target, err)
		}
		if proxytest.ListensAt("127.0.0.1:" + port) {
			t.Errorf("%s to %s: it listens", c.listen, c.target)
		}
	}

	holder, err := net.Listen("tcp", "127.0.0.1:0") // so that port 0 is a different one
	if err != nil {
		t.Fatal(err)
	}
	b := holder.Addr().String()
	one, err := s.Add(ctx, Spec{Name: "a", Listen: "127.0.0.1:0", Target: b})
	if err != nil {
		t.Fatal(err)
	}
	holder.Close()
	const back = "target: it leads back to this proxy: b -> a -> b"
	if _, err := s.Add(ctx, Spec{Name: "b", Listen: b, Target: one.Listen}); err == nil || err.Error() != back {
		t.Errorf("a ring of two: %v", err)
	}
	if _, err := s.Add(ctx, Spec{Name: "b", Listen: b, Target: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(ctx, "b", Change{Target: &one.Listen}); err == nil || err.Error() != back {
		t.Errorf("a ring by a change: %v", err)
	}
	if _, err := s.Change(ctx, "b", Change{Target: &b}); err == nil || err.Error() != "target: it is the address of this proxy itself" {
		t.Errorf("a change to itself: %v", err)
	}
	if got, _ := s.Proxy("b"); got.Target != "127.0.0.1:1" {
		t.Errorf("a rejected change acts: %+v", got)
	}
	x, y, z := proxytest.FreeAddress(t), proxytest.FreeAddress(t), proxytest.FreeAddress(t)
	r := []Spec{{Name: "x", Listen: x, Target: y}, {Name: "y", Listen: y, Target: z}, {Name: "z", Listen: z, Target: x}}
	if err := s.Apply(ctx, r); err == nil || err.Error() != "proxies[0]: target: it leads back to this proxy: x -> y -> z -> x" {
		t.Errorf("a ring of three rules: %v", err)
	}
}

// A ring that exists only while the proxies run ends the connections, and does not use up
// the descriptors.
func TestRingsThatAppearLater(t *testing.T) {
	family := new(family)
	a := launch(t, &Proxy{Name: "a", family: family})
	b := launch(t, &Proxy{Name: "b", family: family, Target: a.address})
	self := launch(t, &Proxy{Name: "self"})
	a.SetTarget(b.address)
	self.SetTarget(self.address)
	for _, p := range []*running{a, self} {
		p.dialReset()
		if got := p.next(); p == self && (got.Ended != EndedError || !strings.HasSuffix(got.Error, "the target leads back to this proxy")) {
			t.Errorf("%+v", got)
		}
		if n := p.Accepted(); n != 1 {
			t.Errorf("%d connections for one client", n)
		}
	}
	if got := b.next(); got.Ended != EndedError || !strings.HasSuffix(got.Error, "the target leads back to this proxy") {
		t.Errorf("%+v", got)
	}
	// Without the ring it works.
	b.SetTarget(proxytest.Target(t, proxytest.Answers("ok", 1)))
	c := a.dial()
	io.WriteString(c, "x")
	if got, how := proxytest.HowItEnds(t, c); got != "ok" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
}

// An attempt to connect that comes after the end of its session, because it has lost its
// race, must not leave an edge behind: it would be taken for a ring later.
func TestLateAttemptLeavesNoEdge(t *testing.T) {
	family := new(family)
	a := launch(t, &Proxy{family: family})
	b := launch(t, &Proxy{family: family})
	s := &session{proxy: a.Proxy}
	s.end(EndedFIN, nil)
	if err := s.connecting("tcp", b.address, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := family.connecting(b.Proxy, endpointOf(a.address)); err != nil {
		t.Error(err)
	}
}

// Where a proxy listens on all interfaces, each connection to the same port of a target
// asks whether it is this machine. That must not list the interfaces each time.
func TestOwnAddressesAreKept(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.1")
	if isLocal(other) || !isLocal(netip.MustParseAddr("127.0.0.9")) {
		t.Error("192.0.2.1 is an address of this machine, or 127.0.0.9 is not")
	}
	if n := testing.AllocsPerRun(1000, func() { isLocal(other) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if ip, ok := netip.AddrFromSlice(a.(*net.IPNet).IP); ok && !isLocal(ip.Unmap()) {
			t.Errorf("%v is not an address of this machine", ip)
		}
	}
}

// Above the limit, clients wait. Changes do not wait for them.
func TestConnectionLimit(t *testing.T) {
	p := launch(t, &Proxy{MaxConns: 2, Target: proxytest.Target(t, proxytest.Answers("ok", 1))})
	first, second, third := p.dial(), p.dial(), p.dial()
	io.WriteString(third, "x")
	for p.Open() < 2 {
	}
	if err := p.SetFault(Connect, parse(t, "first:9(delay:1ms)")); err != nil {
		t.Fatal(err)
	}
	if n := p.Accepted(); n != 2 {
		t.Errorf("%d connections with a limit of 2", n)
	}
	first.Close()
	if got, how := proxytest.HowItEnds(t, third); got != "ok" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
	second.Close()
}

package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// targetTime is the time limit for looking up the targets when proxies are added
	// or changed. A target whose name is not known by then is accepted: each
	// connection looks it up again.
	targetTime = 2 * time.Second

	lookups = 16 // maximum number of concurrent look-ups
)

// A place is where a Spec listens and where it connects to, as addresses.
type place struct {
	listen string           // an address for net.Listen; "" if it was not asked for
	target []netip.AddrPort // empty if its name is not known
}

// resolve looks up the names of specs. The caller does not hold mu. If ctx ends or the
// Set is closed, the error is its cause. Other errors are passed to failed, with the
// index of the spec; it returns the error for the caller.
func (s *Set) resolve(ctx context.Context, specs []Spec, failed func(int, error) error) ([]place, error) {
	ctx, cancel := s.untilClosed(ctx)
	defer cancel(nil)
	soon, cancelSoon := context.WithTimeout(ctx, targetTime)
	defer cancelSoon()
	places, errs := make([]place, len(specs)), make([]error, len(specs))
	var looking sync.WaitGroup
	slots := make(chan struct{}, lookups)
	for i, spec := range specs {
		slots <- struct{}{}
		looking.Go(func() {
			defer func() { <-slots }()
			places[i].target = s.targets(soon, spec.Target)
			places[i].listen, errs[i] = s.listenAddress(ctx, spec.Listen)
		})
	}
	looking.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for i, err := range errs {
		if err != nil {
			return nil, failed(i, err)
		}
	}
	return places, nil
}

// untilClosed returns a context that ends with ctx or when the Set is closed.
func (s *Set) untilClosed(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.open, func() { cancel(ErrClosed) })
	return ctx, func(err error) { stop(); cancel(err) }
}

// listenAddress returns the address without a name. Like net.Listen, it prefers IPv4.
func (s *Set) listenAddress(ctx context.Context, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || isAddress(host) {
		return address, err
	}
	found, err := s.resolver().LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	chosen := found[0]
	for _, a := range found {
		if a.Unmap().Is4() {
			chosen = a.Unmap()
			break
		}
	}
	return net.JoinHostPort(chosen.String(), port), nil
}

// targets returns the addresses of a target, none if they are not known.
func (s *Set) targets(ctx context.Context, address string) (found []netip.AddrPort) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	addresses, err := s.resolver().LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for _, a := range addresses {
		if at, err := netip.ParseAddrPort(net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			found = append(found, at)
		}
	}
	return found
}

func (s *Set) resolver() *net.Resolver {
	if s.Resolver != nil {
		return s.Resolver
	}
	return net.DefaultResolver
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// endpoint returns an address of net.Listen, or of a listener, as a netip.AddrPort. An
// empty host is the unspecified address.
func endpoint(address string) netip.AddrPort {
	if strings.HasPrefix(address, ":") {
		address = "[::]" + address
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// reaches reports whether a connection to target arrives at a socket that listens at
// listen.
func reaches(target, listen netip.AddrPort) bool {
	to, at := target.Addr().Unmap(), listen.Addr().Unmap()
	switch {
	case target.Port() != listen.Port() || listen.Port() == 0:
		return false
	case to == at:
		return true
	case to.IsUnspecified(): // connect(2) takes it as loopback
		return at.IsLoopback() || at.IsUnspecified()
	case !at.IsUnspecified():
		return false
	}
	return (to.Is4() || at.Is6()) && isLocal(to) // a socket at [::] takes IPv4 too
}

// isLocal reports whether an address is one of this machine.
func isLocal(address netip.Addr) bool {
	return address.IsLoopback() || own.has(address.WithZone(""))
}

// own are the addresses of this machine. Each connection may need them, and to ask for
// them takes longer the more interfaces there are.
var own addresses

// addresses are those of all interfaces, not older than a second.
type addresses struct {
	mu    sync.Mutex
	asked time.Time
	known map[netip.Addr]bool
}

func (a *addresses) has(address netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.asked) > time.Second {
		a.ask()
	}
	return a.known[address]
}

// ask asks the system. The caller holds mu.
func (a *addresses) ask() {
	a.asked, a.known = time.Now(), make(map[netip.Addr]bool)
	all, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	for _, address := range all {
		if network, ok := address.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(network.IP); ok {
				a.known[ip.Unmap()] = true
			}
		}
	}
}

// errRing is the error of a target that leads back to its own proxy.
func errRing(names []string) error {
	if len(names) == 1 {
		return errors.New("it is the address of this proxy itself")
	}
	return errors.New("it leads back to this proxy: " + strings.Join(append(names, names[0]), " -> "))
}

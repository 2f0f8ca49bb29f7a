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

// A place is where a Spec listens and where it connects to, without names.
type place struct {
	listen string     // an address for listen; "" if it was not asked for
	target []endpoint // empty if its name is not known
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
	if strings.HasPrefix(address, unixPrefix) {
		return address, nil
	}
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

// targets returns the endpoints of a target, none if they are not known.
func (s *Set) targets(ctx context.Context, address string) (found []endpoint) {
	if strings.HasPrefix(address, unixPrefix) {
		return []endpoint{endpointOf(address)}
	}
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
			found = append(found, endpoint{tcp: at})
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

// errRing is the error of a target that leads back to its own proxy.
func errRing(names []string) error {
	if len(names) == 1 {
		return errors.New("it is the address of this proxy itself")
	}
	return errors.New("it leads back to this proxy: " + strings.Join(append(names, names[0]), " -> "))
}

package proxy

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/bothends/bothends/internal/errno"
)

// Apply makes the proxies what specs says: all of it, or with an error nothing; then no
// new listener stays open either. Proxies that Add made are left alone. The error is a
// *[SpecsError], ErrClosed, or that of ctx, which is for looking up names.
//
// A proxy with the same listen address as before stays the same proxy: its connections go
// on, and only a fault that differs from the one before starts anew, for open connections
// too. A proxy without a Spec stops accepting, and its open connections go on. If it holds
// the address of a new one, it stops before the new one listens; if that fails, it listens
// again, and its faults start anew.
func (s *Set) Apply(ctx context.Context, specs []Spec) error {
	specs = slices.Clone(specs)
	if err := CheckSpecs(specs); err != nil {
		return err
	}
	places, err := s.resolve(ctx, specs, func(i int, err error) error { return &SpecsError{i, "listen", err} })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return ErrClosed
	}
	a := applying{set: s, specs: specs, places: places, before: make(map[string]*member)}
	for _, m := range s.members {
		if m.ruled {
			a.before[m.spec.key()] = m
		} else {
			a.others = append(a.others, m)
		}
	}
	if err := a.checkRings(); err != nil {
		return err
	}
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	a.start(listeners)
	return nil
}

// applying is a call of Apply. The caller of its methods holds the Set's mu.
type applying struct {
	set    *Set
	specs  []Spec
	places []place
	before map[string]*member // the proxies of the previous call, by key
	others []*member          // the proxies that Add made
}

// start starts the new proxies, changes those that stay, and retires the rest.
func (a *applying) start(listeners map[int]net.Listener) {
	a.set.members = a.others
	for i, spec := range a.specs {
		m := a.before[spec.key()]
		if m == nil {
			m = a.set.start(spec, listeners[i])
			m.ruled = true
		} else {
			m.change(spec, m.spec.differs(spec), false)
		}
		m.target = a.places[i].target
		delete(a.before, spec.key())
		a.set.members = append(a.set.members, m)
	}
	for _, gone := range a.before {
		a.set.retire(gone)
	}
}

// checkRings returns an error if a proxy leads back to itself. A proxy that was there
// before has the address at which it listens.
func (a *applying) checkRings() error {
	var all []node
	for i, spec := range a.specs {
		all = append(all, node{spec.Name, endpointOf(a.places[i].listen), a.places[i].target})
		if m := a.before[spec.key()]; m != nil {
			all[i].listen = m.node().listen
		}
	}
	for _, m := range a.others {
		all = append(all, m.node())
	}
	nodes := newNodes(all)
	for i := range a.specs {
		if names := nodes.ring(i); names != nil {
			return &SpecsError{i, "target", &SpecError{"target", errRing(names)}}
		}
	}
	return nil
}

// listen opens the listeners of the specs that had none before. Those whose address is
// held by a proxy without a Spec come last, when nothing else can fail.
func (a *applying) listen() (_ map[int]net.Listener, err error) {
	opened := make(map[int]net.Listener)
	held := make(map[int][]*member)
	var retired []*member
	defer func() {
		if err == nil {
			return
		}
		for _, ln := range opened {
			ln.Close()
		}
		for _, m := range retired {
			err = a.set.revive(m, err)
		}
	}()
	for i, spec := range a.specs {
		if slices.ContainsFunc(a.others, func(m *member) bool { return m.spec.Name == spec.Name }) {
			return nil, &SpecsError{i, "name", fmt.Errorf("%s: %w", spec.Name, ErrNameTaken)}
		}
		if a.before[spec.key()] != nil {
			continue
		}
		ln, err := listen(a.places[i].listen)
		if err == nil {
			opened[i] = ln
			continue
		}
		if held[i] = a.goneAt(a.places[i].listen); held[i] == nil || !errno.AddrInUse.Has(err) {
			return nil, &SpecsError{i, "listen", err}
		}
	}
	for i, holders := range held {
		for _, m := range holders {
			if !slices.Contains(retired, m) {
				retired = append(retired, m)
			}
			a.set.retire(m)
		}
		ln, err := listen(a.places[i].listen)
		if err != nil {
			return nil, &SpecsError{i, "listen", err}
		}
		opened[i] = ln
	}
	return opened, nil
}

// goneAt returns the proxies without a Spec that listen at the port or the path of an
// address.
func (a *applying) goneAt(address string) (gone []*member) {
	for key, m := range a.before {
		stays := slices.ContainsFunc(a.specs, func(s Spec) bool { return s.key() == key })
		if !stays && m.proxy.Enabled() && m.node().listen.group() == endpointOf(address).group() {
			gone = append(gone, m)
		}
	}
	return gone
}

// retire stops a proxy that is not a member any more. Its open connections go on. The
// caller holds mu.
func (s *Set) retire(m *member) {
	s.leaving[m.proxy] = struct{}{}
	m.proxy.stop()
}

// revive lets a proxy listen again that was stopped for specs that were then refused, for
// the reason why. It returns why, with its own error if it fails. The caller holds mu.
func (s *Set) revive(m *member, why error) error {
	ln, err := listen(m.address)
	if err != nil { // another program was faster
		s.members = slices.DeleteFunc(s.members, func(o *member) bool { return o == m })
		return fmt.Errorf("%w; and %s could not listen again: %w", why, m.spec.Name, err)
	}
	m.proxy = s.start(m.spec, ln).proxy
	return why
}

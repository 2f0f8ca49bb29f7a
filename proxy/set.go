package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

var (
	// ErrNoProxy is returned if a Set has no proxy of that name.
	ErrNoProxy = errors.New("no such proxy")
	// ErrNameTaken is returned if a Set has a proxy of that name already.
	ErrNameTaken = errors.New("the name is in use")
)

// A Set contains the proxies of a process, which are added, changed and removed while it
// runs. The zero value is an empty Set. Its fields must not be changed after a proxy has
// been added.
type Set struct {
	// Done, Log and DialTimeout are those of each Proxy. Done must not call the Set.
	Done        func(Connection)
	Log         *slog.Logger
	DialTimeout time.Duration

	// Resolver looks up the names of all proxies. If nil, it is net.DefaultResolver.
	Resolver *net.Resolver

	// mu is never held while a name is looked up or a connection is waited for.
	mu      sync.Mutex
	open    context.Context // ends when the Set is closed; nil until it is needed
	close   context.CancelFunc
	members []*member
	leaving map[*Proxy]struct{} // not members any more, with open connections
	family  family
	serving sync.WaitGroup
}

// init makes what the zero value lacks. The caller holds mu.
func (s *Set) init() {
	if s.open == nil {
		s.open, s.close = context.WithCancel(context.Background())
		s.leaving = make(map[*Proxy]struct{})
	}
}

// isClosed reports whether Shutdown or Close was called. The caller holds mu.
func (s *Set) isClosed() bool {
	s.init()
	return s.open.Err() != nil
}

// A member is a proxy of a Set.
type member struct {
	spec    Spec
	proxy   *Proxy
	address string     // at which it listens
	target  []endpoint // as it was when it was set
	ruled   bool       // by Apply
}

func (m *member) node() node { return node{m.spec.Name, endpointOf(m.address), m.target} }

func (m *member) status() Status {
	status := Status{Spec: m.spec, Enabled: m.proxy.Enabled(), Open: m.proxy.Open(), Connections: m.proxy.Accepted()}
	status.Listen = m.address
	return status
}

// Add listens and starts a proxy. The error is a *SpecError, ErrNameTaken, ErrClosed,
// that of net.Listen, or that of ctx, which is for looking up names.
func (s *Set) Add(ctx context.Context, spec Spec) (Status, error) {
	unnamed := spec.Name == ""
	if err := spec.Check(); err != nil {
		return Status{}, err
	}
	places, err := s.resolve(ctx, []Spec{spec}, func(_ int, err error) error { return err })
	if err != nil {
		return Status{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return Status{}, ErrClosed
	}
	ln, err := listen(places[0].listen)
	if err != nil {
		return Status{}, err
	}
	address := addressOf(ln.Addr())
	if unnamed {
		spec.Name = nameOf(address)
	}
	if s.find(spec.Name) != nil {
		ln.Close()
		return Status{}, fmt.Errorf("%s: %w", spec.Name, ErrNameTaken)
	}
	if err := s.checkRing(node{spec.Name, endpointOf(address), places[0].target}); err != nil {
		ln.Close()
		return Status{}, err
	}
	m := s.start(spec, ln)
	m.target = places[0].target
	s.members = append(s.members, m)
	return m.status(), nil
}

// checkRing returns a *SpecError if a proxy leads back to itself. It takes the place of
// a member with its name. The caller holds mu.
func (s *Set) checkRing(checked node) error {
	all := []node{checked}
	for _, m := range s.members {
		if m.spec.Name != checked.name {
			all = append(all, m.node())
		}
	}
	if names := newNodes(all).ring(0); names != nil {
		return &SpecError{"target", errRing(names)}
	}
	return nil
}

// Remove stops a proxy and closes its connections with RST.
func (s *Set) Remove(name string) error {
	s.mu.Lock()
	m := s.find(name)
	if m == nil {
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", name, ErrNoProxy)
	}
	s.members = slices.DeleteFunc(s.members, func(o *member) bool { return o == m })
	s.retire(m)
	s.mu.Unlock()
	m.proxy.Close()
	return m.proxy.Shutdown(context.Background())
}

// DropConns closes the open connections of a proxy with RST. The proxy goes on.
func (s *Set) DropConns(name string) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.find(name)
	if m == nil {
		return Status{}, fmt.Errorf("%s: %w", name, ErrNoProxy)
	}
	m.proxy.DropConns()
	return m.status(), nil
}

// Change changes a proxy: all that c says, or with an error nothing. ctx is for looking up
// the target.
func (s *Set) Change(ctx context.Context, name string, c Change) (Status, error) {
	var target []endpoint
	if c.Target != nil {
		if err := checkAddress(*c.Target, false); err != nil {
			return Status{}, &SpecError{"target", err}
		}
		places, err := s.resolve(ctx, []Spec{{Listen: ":0", Target: *c.Target}}, func(_ int, err error) error { return err })
		if err != nil {
			return Status{}, err
		}
		target = places[0].target
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.find(name)
	if m == nil {
		return Status{}, fmt.Errorf("%s: %w", name, ErrNoProxy)
	}
	next, anew := c.of(m.spec)
	if err := next.Check(); err != nil {
		return Status{}, err
	}
	if c.Target != nil {
		if err := s.checkRing(node{name, m.node().listen, target}); err != nil {
			return Status{}, err
		}
	}
	if err := m.enable(c.Enabled); err != nil {
		return Status{}, err
	}
	if c.Target != nil {
		m.target = target
	}
	m.change(next, anew, c.NewOnly)
	return m.status(), nil
}

// enable enables or disables the proxy, or does nothing if enabled is nil.
func (m *member) enable(enabled *bool) error {
	switch {
	case enabled == nil:
		return nil
	case *enabled:
		return m.proxy.Enable()
	}
	return m.proxy.Disable()
}

// of returns a Spec with the change, and the directions whose faults start anew.
func (c *Change) of(spec Spec) (next Spec, anew []Direction) {
	next = spec
	if c.Target != nil {
		next.Target = *c.Target
	}
	if c.Seed != nil {
		next.Seed = *c.Seed
	}
	if c.Unreachable != nil {
		next.Unreachable = *c.Unreachable
	}
	for _, on := range Directions {
		if text := c.fault(on); text != nil {
			*next.fault(on) = *text
		}
		if c.fault(on) != nil || c.Seed != nil {
			anew = append(anew, on)
		}
	}
	return next, anew
}

// Proxies returns all proxies, sorted by name.
func (s *Set) Proxies() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, len(s.members))
	for i, m := range s.members {
		all[i] = m.status()
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Proxy returns the proxy of that name, or ErrNoProxy.
func (s *Set) Proxy(name string) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.find(name); m != nil {
		return m.status(), nil
	}
	return Status{}, fmt.Errorf("%s: %w", name, ErrNoProxy)
}

// Open returns the number of open connections, including those of removed proxies.
func (s *Set) Open() (open int) {
	for _, p := range s.all() {
		open += p.Open()
	}
	return open
}

// Shutdown stops accepting everywhere, and returns nil when the open connections have
// ended. If ctx ends first, it returns the error of ctx and the open connections go on.
// Use Close to end them.
func (s *Set) Shutdown(ctx context.Context) error {
	s.stop()
	for _, p := range s.all() {
		p.stop()
	}
	for _, p := range s.all() {
		if err := p.Shutdown(ctx); err != nil {
			return err
		}
	}
	s.serving.Wait()
	return nil
}

// Close closes every connection with RST. When it returns, no goroutine and no descriptor
// of the proxies is left. It always returns nil.
func (s *Set) Close() error {
	s.stop()
	for _, p := range s.all() {
		p.Close()
	}
	s.serving.Wait()
	return nil
}

// stop ends the look-ups, and lets no proxy be added any more.
func (s *Set) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	s.close()
}

func (s *Set) all() []*Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Proxy
	for _, m := range s.members {
		all = append(all, m.proxy)
	}
	for p := range s.leaving {
		all = append(all, p)
	}
	return all
}

func (s *Set) find(name string) *member {
	for _, m := range s.members {
		if m.spec.Name == name {
			return m
		}
	}
	return nil
}

// start serves a spec that has been checked. The caller holds mu.
func (s *Set) start(spec Spec, ln net.Listener) *member {
	p := &Proxy{
		Name: spec.Name, Target: spec.Target, Seed: spec.Seed, DialTimeout: s.DialTimeout, Resolver: s.Resolver,
		Unreachable: spec.Unreachable, Done: s.Done, Log: s.Log, family: &s.family,
	}
	for _, on := range Directions {
		*p.fault(on), _ = on.Parse(spec.Fault(on))
	}
	address := addressOf(ln.Addr())
	err := p.enter(ln) // before start returns, so that Stop and SetFault act
	s.serving.Go(func() {
		if err == nil {
			err = p.serve()
		}
		if !errors.Is(err, ErrClosed) {
			p.log().Error("a proxy ended", "proxy", spec.Name, "err", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leaving, p)
	})
	return &member{spec: spec, proxy: p, address: address}
}

// change makes m what a checked spec says. The faults of the directions anew start anew,
// with newOnly for new connections only.
func (m *member) change(next Spec, anew []Direction, newOnly bool) {
	m.proxy.become(next)
	for _, on := range anew {
		f, _ := on.Parse(next.Fault(on))
		if newOnly {
			m.proxy.SetFaultForNew(on, f)
		} else {
			m.proxy.SetFault(on, f)
		}
	}
	m.spec = next
}

// differs returns the directions whose faults, or whose seeds, differ.
func (s *Spec) differs(next Spec) (on []Direction) {
	for _, d := range Directions {
		was, _ := d.Parse(s.Fault(d))
		is, _ := d.Parse(next.Fault(d))
		if s.Seed != next.Seed || was.String() != is.String() {
			on = append(on, d)
		}
	}
	return on
}

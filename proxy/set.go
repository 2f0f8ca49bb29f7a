package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/errno"
)

var (
	// ErrNoProxy: a Set has no proxy of that name.
	ErrNoProxy = errors.New("no such proxy")
	// ErrNameTaken: a Set has a proxy of that name already.
	ErrNameTaken = errors.New("there is a proxy of that name")
)

// A Set is proxies in one process, which come, change and go while it runs. The zero
// value is an empty one. Its fields must not be changed once it has a proxy.
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
	leaving map[*Proxy]struct{} // no member any more, with connections that are open
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

// A member is a proxy that listens.
type member struct {
	spec   Spec
	proxy  *Proxy
	addr   net.Addr
	target []netip.AddrPort // as it was when it was set
	ruled  bool             // by a file of rules
}

func (m *member) node() node { return node{m.spec.Name, endpoint(m.addr.String()), m.target} }

func (m *member) status() Status {
	status := Status{Spec: m.spec, Open: m.proxy.Open(), Connections: m.proxy.Begun()}
	status.Listen = m.addr.String()
	return status
}

// Add listens and starts a proxy. The error is a *SpecError, ErrNameTaken, ErrClosed,
// or that of net.Listen. ctx is for looking up names.
func (s *Set) Add(ctx context.Context, spec Spec) (Status, error) {
	unnamed := spec.Name == ""
	if err := spec.check(); err != nil {
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
	if unnamed {
		spec.Name = nameOf(ln.Addr().String())
	}
	if s.find(spec.Name) != nil {
		ln.Close()
		return Status{}, fmt.Errorf("%s: %w", spec.Name, ErrNameTaken)
	}
	if err := s.checkRing(node{spec.Name, endpoint(ln.Addr().String()), places[0].target}); err != nil {
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

// Remove stops a proxy and cuts its connections.
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
	<-m.proxy.idle
	return nil
}

// Change changes a proxy for the connections that start later: all of it, or with an
// error nothing. ctx is for looking up the target.
func (s *Set) Change(ctx context.Context, name string, c Change) (Status, error) {
	var target []netip.AddrPort
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
	if err := next.check(); err != nil {
		return Status{}, err
	}
	if c.Target != nil {
		if err := s.checkRing(node{name, m.node().listen, target}); err != nil {
			return Status{}, err
		}
		m.target = target
	}
	m.change(next, anew)
	return m.status(), nil
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

// Proxies are the proxies there are, by name.
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

// Proxy is the proxy of that name, or ErrNoProxy.
func (s *Set) Proxy(name string) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.find(name); m != nil {
		return m.status(), nil
	}
	return Status{}, fmt.Errorf("%s: %w", name, ErrNoProxy)
}

// Apply makes the proxies what a file of rules says: all of it, or with an error
// nothing; then no listener stays open either. Proxies that Add made are left alone.
//
// A proxy with the same listen address as before stays the one that it was: its
// connections go on, and only a fault that is another now begins anew. One that is
// gone from the rules stops accepting, and its open connections go on. Where it holds
// the address of a new one, it stops before that is known to listen; if that cannot,
// it listens again, and its faults begin anew. ctx is for looking up names.
func (s *Set) Apply(ctx context.Context, r *Rules) error {
	places, err := s.resolve(ctx, r.specs(), func(i int, err error) error { return r.errorAt(r.rules[i], "listen", err) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return ErrClosed
	}
	before := make(map[string]*member)
	var others []*member
	for _, m := range s.members {
		if m.ruled {
			before[m.spec.key()] = m
		} else {
			others = append(others, m)
		}
	}
	if err := r.checkRings(places, before, others); err != nil {
		return err
	}
	listeners, err := s.listen(r, places, before, others)
	if err != nil {
		return err
	}
	s.members = others
	for i, rule := range r.rules {
		m := before[rule.key()]
		if m == nil {
			m = s.start(rule.Spec, listeners[i])
			m.ruled = true
		} else {
			m.change(rule.Spec, m.spec.differs(rule.Spec))
		}
		m.target = places[i].target
		delete(before, rule.key())
		s.members = append(s.members, m)
	}
	for _, gone := range before {
		s.retire(gone)
	}
	return nil
}

// listen opens the listeners of those rules that had none before, or none at all.
// Those whose address a proxy holds that is gone from the rules come last, when
// nothing else can fail. The caller holds mu.
func (s *Set) listen(r *Rules, places []place, before map[string]*member, others []*member) (_ map[int]*net.TCPListener, err error) {
	opened := make(map[int]*net.TCPListener)
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
			err = s.revive(m, err)
		}
	}()
	for i, rule := range r.rules {
		if slices.ContainsFunc(others, func(m *member) bool { return m.spec.Name == rule.Name }) {
			return nil, r.errorAt(rule, "name", fmt.Errorf("%s: %w", rule.Name, ErrNameTaken))
		}
		if before[rule.key()] != nil {
			continue
		}
		if opened[i], err = listen(places[i].listen); err == nil {
			continue
		}
		delete(opened, i)
		if held[i] = r.goneAt(rule, before); held[i] == nil || !errno.AddrInUse.Has(err) {
			return nil, r.errorAt(rule, "listen", err)
		}
	}
	for i, holders := range held {
		for _, m := range holders {
			s.retire(m)
			<-m.proxy.deaf
			if !slices.Contains(retired, m) {
				retired = append(retired, m)
			}
		}
		if opened[i], err = listen(places[i].listen); err != nil {
			delete(opened, i)
			return nil, r.errorAt(r.rules[i], "listen", err)
		}
	}
	return opened, nil
}

// goneAt are the proxies that are gone from the rules, and have the port of this one.
func (r *Rules) goneAt(at rule, before map[string]*member) (gone []*member) {
	for _, m := range before {
		port := strconv.Itoa(m.addr.(*net.TCPAddr).Port)
		stays := slices.ContainsFunc(r.rules, func(rule rule) bool { return rule.key() == m.spec.key() })
		if !stays && strings.HasSuffix(at.Listen, ":"+port) {
			gone = append(gone, m)
		}
	}
	return gone
}

// retire stops a proxy that is no member any more. Its open connections go on. The
// caller holds mu.
func (s *Set) retire(m *member) {
	s.leaving[m.proxy] = struct{}{}
	m.proxy.stop()
}

// revive lets a proxy listen again that was stopped for rules which were refused, for
// the reason why. It returns that, with its own if it fails. The caller holds mu.
func (s *Set) revive(m *member, why error) error {
	ln, err := listen(m.addr.String())
	if err != nil { // somebody else was faster
		s.members = slices.DeleteFunc(s.members, func(o *member) bool { return o == m })
		return fmt.Errorf("%w; and %s could not listen again: %w", why, m.spec.Name, err)
	}
	m.proxy = s.start(m.spec, ln).proxy
	return why
}

// Open is the number of open connections, those of proxies that are gone included.
func (s *Set) Open() (open int) {
	for _, p := range s.all() {
		open += p.Open()
	}
	return open
}

// Shutdown stops accepting everywhere, and returns nil when the open connections have
// ended. When ctx ends first, it returns its error, and they go on; Close cuts them.
func (s *Set) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.init()
	s.close()
	s.mu.Unlock()
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

// Close cuts every connection, and returns when no goroutine and no descriptor of the
// proxies is left. It always returns nil.
func (s *Set) Close() error {
	s.mu.Lock()
	s.init()
	s.close()
	s.mu.Unlock()
	for _, p := range s.all() {
		p.Close()
	}
	s.serving.Wait()
	return nil
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
func (s *Set) start(spec Spec, ln *net.TCPListener) *member {
	p := &Proxy{
		Name: spec.Name, Target: spec.Target, Seed: spec.Seed, DialTimeout: s.DialTimeout, Resolver: s.Resolver,
		Unreachable: spec.Unreachable, Done: s.Done, Log: s.Log, family: &s.family,
	}
	for _, on := range Directions {
		*p.fault(on), _ = on.parse(*spec.fault(on))
	}
	p.enter(ln) // so that it has begun when start returns
	s.serving.Go(func() {
		if err := p.serve(ln); !errors.Is(err, ErrClosed) {
			p.log().Error("a proxy ended", "proxy", spec.Name, "err", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leaving, p)
	})
	return &member{spec: spec, proxy: p, addr: ln.Addr()}
}

// change makes m what a checked spec says. Faults begin anew in the directions of anew.
func (m *member) change(next Spec, anew []Direction) {
	m.proxy.setName(next.Name)
	m.proxy.SetTarget(next.Target)
	m.proxy.setSeed(next.Seed)
	m.proxy.setUnreachable(next.Unreachable)
	for _, on := range anew {
		f, _ := on.parse(*next.fault(on))
		m.proxy.SetFault(on, f)
	}
	m.spec = next
}

// differs are the directions whose faults, or their seed, are others.
func (s *Spec) differs(next Spec) (on []Direction) {
	for _, d := range Directions {
		was, _ := d.parse(*s.fault(d))
		is, _ := d.parse(*next.fault(d))
		if s.Seed != next.Seed || was.String() != is.String() {
			on = append(on, d)
		}
	}
	return on
}

// key is what makes a rule the same as one before: its address, unless that may be any.
func (s *Spec) key() string {
	if strings.HasSuffix(s.Listen, ":0") {
		return s.Name + " " + s.Listen
	}
	return s.Listen
}

// listen leaves out MPTCP, which net.Listen asks for: a proxy passes on plain TCP.
func listen(address string) (*net.TCPListener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

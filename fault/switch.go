package fault

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"sync"
)

// A Switch gives connections and listeners a fault that can be replaced while they are
// open, also in the middle of a Write. The zero value has no fault, and seed 0. Its methods
// may be called by several goroutines.
//
// No octet is lost, doubled or reordered when the fault is replaced:
//
//   - Octets that a [Delay] holds are sent at once, in order, and before those of any
//     later Write. They do not pass the faults that were to the right of the delay, and
//     not the new ones.
//   - A Write that a [Stall], [Drip], [Rate] or a full Delay holds goes on with the
//     octets that have not been sent, through the new fault. A FIN that a Stall has kept
//     back is sent after them.
//   - Octets and times count from when the fault was set: Close(8) lets the next eight
//     octets pass.
//   - A fault that has ended the connection, or its sending side, cannot be taken back.
//
// Each setting numbers its connections from 0: those that are open, in the order in which
// they were given to the Switch, and then those that follow. [FailFirst] counts them,
// [For] counts from the setting, and [Sometimes] is decided once for each connection and
// setting, by the seed, the number of the setting since the seed was set, and the
// connection's number.
type Switch struct {
	seed     uint64
	changing sync.Mutex // held while a fault replaces another

	mu        sync.Mutex
	settings  uint64    // since the seed was set
	reseeded  bool      // by SetSeed, after the last setting
	injector  *Injector // of the present setting
	count     uint64
	conns     map[*conn]uint64 // the open ones, by the order in which they came
	listeners map[*listener]bool
}

// NewSwitch returns a Switch that starts with f. The seed is that of [New].
func NewSwitch(f Fault, seed uint64) *Switch {
	return &Switch{seed: seed, injector: New(f, seed)}
}

// lock makes the zero value ready for use, too.
func (s *Switch) lock() {
	s.mu.Lock()
	if s.injector == nil {
		s.injector = New(Fault{}, s.seed)
	}
	if s.conns == nil {
		s.conns, s.listeners = make(map[*conn]uint64), make(map[*listener]bool)
	}
}

// Fault returns the fault that new connections get.
func (s *Switch) Fault() Fault {
	s.lock()
	defer s.mu.Unlock()
	return s.injector.fault
}

// Conn returns c with the present fault, and with those that replace it. What it returns
// is as that of [Injector.Conn], but never c itself. The Switch refers to it until it is
// closed, by the program or a fault.
func (s *Switch) Conn(c net.Conn) net.Conn {
	s.lock()
	with := s.add(c, s.injector.next())
	s.mu.Unlock()
	return with.begin()
}

// Listen returns ln with the present fault, and with those that replace it. If a [Refuse]
// or [Hang] is replaced, the listener accepts connections again, and those that Hang
// already holds stay held.
func (s *Switch) Listen(ln net.Listener) net.Listener {
	s.changing.Lock()
	defer s.changing.Unlock()
	l := newListener(ln, s)
	s.lock()
	defer s.mu.Unlock()
	s.listeners[l] = true
	return l
}

// SetSeed sets the seed for the settings that follow. The next one decides as that of
// NewSwitch with the seed.
func (s *Switch) SetSeed(seed uint64) {
	s.lock()
	defer s.mu.Unlock()
	s.seed, s.settings, s.reseeded = seed, 0, true
}

// Set replaces the fault, for the connections that are open and for new ones. When it
// returns, no octet written later passes the fault of before. A Refuse resets the open
// connections. An empty fault is none.
func (s *Switch) Set(f Fault) { s.set(f, true) }

// SetNew replaces the fault for new connections. Those that are open keep theirs.
func (s *Switch) SetNew(f Fault) { s.set(f, false) }

func (s *Switch) set(f Fault, all bool) {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, change := range s.change(f, all) {
		change()
	}
}

// change makes f the present fault, and returns what is still to be done, without mu.
func (s *Switch) change(f Fault, all bool) (changes []func()) {
	s.lock()
	defer s.mu.Unlock()
	seed := s.seed
	if !s.reseeded {
		s.settings++
		seed = mix(seed, s.settings)
	}
	s.reseeded = false
	s.injector = New(f, seed)
	if all {
		open := slices.SortedFunc(maps.Keys(s.conns), func(a, b *conn) int { return cmp.Compare(s.conns[a], s.conns[b]) })
		for _, c := range open {
			drawn := s.injector.next()
			changes = append(changes, func() { c.replace(drawn) })
		}
	}
	for l := range s.listeners {
		changes = append(changes, l.updateAdmission)
	}
	return changes
}

// add makes a connection that gets later faults too. The caller holds mu.
func (s *Switch) add(c net.Conn, drawn drawn) *conn {
	with := newConn(c, drawn)
	with.forget = s.forget
	s.conns[with] = s.count
	s.count++
	return with
}

func (s *Switch) forget(c *conn) {
	s.lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// present returns the Injector of the present setting.
func (s *Switch) present() *Injector {
	s.lock()
	defer s.mu.Unlock()
	return s.injector
}

// accepted gives a listener's connection its faults. It makes no connection for one that
// the program is not to get.
func (s *Switch) accepted(c net.Conn) (with *conn, rejected Kind) {
	s.lock()
	defer s.mu.Unlock()
	drawn := s.injector.next()
	if k := rejection(drawn.sends); k != 0 {
		return nil, k
	}
	return s.add(c, drawn), 0
}

func (s *Switch) gone(l *listener) {
	s.lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// Idle reports whether no fault strikes what c sends at present, and nothing is held, so
// that octets may be written to the connection below (NetConn) as well. It ends when
// changed is closed: the Switch has set another fault. Without faults it never ends.
func Idle(c net.Conn) (changed <-chan struct{}, idle bool) {
	faulty, ok := c.(*conn)
	if !ok {
		return nil, true
	}
	faulty.mu.Lock()
	defer faulty.mu.Unlock()
	ch := faulty.chain
	if len(ch.faults) > 0 || faulty.ended != nil || slices.ContainsFunc(faulty.older, func(o *chain) bool { return !o.isDrained() }) {
		return nil, false
	}
	return ch.replaced, true
}

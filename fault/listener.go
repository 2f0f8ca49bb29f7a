package fault

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// A listener gives its connections faults. A Refuse or Hang that strikes all of them
// is the door's: they do not get as far as Accept.
type listener struct {
	net.Listener
	source source
	door   door
	closed chan struct{}

	mu       sync.Mutex
	isClosed bool
	closeErr error
	state    state
	turned   chan struct{} // closed and replaced when state changes
	doorErr  error         // why it could not be opened again
	timer    *time.Timer   // for the next change; nil for none
	noDoor   bool          // the kernel cannot refuse for this listener
	held     []*held       // the longest held first
	holding  sync.WaitGroup
}

// A source has the faults of a listener: an Injector, or a Switch.
type source interface {
	// present returns the Injector of this time.
	present() *Injector
	// accepted gives a connection its faults: nil if there are none, and the kind of
	// a Refuse or Hang if the program is not to get it.
	accepted(net.Conn) (with *conn, rejected Kind)
	// gone is called when the listener is closed.
	gone(*listener)
}

// A held is a connection that the program does not get.
type held struct {
	net.Conn
	end   func(net.Conn) error
	ended sync.Once
}

func (h *held) close() { h.ended.Do(func() { h.end(h.Conn) }) }

const (
	// holdLimit is how many connections a listener holds. For a further one it closes
	// that which it has held longest: they must not use up the descriptors.
	holdLimit = 1000

	// seenTime is the time limit for a client to see that its connection was accepted.
	seenTime = 250 * time.Millisecond
)

// A state is what becomes of a client's SYN.
type state uint8

const (
	open    state = iota // the kernel makes the connection
	refused              // RST
	silent               // no answer
)

func newListener(ln net.Listener, from source) *listener {
	l := &listener{Listener: ln, source: from, closed: make(chan struct{}), turned: make(chan struct{})}
	l.turn()
	return l
}

// door is what the faults without a condition but For want of the kernel now, and
// until when after the Injector's start; 0 is for ever.
func (i *Injector) door() (state, time.Duration) {
	return doorOf(i.fault.parts, 0, time.Since(i.start))
}

func doorOf(parts []Part, until, now time.Duration) (state, time.Duration) {
	for _, p := range parts {
		switch p.Kind {
		case KindRefuse:
			return refused, until
		case KindHang:
			return silent, until
		case KindFor:
			if now >= p.Time {
				continue
			}
			end := p.Time
			if until > 0 {
				end = min(end, until)
			}
			if s, until := doorOf(p.Under.parts, end, now); s != open {
				return s, until
			}
		}
	}
	return open, 0
}

// turn brings the door into the state of this time. If the kernel cannot refuse for the
// listener, the door stays open, and each connection is decided on as it is accepted.
func (l *listener) turn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	injector := l.source.present()
	next, until := injector.door()
	if next != l.state && !l.canTurn() {
		next, until = open, 0
	}
	if next != l.state {
		if err := l.door.turn(next); err == nil {
			l.state = next
		} else if l.door.shut { // half done: the socket does not listen any more
			l.doorErr = l.doorError(err)
		}
		close(l.turned)
		l.turned = make(chan struct{})
	}
	if until > 0 {
		l.timer = time.AfterFunc(time.Until(injector.start.Add(until)), l.turn)
	}
}

// canTurn reports whether the listener has a door. The caller holds mu.
func (l *listener) canTurn() bool {
	if l.door.raw == nil && !l.noDoor {
		l.noDoor = l.door.find(l.Listener) != nil
	}
	return !l.noDoor
}

func (l *listener) doorError(err error) error {
	return fmt.Errorf("fault: hold and listen again on %s: %w", l.Addr(), err)
}

// Accept returns the next connection that is neither refused nor held.
func (l *listener) Accept() (net.Conn, error) {
	for {
		turned, err := l.awaitOpen()
		if err != nil {
			return nil, err
		}
		c, err := l.Listener.Accept()
		if err != nil && l.hasTurned(turned) {
			continue // by a door that was shut meanwhile
		}
		if err != nil {
			return nil, err
		}
		if c = l.admit(c); c != nil {
			return c, nil
		}
	}
}

// hasTurned reports whether the door has changed since turned was the channel for that,
// and the listener is open.
func (l *listener) hasTurned(turned <-chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.isClosed && isDone(turned)
}

// awaitOpen waits until the door is open, and returns an error if it never will be, and
// otherwise what is closed when it turns.
func (l *listener) awaitOpen() (<-chan struct{}, error) {
	for {
		l.mu.Lock()
		state, turned, err := l.state, l.turned, l.doorErr
		l.mu.Unlock()
		if err != nil || state == open {
			return turned, err
		}
		select {
		case <-turned:
		case <-l.closed:
			return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
		}
	}
}

// admit gives the connection its faults, or returns nil if the program is not to get
// it.
func (l *listener) admit(c net.Conn) net.Conn {
	with, rejected := l.source.accepted(c)
	switch {
	case rejected == KindRefuse:
		// An RST that comes before connect has returned makes it fail, now and then.
		l.hold(c, sendRST, func() { awaitSeen(lowest(c), l.closed, time.Now().Add(seenTime)) })
		return nil
	case rejected == KindHang:
		l.hold(c, net.Conn.Close, func() { awaitPeerClosed(lowest(c), l.closed) })
		return nil
	case with == nil:
		return c
	}
	return with.begin()
}

// rejection returns the kind of the first Refuse or Hang of the parts, or 0.
func rejection(parts []Part) Kind {
	for _, p := range parts {
		if p.Kind == KindRefuse || p.Kind == KindHang {
			return p.Kind
		}
	}
	return 0
}

// hold keeps c open, until wait returns or the listener is closed, and then ends it.
func (l *listener) hold(c net.Conn, end func(net.Conn) error, wait func()) {
	h := &held{Conn: c, end: end}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		h.close()
		return
	}
	if len(l.held) >= holdLimit {
		l.held[0].close() // wakes its goroutine
		l.held = l.held[1:]
	}
	l.held = append(l.held, h)
	l.holding.Go(func() {
		wait()
		h.close()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held = slices.DeleteFunc(l.held, func(o *held) bool { return o == h })
	})
}

// awaitTime returns at the given time, or when closed is.
func awaitTime(closed <-chan struct{}, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-closed:
	}
}

// Close closes the listener and what it holds, and waits for its goroutines.
func (l *listener) Close() error {
	l.mu.Lock()
	if !l.isClosed {
		l.isClosed = true
		if l.timer != nil {
			l.timer.Stop()
		}
		close(l.closed)
		l.source.gone(l)
		l.closeErr = l.Listener.Close()
		l.door.close()
		for _, h := range l.held {
			h.close() // wakes its goroutine
		}
	}
	l.mu.Unlock()
	l.holding.Wait()
	return l.closeErr
}

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
	injector *Injector
	door     door
	closed   chan struct{}

	mu       sync.Mutex
	isClosed bool
	closeErr error
	state    state
	turned   chan struct{} // closed and replaced when state changes
	doorErr  error         // why it could not be opened again
	timer    *time.Timer   // for the next change; nil for none
	held     []*held       // the longest held first
	holding  sync.WaitGroup
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

func newListener(ln net.Listener, i *Injector) *listener {
	l := &listener{Listener: ln, injector: i, closed: make(chan struct{}), turned: make(chan struct{})}
	first, until := i.door()
	if first == open {
		return l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.door.find(ln) != nil {
		return l // each connection is decided on as it is accepted
	}
	if err := l.door.turn(first); err == nil {
		l.state = first
		l.schedule(until)
	} else if l.door.shut { // half done: the socket does not listen any more
		l.doorErr = l.doorError(err)
	}
	return l
}

// door is what the faults without a condition but For want of the kernel now, and
// until when after the Injector's start; 0 is for ever.
func (i *Injector) door() (state, time.Duration) {
	return doorOf(i.fault.parts, 0, time.Since(i.start))
}

func doorOf(parts []part, until, now time.Duration) (state, time.Duration) {
	for _, p := range parts {
		switch p.kind {
		case refuse:
			return refused, until
		case hang:
			return silent, until
		case forTime:
			if now >= p.d {
				continue
			}
			end := p.d
			if until > 0 {
				end = min(end, until)
			}
			if s, until := doorOf(p.under, end, now); s != open {
				return s, until
			}
		}
	}
	return open, 0
}

// schedule sets the timer for the state's end. The caller holds mu.
func (l *listener) schedule(until time.Duration) {
	if until > 0 {
		l.timer = time.AfterFunc(time.Until(l.injector.start.Add(until)), l.turn)
	}
}

// turn brings the door into the state of this time.
func (l *listener) turn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return
	}
	next, until := l.injector.door()
	if err := l.door.turn(next); err != nil {
		l.doorErr = l.doorError(err)
	} else {
		l.state = next
		l.schedule(until)
	}
	close(l.turned)
	l.turned = make(chan struct{})
}

func (l *listener) doorError(err error) error {
	return fmt.Errorf("fault: hold and listen again on %s: %w", l.Addr(), err)
}

// Accept returns the next connection that is neither refused nor held.
func (l *listener) Accept() (net.Conn, error) {
	for {
		if err := l.awaitOpen(); err != nil {
			return nil, err
		}
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c = l.admit(c); c != nil {
			return c, nil
		}
	}
}

// awaitOpen waits until the door is open, and returns an error if it never will be.
func (l *listener) awaitOpen() error {
	for {
		l.mu.Lock()
		state, turned, err := l.state, l.turned, l.doorErr
		l.mu.Unlock()
		if err != nil || state == open {
			return err
		}
		select {
		case <-turned:
		case <-l.closed:
			return &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
		}
	}
}

// admit gives the connection its faults, or returns nil if the program is not to get
// it.
func (l *listener) admit(c net.Conn) net.Conn {
	parts := l.injector.next()
	if len(parts) == 0 {
		return c
	}
	for _, p := range parts {
		switch p.kind {
		case refuse:
			// An RST that comes before connect has returned makes it fail, now and then.
			l.hold(c, sendRST, func() { awaitSeen(lowest(c), l.closed, time.Now().Add(seenTime)) })
			return nil
		case hang:
			l.hold(c, net.Conn.Close, func() { awaitPeerClosed(lowest(c), l.closed) })
			return nil
		}
	}
	return newConn(c, parts)
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

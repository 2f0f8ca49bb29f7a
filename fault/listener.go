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
	held     []*net.Conn   // by pointer: a net.Conn need not be comparable
	holding  sync.WaitGroup
}

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
			sendRST(c)
			return nil
		case hang:
			l.hold(c)
			return nil
		}
	}
	return newConn(c, parts)
}

// hold keeps c open, until its peer closes or the listener does.
func (l *listener) hold(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		c.Close()
		return
	}
	l.held = append(l.held, &c)
	l.holding.Go(func() {
		awaitPeerClosed(lowest(c), l.closed)
		c.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held = slices.DeleteFunc(l.held, func(h *net.Conn) bool { return h == &c })
	})
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
		for _, c := range l.held {
			lowest(*c).Close() // wakes who waits for its peer
		}
	}
	l.mu.Unlock()
	l.holding.Wait()
	return l.closeErr
}

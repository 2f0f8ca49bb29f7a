package fault

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/tcpconn"
)

// A listener gives its connections faults. A Refuse or Hang that strikes all of them acts
// in the kernel (see admission): the connections do not reach Accept.
type listener struct {
	net.Listener
	source    source
	admission admission
	closed    chan struct{}

	mu           sync.Mutex
	isClosed     bool
	closeErr     error
	state        state
	changed      chan struct{} // closed and replaced when state changes
	admissionErr error         // why the socket could not listen again
	timer        *time.Timer   // for the next change; nil for none
	cannotRefuse bool          // the kernel cannot refuse for this listener
	held         []*held       // the longest held first
	holding      sync.WaitGroup
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
	// holdLimit is the maximum number of connections that a listener holds. For another,
	// it closes the oldest, so that they do not use up the descriptors.
	holdLimit = 1000

	// seenTime is the time limit for a client to see that its connection was accepted.
	seenTime = 250 * time.Millisecond
)

// A state is how a client's SYN is answered.
type state uint8

const (
	open    state = iota // the kernel makes the connection
	refused              // RST
	silent               // no answer
)

func newListener(ln net.Listener, from source) *listener {
	l := &listener{Listener: ln, source: from, closed: make(chan struct{}), changed: make(chan struct{})}
	l.updateAdmission()
	return l
}

// admission returns the state that the faults have at present, those under FailFirst and
// Sometimes excepted, and its end, from the Injector's start. An end of 0 is none.
func (i *Injector) admission() (state, time.Duration) {
	return admissionOf(i.fault.parts, 0, time.Since(i.start))
}

func admissionOf(parts []Part, until, now time.Duration) (state, time.Duration) {
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
			if s, until := admissionOf(p.Under.parts, end, now); s != open {
				return s, until
			}
		}
	}
	return open, 0
}

// updateAdmission sets the state that the faults have at present. If the kernel cannot
// refuse for the listener, it stays open, and each connection is decided on as it is
// accepted.
func (l *listener) updateAdmission() {
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
	next, until := injector.admission()
	if next != l.state && !l.canRefuse() {
		next, until = open, 0
	}
	if next != l.state {
		if err := l.admission.set(next); err == nil {
			l.state = next
		} else if l.admission.shut { // half done: the socket does not listen any more
			l.admissionErr = l.admissionError(err)
		}
		close(l.changed)
		l.changed = make(chan struct{})
	}
	if until > 0 {
		l.timer = time.AfterFunc(time.Until(injector.start.Add(until)), l.updateAdmission)
	}
}

// canRefuse reports whether the kernel can refuse for the listener. The caller holds mu.
func (l *listener) canRefuse() bool {
	if l.admission.raw == nil && !l.cannotRefuse {
		l.cannotRefuse = l.admission.find(l.Listener) != nil
	}
	return !l.cannotRefuse
}

func (l *listener) admissionError(err error) error {
	return fmt.Errorf("fault: hold and listen again on %s: %w", l.Addr(), err)
}

// Accept returns the next connection that is neither refused nor held.
func (l *listener) Accept() (net.Conn, error) {
	for {
		changed, err := l.awaitOpen()
		if err != nil {
			return nil, err
		}
		c, err := l.Listener.Accept()
		if err != nil && l.hasChanged(changed) {
			continue // the socket has stopped listening meanwhile
		}
		if err != nil {
			return nil, err
		}
		if c = l.admit(c); c != nil {
			return c, nil
		}
	}
}

// hasChanged reports whether the state has changed since changed was the channel for that,
// and the listener is not closed.
func (l *listener) hasChanged(changed <-chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.isClosed && isDone(changed)
}

// awaitOpen waits until the state is open. It returns a channel that is closed when the
// state changes, or an error if the state cannot become open.
func (l *listener) awaitOpen() (<-chan struct{}, error) {
	for {
		l.mu.Lock()
		state, changed, err := l.state, l.changed, l.admissionErr
		l.mu.Unlock()
		if err != nil || state == open {
			return changed, err
		}
		select {
		case <-changed:
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
		l.hold(c, tcpconn.Abort, func() { awaitSeen(tcpconn.Lowest(c), l.closed, time.Now().Add(seenTime)) })
		return nil
	case rejected == KindHang:
		l.hold(c, net.Conn.Close, func() { awaitPeerClosed(tcpconn.Lowest(c), l.closed) })
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

// awaitTime returns at the given time, or when closed is closed.
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
		l.admission.close()
		for _, h := range l.held {
			h.close() // wakes its goroutine
		}
	}
	l.mu.Unlock()
	l.holding.Wait()
	return l.closeErr
}

package fault

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A conn is a connection with the faults that strike it.
type conn struct {
	net.Conn
	faults   []*striker // the first is nearest to the program
	deadline deadline
	closed   chan struct{}

	// writing serialises the Writes. It is no Mutex, because one in a synctest
	// bubble would stop the clock that ends the pause under it.
	writing chan struct{}
	stalled atomic.Bool
	ended   error // what Writes return from now on; guarded by writing

	ending   sync.Mutex // held while a fault ends the connection: Close lets it finish
	isClosed bool       // what is below; guarded by ending
	closeErr error
}

func newConn(inner net.Conn, parts []part) *conn {
	c := &conn{Conn: inner, closed: make(chan struct{}), writing: make(chan struct{}, 1)}
	c.deadline.changed = make(chan struct{})
	next := inner.Write
	for i := len(parts) - 1; i >= 0; i-- {
		s := &striker{part: parts[i], conn: c, next: next}
		c.faults = append([]*striker{s}, c.faults...)
		next = s.write
	}
	c.begin()
	return c
}

// begin does what strikes before the first Write.
func (c *conn) begin() {
	for _, s := range c.faults {
		switch {
		case s.kind == refuse:
			s.end()
			return
		case s.kind == hang || s.kind == stall && s.n == 0:
			c.stalled.Store(true)
			return
		}
	}
}

// NetConn returns what is wrapped.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Write(p []byte) (int, error) {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	if c.ended != nil {
		return 0, c.ended
	}
	return c.faults[0].write(p)
}

// CloseWrite waits for the Write under way, so that the FIN comes after its octets.
func (c *conn) CloseWrite() error {
	if c.stalled.Load() { // a Write may be blocked
		return nil
	}
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	if c.ended != nil || c.stalled.Load() {
		return nil
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.opError("close", errors.ErrUnsupported)
}

// Close ends a pause and a fault's work at once.
func (c *conn) Close() error {
	c.deadline.mu.Lock()
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	c.deadline.mu.Unlock()
	c.ending.Lock()
	defer c.ending.Unlock()
	return c.closeBelow(c.Conn.Close)
}

// closeBelow closes what is wrapped, once. The caller holds ending.
func (c *conn) closeBelow(how func() error) error {
	if !c.isClosed {
		c.isClosed, c.closeErr = true, how()
	}
	return c.closeErr
}

func (c *conn) SetDeadline(t time.Time) error {
	c.deadline.set(t)
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.deadline.set(t)
	return c.Conn.SetWriteDeadline(t)
}

// wait returns nil at the time until, or once done is closed, and an error if the
// connection is closed or the write deadline passes before. The zero time is never.
func (c *conn) wait(until time.Time, done <-chan struct{}) error {
	for {
		at, changed := c.deadline.get()
		now := time.Now()
		select {
		case <-c.closed:
			return c.opError("write", net.ErrClosed)
		default:
		}
		switch {
		case !at.IsZero() && !now.Before(at):
			return c.opError("write", os.ErrDeadlineExceeded)
		case !until.IsZero() && !now.Before(until):
			return nil
		}
		alarm := newAlarm(now, at, until)
		select {
		case <-done:
			alarm.stop()
			return nil
		case <-c.closed:
		case <-changed:
		case <-alarm.channel:
		}
		alarm.stop()
	}
}

func (c *conn) opError(op string, err error) error {
	remote := c.RemoteAddr()
	return &net.OpError{Op: op, Net: remote.Network(), Source: c.LocalAddr(), Addr: remote, Err: err}
}

// A deadline is the time of SetWriteDeadline. It owns no timer: who waits has one.
type deadline struct {
	mu      sync.Mutex
	at      time.Time
	changed chan struct{} // closed and replaced at every change
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = t
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *deadline) get() (time.Time, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, d.changed
}

// An alarm is a timer for the earliest of some times, zero times excepted.
type alarm struct {
	timer   *time.Timer
	channel <-chan time.Time
}

func newAlarm(now time.Time, times ...time.Time) (a alarm) {
	var earliest time.Time
	for _, t := range times {
		if !t.IsZero() && (earliest.IsZero() || t.Before(earliest)) {
			earliest = t
		}
	}
	if !earliest.IsZero() {
		a.timer = time.NewTimer(earliest.Sub(now))
		a.channel = a.timer.C
	}
	return a
}

func (a alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// Struck returns the faults that have struck c so far, or a connection below it
// (NetConn), the nearest to the program first, each in the language of [Parse]. A
// delay, drip or rate has struck when it made a Write wait.
func Struck(c net.Conn) []string {
	var struck []string
	for {
		if faulty, ok := c.(*conn); ok {
			for _, s := range faulty.faults {
				if s.struck.Load() {
					struck = append(struck, s.String())
				}
			}
		}
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return struck
		}
		c = wrapped.NetConn()
	}
}

package fault

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A conn is a connection with the faults that strike it.
type conn struct {
	net.Conn
	faults   []*striker // the first is nearest to the program
	lines    []*line    // those of the faults that are delays, in the same order
	deadline deadline
	closed   chan struct{} // closed by Close
	aborted  chan struct{} // closed when octets that are still in a line are dropped
	abort    atomic.Bool   // Close drops them

	// writing serialises the Writes. It is no Mutex, because one in a synctest
	// bubble would stop the clock that ends the pause under it.
	writing chan struct{}
	write   func([]byte) (int, error) // of the first fault
	stalled atomic.Bool

	mu     sync.Mutex
	ended  error         // what Writes return from now on
	broken chan struct{} // closed when there is such an error, and by Close

	ending   sync.Mutex // held while a fault ends the connection: Close lets it finish
	isClosed bool       // what is below; guarded by ending
	closeErr error
}

func newConn(inner net.Conn, parts []part) *conn {
	c := &conn{
		Conn: inner, closed: make(chan struct{}), aborted: make(chan struct{}), broken: make(chan struct{}),
		writing: make(chan struct{}, 1),
	}
	c.deadline.changed = make(chan struct{})
	next := c.writeBelow
	for i := len(parts) - 1; i >= 0; i-- {
		s := &striker{part: parts[i], conn: c, next: next}
		c.faults = append([]*striker{s}, c.faults...)
		next = s.write
		if s.kind == delay {
			l := newLine(s)
			c.lines = append([]*line{l}, c.lines...)
			next = l.write
		}
	}
	c.write = next
	for i, detached := 0, false; i < len(c.faults); i++ {
		c.faults[i].detached = detached
		detached = detached || c.faults[i].kind == delay
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
	if err := c.failed(); err != nil {
		return 0, err
	}
	return c.write(p)
}

// Read fails after Close, also while delayed octets keep what is below open.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.isDone(c.closed) {
		err = c.opError("read", net.ErrClosed)
	}
	return n, err
}

// writeBelow limits what is sent after Close: a peer that does not read must not keep
// the connection for ever.
func (c *conn) writeBelow(p []byte) (int, error) {
	if len(c.lines) > 0 && c.isDone(c.closed) {
		c.Conn.SetWriteDeadline(time.Now().Add(closeTime))
	}
	return c.Conn.Write(p)
}

// fail notes what ended the sending side; the first error counts.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = err
		c.breaks()
	}
}

// breaks closes broken, once. The caller holds mu.
func (c *conn) breaks() {
	if !c.isDone(c.broken) {
		close(c.broken)
	}
}

func (c *conn) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (c *conn) isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// CloseWrite waits for the Write under way, so that the FIN comes after its octets. With
// a delay it returns then, and the FIN follows the octets.
func (c *conn) CloseWrite() error {
	if c.stalled.Load() { // a Write may be blocked
		return nil
	}
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	return c.finishAfter(nil)
}

// finishAfter passes a FIN on to the line after l, or to what is below.
func (c *conn) finishAfter(l *line) error {
	if c.failed() != nil || c.stalled.Load() {
		return nil
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return c.opError("close", errors.ErrUnsupported)
	}
	if next := c.lineAfter(l); next != nil {
		_, _, err := next.put(finParcel, nil)
		return err
	}
	return half.CloseWrite()
}

// lineAfter returns the line that follows l, or nil; the first if l is nil.
func (c *conn) lineAfter(l *line) *line {
	i := 0
	if l != nil {
		i = slices.Index(c.lines, l) + 1
	}
	if i == len(c.lines) {
		return nil
	}
	return c.lines[i]
}

// Close ends a pause and a fault's work at once. What a delay holds is still sent, as
// the kernel sends what is in its buffer, and then the connection is closed. After
// SetLinger(0) it is dropped.
func (c *conn) Close() error {
	c.deadline.mu.Lock()
	first := !c.isDone(c.closed)
	if first {
		close(c.closed)
	}
	c.deadline.mu.Unlock()
	c.mu.Lock()
	c.breaks()
	c.mu.Unlock()
	if c.closesLate() {
		if !first {
			return nil
		}
		c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes Reads, which return net.ErrClosed
		c.Conn.SetWriteDeadline(time.Now().Add(closeTime))
		return c.closeAfter(nil)
	}
	return c.closeNow()
}

// closesLate reports whether octets, or a FIN that the peer waits for, are to pass the
// delays before the connection is closed.
func (c *conn) closesLate() bool {
	if len(c.lines) == 0 || c.abort.Load() || c.stalled.Load() || c.failed() != nil {
		return false
	}
	if slices.ContainsFunc(c.lines, func(l *line) bool { return l.busy() != nil }) {
		return true
	}
	gone, _ := peerOf(c.Conn)
	return !gone
}

// closeNow drops what the delays hold.
func (c *conn) closeNow() error {
	c.deadline.mu.Lock()
	if !c.isDone(c.aborted) {
		close(c.aborted)
	}
	c.deadline.mu.Unlock()
	c.ending.Lock()
	defer c.ending.Unlock()
	return c.closeBelow(c.Conn.Close)
}

// closeAfter passes the program's Close on to the line after l, or to what is below.
func (c *conn) closeAfter(l *line) error {
	if next := c.lineAfter(l); next != nil {
		if _, _, err := next.put(closeParcel, nil); err == nil {
			return nil
		}
	}
	return c.closeNow()
}

// SetLinger is that of TCP: with 0, Close drops what has not been sent, and resets the
// connection.
func (c *conn) SetLinger(seconds int) error {
	c.abort.Store(seconds == 0)
	if below, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return below.SetLinger(seconds)
	}
	if below, ok := lowest(c).(interface{ SetLinger(int) error }); ok {
		return below.SetLinger(seconds)
	}
	return nil
}

// flush waits until the lines after the first ones are empty, or until a fault or an
// error has ended what this end sends. The lines pass on what they hold in order.
func (c *conn) flush(after int, wait func(<-chan struct{}) error) error {
	for _, l := range c.lines[after:] {
		for changed := l.busy(); changed != nil; changed = l.busy() {
			if err := wait(changed); err != nil {
				return err
			}
		}
	}
	return c.failed()
}

// closeBelow closes what is wrapped, once. The caller holds ending.
func (c *conn) closeBelow(how func() error) error {
	if !c.isClosed {
		c.isClosed, c.closeErr = true, how()
	}
	return c.closeErr
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if len(c.lines) > 0 && c.isDone(c.closed) {
		return c.opError("set", net.ErrClosed)
	}
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is for the program's Writes. With a delay, what is below has none:
// octets that a Write has left in it are sent, as those in the kernel's buffer are.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.deadline.set(t)
	if len(c.lines) > 0 {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// wait returns nil at the time until, or once done is closed, and an error if the
// connection is closed or the write deadline passes before. The zero time is never.
func (c *conn) wait(until time.Time, done <-chan struct{}) error {
	for {
		at, changed := c.deadline.get()
		now := time.Now()
		if c.isDone(c.closed) {
			return c.opError("write", net.ErrClosed)
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

// waitDetached is wait for what happens after a delay, when neither the deadline nor the
// Close of the program counts any more.
func (c *conn) waitDetached(until time.Time, done <-chan struct{}) error {
	if c.isDone(c.aborted) {
		return c.opError("write", net.ErrClosed)
	}
	if !until.IsZero() && !time.Now().Before(until) {
		return nil
	}
	alarm := newAlarm(time.Now(), until)
	defer alarm.stop()
	select {
	case <-done:
		return nil
	case <-alarm.channel:
		return nil
	case <-c.aborted:
		return c.opError("write", net.ErrClosed)
	}
}

// Flush waits until all that was written to c has been passed to the connection below,
// FIN included. It waits for a delay, and for a stall after one. It returns the error
// that has ended what this end sends, if there is one, and nil if c has no faults.
func Flush(c net.Conn) error {
	faulty, ok := c.(*conn)
	if !ok {
		return nil
	}
	return faulty.flush(0, func(changed <-chan struct{}) error {
		select {
		case <-changed:
		case <-faulty.aborted:
			return faulty.opError("write", net.ErrClosed)
		}
		return nil
	})
}

// Drop closes c, and drops what delays still hold of it.
func Drop(c net.Conn) error {
	if faulty, ok := c.(*conn); ok {
		faulty.abort.Store(true)
	}
	return c.Close()
}

// Broken returns a channel that is closed when a fault or an error has ended what c
// sends, and by Close; nil if c has no faults. With a delay that is not in a Write.
func Broken(c net.Conn) <-chan struct{} {
	if faulty, ok := c.(*conn); ok {
		return faulty.broken
	}
	return nil
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

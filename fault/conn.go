package fault

import (
	"cmp"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends/internal/tcpconn"
)

// A conn is a connection with the faults that strike it.
type conn struct {
	net.Conn
	deadline deadline
	closed   chan struct{} // closed by Close
	aborted  chan struct{} // closed when octets that are still in a line are dropped
	abort    atomic.Bool   // Close drops them
	owed     atomic.Bool   // a stall has kept the FIN of CloseWrite back
	forget   func(*conn)   // called when what is below is closed; nil without a Switch
	onEnd    func(*Error)  // called when a fault has ended what this end sends; may be nil

	// writing serializes the Writes, and readers the Reads. They are not Mutexes, because
	// one in a synctest bubble would stop the clock that ends the pause under it.
	writing, readers chan struct{}

	changing sync.Mutex // held by begin, and while other faults take their place
	first    drawn      // what it begins with
	changed  bool       // other faults have taken their place; guarded by changing

	mu           sync.Mutex    // guards the rest of this group
	chain        *chain        // what Writes go through
	older        []*chain      // those before it that still hold octets, the oldest first
	past         []Fault       // the faults of replaced chains that have struck, each once
	in           *incoming     // what is received, if there are or were faults on it
	reading      bool          // a Read is in the connection below
	readDeadline time.Time     // the program's
	ended        error         // what Writes return from now on
	over         chan struct{} // closed when there is such an error
	broken       chan struct{} // the same, and closed by Close

	ending   sync.Mutex // held while a fault ends the connection: Close lets it finish
	isClosed bool       // what is below; guarded by ending
	closeErr error
}

// newConn returns c with the faults. The caller calls begin.
func newConn(inner net.Conn, drawn drawn) *conn {
	c := &conn{
		Conn: inner, first: drawn,
		closed: make(chan struct{}), aborted: make(chan struct{}), over: make(chan struct{}), broken: make(chan struct{}),
		writing: make(chan struct{}, 1), readers: make(chan struct{}, 1),
	}
	c.deadline.changed = make(chan struct{})
	c.chain = newChain(c, drawn.sends, drawn.seed)
	return c
}

// begin does what strikes before the first Write, unless a Switch has replaced the faults
// already.
func (c *conn) begin() *conn {
	c.changing.Lock()
	defer c.changing.Unlock()
	if !c.changed {
		c.current().begin()
		c.receive(c.first)
	}
	return c
}

// replace lets other faults take the place of those before.
func (c *conn) replace(drawn drawn) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.changed = true
	next := newChain(c, drawn.sends, drawn.seed)
	c.mu.Lock()
	old := c.chain
	c.chain = next
	c.older = append(c.older, old)
	c.past = append(c.past, old.struck(c.past)...)
	c.mu.Unlock()
	old.release()
	next.begin()
	c.payFIN()
	c.receive(drawn)
}

func (c *conn) current() *chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chain
}

// chains returns the chains that may hold octets, the oldest first.
func (c *conn) chains() []*chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.older = slices.DeleteFunc(c.older, (*chain).isDrained)
	return append(slices.Clone(c.older), c.chain)
}

// earlier returns a chain that must let out what it holds before ch sends, or nil.
func (c *conn) earlier(ch *chain) *chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.older = slices.DeleteFunc(c.older, (*chain).isDrained)
	if len(c.older) == 0 || c.older[0] == ch {
		return nil
	}
	return c.older[0]
}

// NetConn returns what is wrapped.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Write(p []byte) (done int, err error) {
	c.writing <- struct{}{}
	defer c.release()
	for {
		ch := c.current()
		if err := c.failed(); err != nil {
			return done, err
		}
		n, err := ch.write(p[done:])
		if done += n; err == errReplaced && (done < len(p) || len(p) == 0) {
			continue
		} else if err == errReplaced {
			err = nil
		}
		if err != nil && !isDone(c.closed) && !errors.Is(err, os.ErrDeadlineExceeded) {
			err = cmp.Or(c.failed(), err)
		}
		return done, err
	}
}

// release ends a Write or a CloseWrite.
func (c *conn) release() {
	<-c.writing
	c.payFIN()
}

// payFIN sends the FIN that a stall has kept back, if it does not any more and no Write
// is under way: that comes first, and then calls this.
func (c *conn) payFIN() {
	for c.owed.Load() && !c.current().stalled.Load() {
		select {
		case c.writing <- struct{}{}:
		default:
			return
		}
		if ch := c.current(); !ch.stalled.Load() && c.owed.CompareAndSwap(true, false) {
			ch.finishAfter(nil)
		}
		<-c.writing
	}
}

// setDeadlineBelow gives what is below the write deadline: the program's for its own
// Write, none for what is sent later, and a limit for what is sent after Close, so that a
// peer that does not read cannot keep the connection forever.
func (c *conn) setDeadlineBelow(own bool) {
	c.deadline.mu.Lock()
	defer c.deadline.mu.Unlock()
	at := c.deadline.at
	switch {
	case isDone(c.closed):
		at = time.Now().Add(closeTime)
	case !own:
		at = time.Time{}
	}
	if !at.Equal(c.deadline.below) {
		c.deadline.below = at
		c.Conn.SetWriteDeadline(at)
	}
}

// fail notes what ended the sending side; the first error counts.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = err
		close(c.over)
		c.breaks()
	}
}

// breaks closes broken, once. The caller holds mu.
func (c *conn) breaks() {
	if !isDone(c.broken) {
		close(c.broken)
	}
}

func (c *conn) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func isDone(done <-chan struct{}) bool {
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
	if c.current().stalled.Load() { // a Write may be blocked
		if c.failed() == nil {
			c.owed.Store(true)
			c.payFIN() // a Switch may have ended the stall meanwhile
		}
		return nil
	}
	c.writing <- struct{}{}
	defer c.release()
	return c.current().finishAfter(nil)
}

// Close ends a pause and a fault's work at once. What a delay holds is still sent, as
// the kernel sends what is in its buffer, and then the connection is closed. After
// SetLinger(0) it is dropped.
func (c *conn) Close() error {
	c.deadline.mu.Lock()
	first := !isDone(c.closed)
	if first {
		close(c.closed)
	}
	c.deadline.mu.Unlock()
	c.mu.Lock()
	c.breaks()
	in := c.in
	c.mu.Unlock()
	if !c.closesLate() {
		err := c.closeNow()
		if in != nil {
			in.close()
		}
		return err
	}
	if !first {
		return nil
	}
	c.Conn.SetReadDeadline(longAgo) // wakes Reads, which return net.ErrClosed
	if in != nil {
		in.close()
	}
	c.setDeadlineBelow(false)
	return c.current().closeAfter(nil)
}

// longAgo, as a deadline, wakes what blocks on a connection.
var longAgo = time.Unix(1, 0)

// closesLate reports whether octets, or a FIN that the peer waits for, are to pass the
// delays before the connection is closed.
func (c *conn) closesLate() bool {
	ch := c.current()
	if c.abort.Load() || ch.stalled.Load() || c.failed() != nil {
		return false
	}
	if slices.ContainsFunc(c.chains(), (*chain).isBusy) {
		return true
	}
	if len(ch.lines) == 0 {
		return false
	}
	gone, _ := peerOf(c.Conn)
	return !gone
}

// closeNow drops what the delays hold.
func (c *conn) closeNow() error {
	c.deadline.mu.Lock()
	if !isDone(c.aborted) {
		close(c.aborted)
	}
	c.deadline.mu.Unlock()
	c.ending.Lock()
	defer c.ending.Unlock()
	return c.closeBelow(c.Conn.Close)
}

// SetLinger is that of TCP: with 0, Close drops what has not been sent, and resets the
// connection.
func (c *conn) SetLinger(seconds int) error {
	c.abort.Store(seconds == 0)
	if below, ok := tcpconn.Find[interface{ SetLinger(int) error }](c.Conn); ok {
		return below.SetLinger(seconds)
	}
	return nil
}

// flush waits until all lines are empty, or until a fault or an error has ended what this
// end sends.
func (c *conn) flush(wait func(<-chan struct{}) error) error {
	for _, ch := range c.chains() {
		if err := ch.flush(0, wait); err != nil {
			return err
		}
	}
	return c.failed()
}

// closeBelow closes what is wrapped, once. The caller holds ending.
func (c *conn) closeBelow(how func() error) error {
	if !c.isClosed {
		c.isClosed, c.closeErr = true, how()
		c.current().stopTimers()
		if c.forget != nil {
			c.forget(c)
		}
	}
	return c.closeErr
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if isDone(c.closed) {
		return c.opError("set", net.ErrClosed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readDeadline = t
	if c.in != nil && !c.reading {
		return c.in.end.SetReadDeadline(t)
	}
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is for the program's Writes. With a delay, what is below has none:
// octets that a Write has left in it are sent, as those in the kernel's buffer are.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.deadline.set(t)
	if chains := c.chains(); len(chains) == 1 && len(chains[0].lines) == 0 && !isDone(c.closed) {
		c.deadline.mu.Lock()
		defer c.deadline.mu.Unlock()
		c.deadline.below = t
		return c.Conn.SetWriteDeadline(t)
	}
	return nil
}

// wait returns nil at the time until, or once done is closed. It returns errReplaced once
// replaced is closed, and an error if the connection is closed or the write deadline
// passes first. The zero time is never. If replaced is not nil, it also returns the error
// that has ended what this end sends.
func (c *conn) wait(until time.Time, done, replaced <-chan struct{}) error {
	over := c.overWith(replaced)
	for {
		at, changed := c.deadline.get()
		now := time.Now()
		if isDone(c.closed) {
			return c.opError("write", net.ErrClosed)
		}
		switch {
		case !at.IsZero() && !now.Before(at):
			return c.opError("write", os.ErrDeadlineExceeded)
		case !until.IsZero() && !now.Before(until):
			return nil
		case isDone(over):
			return c.failed()
		case isDone(replaced):
			return errReplaced
		}
		alarm := newAlarm(now, at, until)
		select {
		case <-done:
			alarm.stop()
			return nil
		case <-c.closed:
		case <-over:
		case <-replaced:
		case <-changed:
		case <-alarm.channel:
		}
		alarm.stop()
	}
}

// overWith returns the channel that ends a wait which can be replaced: a fault that has
// started to strike goes on after that.
func (c *conn) overWith(replaced <-chan struct{}) <-chan struct{} {
	if replaced == nil {
		return nil
	}
	return c.over
}

// A deadline is the time of SetWriteDeadline. It has no timer: each wait has its own.
type deadline struct {
	mu      sync.Mutex
	at      time.Time
	below   time.Time     // what the connection below has been given
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
func (c *conn) waitDetached(until time.Time, done, replaced <-chan struct{}) error {
	if isDone(c.aborted) {
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
	case <-c.overWith(replaced):
		return c.failed()
	case <-replaced:
		return errReplaced
	case <-c.aborted:
		return c.opError("write", net.ErrClosed)
	}
}

// Flush waits until all that was written to c has been passed to the connection below,
// FIN included. It waits for a delay, and for a stall after one. It returns the error that
// has ended what this end sends, if there is one, and nil if c has no faults.
func Flush(c net.Conn) error {
	faulty, ok := c.(*conn)
	if !ok {
		return nil
	}
	return faulty.flush(func(changed <-chan struct{}) error {
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
// sends, and by Close. If c has no faults, it returns nil. After a delay, a fault strikes
// between the program's Writes, and no Write returns its error at that time.
func Broken(c net.Conn) <-chan struct{} {
	if faulty, ok := c.(*conn); ok {
		return faulty.broken
	}
	return nil
}

// Struck returns the faults that have struck c so far, or a connection below it
// (NetConn), the nearest to the program first. Each has one part, or is [Reads] of one. A
// delay, drip or rate has struck when it made a Write wait. Faults that a [Switch] has
// replaced come first, each once.
func Struck(c net.Conn) (struck []Fault) {
	for layer := c; layer != nil; layer = tcpconn.Below(layer) {
		if faulty, ok := layer.(*conn); ok {
			struck = append(struck, faulty.struck()...)
		}
	}
	return struck
}

func (c *conn) struck() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	struck := append(slices.Clone(c.past), c.chain.struck(nil)...)
	if c.in != nil {
		for _, f := range c.in.faulty.struck() {
			struck = append(struck, Reads(f))
		}
	}
	return struck
}

// struck returns the faults of the chain that have struck and are not known.
func (ch *chain) struck(known []Fault) (struck []Fault) {
	for _, s := range ch.faults {
		f := s.Fault()
		if s.struck.Load() && !slices.ContainsFunc(known, func(k Fault) bool { return k.String() == f.String() }) {
			struck = append(struck, f)
		}
	}
	return struck
}

// Stalled reports whether a stall, hang or discard lets nothing more pass of what c sends
// at present.
func Stalled(c net.Conn) bool {
	faulty, ok := c.(*conn)
	return ok && faulty.current().stalled.Load()
}

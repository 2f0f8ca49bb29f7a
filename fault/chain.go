package fault

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// errReplaced ends the wait of a fault that a Switch has replaced. What the fault has not
// passed on goes through the faults that have replaced it. A program never gets it.
var errReplaced = errors.New("fault: replaced")

// A chain is the faults that strike what one connection sends, until a Switch replaces
// them. Octets that the delays of a replaced chain hold are sent at once, past its other
// faults, and before those of the next chain.
type chain struct {
	conn     *conn
	faults   []*effect // the first is nearest to the program
	lines    []*line   // those of the faults that are delays, in the same order
	write    func([]byte) (int, error)
	stalled  atomic.Bool
	replaced chan struct{} // closed when another chain takes its place

	mu       sync.Mutex
	timers   []*time.Timer // of what strikes at a time
	released bool          // replaced, and no line accepts octets any more
	drained  chan struct{} // closed when it is released and all lines are empty
	then     []func()      // called when drained is closed
}

func newChain(c *conn, parts []Part, seed uint64) *chain {
	ch := &chain{conn: c, replaced: make(chan struct{}), drained: make(chan struct{})}
	next := ch.writeBelow
	for i, p := range slices.Backward(parts) {
		s := &effect{Part: p, conn: c, chain: ch, next: next}
		if p.Spread > 0 || p.Jitter > 0 {
			s.random = rand.New(rand.NewPCG(seed, uint64(i)))
		}
		ch.faults = append(ch.faults, s)
		next = s.write
		if s.delays() {
			l := newLine(s)
			ch.lines = append(ch.lines, l)
			next = l.write
		}
	}
	slices.Reverse(ch.faults)
	slices.Reverse(ch.lines)
	ch.write = next
	detached := false
	for _, s := range ch.faults {
		s.detached = detached
		detached = detached || s.delays()
	}
	return ch
}

// begin does what strikes before the first Write, and starts the timers.
func (ch *chain) begin() {
	for _, s := range ch.faults {
		switch {
		case s.Timed:
			ch.after(s.Time, s.strikeNow)
		case s.Kind == KindRefuse && !ch.stalled.Load():
			s.end()
			return
		case s.Kind == KindHang, s.Count == 0 && (s.Kind == KindStall || s.Kind == KindDiscard):
			ch.stalled.Store(true)
		}
	}
}

// after calls do after d, unless the chain is replaced or its connection closed first.
func (ch *chain) after(d time.Duration, do func()) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if !isDone(ch.replaced) {
		ch.timers = append(ch.timers, time.AfterFunc(d, do))
	}
}

func (ch *chain) stopTimers() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, t := range ch.timers {
		t.Stop()
	}
}

// delays reports whether the fault is a line.
func (p Part) delays() bool { return p.Kind == KindDelay || p.Kind == KindSlowClose }

// writeBelow sends what has come through all faults of the chain.
func (ch *chain) writeBelow(p []byte) (int, error) {
	if err := ch.awaitTurn(); err != nil {
		return 0, err
	}
	ch.conn.setDeadlineBelow(len(ch.lines) == 0)
	return ch.conn.Conn.Write(p)
}

// awaitTurn waits until the chains before this one hold nothing any more.
func (ch *chain) awaitTurn() error {
	c := ch.conn
	wait := c.wait
	if len(ch.lines) > 0 {
		wait = c.waitDetached
	}
	for {
		earlier := c.earlier(ch)
		if earlier == nil {
			return nil
		}
		if err := wait(time.Time{}, earlier.drained, nil); err != nil {
			return err
		}
	}
}

// release lets the octets out that the lines hold, and ends what waits in a fault.
func (ch *chain) release() {
	close(ch.replaced)
	ch.stopTimers()
	for _, l := range ch.lines {
		l.release()
	}
	ch.mu.Lock()
	ch.released = true
	ch.mu.Unlock()
	ch.drain()
}

// drain notes that the lines are empty, if they are and stay so.
func (ch *chain) drain() {
	ch.mu.Lock()
	if !ch.released || ch.isDrained() || ch.isBusy() {
		ch.mu.Unlock()
		return
	}
	close(ch.drained)
	then := ch.then
	ch.then = nil
	ch.mu.Unlock()
	for _, do := range then {
		do()
	}
}

func (ch *chain) isDrained() bool { return isDone(ch.drained) }

func (ch *chain) isBusy() bool {
	return slices.ContainsFunc(ch.lines, func(l *line) bool { return l.busy() != nil })
}

// whenDrained calls do as soon as the chain holds nothing any more.
func (ch *chain) whenDrained(do func()) {
	ch.mu.Lock()
	if !ch.isDrained() {
		ch.then = append(ch.then, do)
		ch.mu.Unlock()
		return
	}
	ch.mu.Unlock()
	do()
}

// lineAfter returns the line that follows l, or nil; the first if l is nil.
func (ch *chain) lineAfter(l *line) *line {
	i := 0
	if l != nil {
		i = slices.Index(ch.lines, l) + 1
	}
	if i == len(ch.lines) {
		return nil
	}
	return ch.lines[i]
}

// finishAfter passes a FIN on to the line after l, or to what is below.
func (ch *chain) finishAfter(l *line) error {
	c := ch.conn
	if c.failed() != nil {
		return nil
	}
	if ch.stalled.Load() {
		c.owed.Store(true)
		if isDone(ch.replaced) && c.owed.CompareAndSwap(true, false) { // what replaced the stall did not see it
			return ch.replacedAt(l)
		}
		return nil
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return c.opError("close", errors.ErrUnsupported)
	}
	if next := ch.lineAfter(l); next != nil {
		if _, _, err := next.put(finParcel, nil); err != errReplaced {
			return err
		}
		return ch.replacedAt(l)
	}
	if err := ch.awaitTurn(); err != nil {
		return err
	}
	return half.CloseWrite()
}

// replacedAt lets the FIN of a replaced chain go on: that of a line past its other faults,
// and that of the program through the chain in its place.
func (ch *chain) replacedAt(l *line) error {
	if l != nil {
		return errReplaced
	}
	return ch.conn.current().finishAfter(nil)
}

// closeAfter passes the program's Close on to the line after l, or to what is below.
func (ch *chain) closeAfter(l *line) error {
	if next := ch.lineAfter(l); next != nil {
		if _, _, err := next.put(closeParcel, nil); err == nil {
			return nil
		}
	}
	for _, other := range ch.conn.chains() {
		if other != ch && !other.isDrained() && isDone(other.replaced) {
			other.whenDrained(func() { ch.closeAfter(l) })
			return nil
		}
	}
	return ch.conn.closeNow()
}

// flush waits until the lines after the first ones are empty, or until a fault or an
// error has ended what this end sends. The lines pass on what they hold in order.
func (ch *chain) flush(after int, wait func(<-chan struct{}) error) error {
	for _, l := range ch.lines[after:] {
		for changed := l.busy(); changed != nil; changed = l.busy() {
			if err := wait(changed); err != nil {
				return err
			}
		}
	}
	return ch.conn.failed()
}

// bypass sends a parcel of a released line, without what has been passed on of it, past
// the faults that were after the line.
func (ch *chain) bypass(l *line, p parcel, passed int) error {
	c := ch.conn
	after := slices.Index(ch.lines, l) + 1
	if err := ch.flush(after, func(changed <-chan struct{}) error {
		return c.waitDetached(time.Time{}, changed, nil)
	}); err != nil {
		return err
	}
	if err := ch.awaitTurn(); err != nil {
		return err
	}
	switch p.kind {
	case octetsParcel:
		c.setDeadlineBelow(false)
		_, err := c.Conn.Write(p.octets[passed:])
		return err
	case finParcel:
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			return half.CloseWrite()
		}
	case closeParcel:
		return c.closeNow()
	}
	return nil
}

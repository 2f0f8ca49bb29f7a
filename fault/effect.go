package fault

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bothends/bothends/internal/tcpconn"
	"github.com/bothends/bothends/internal/tcpinfo"
)

const (
	drainTime = time.Second            // for the peer to close, once it has the FIN
	ackTime   = 5 * time.Second        // for the peer to acknowledge what RST would drop
	lateTime  = 10 * time.Millisecond  // of a line's piece that is not idleness
	blindTime = 100 * time.Millisecond // instead of ackTime, if the send queue is not known
)

// An effect is one fault on one connection: it stands between the program's Write,
// or the fault that is nearer to it, and next. All but sent, struck and due is guarded by
// the connection's writing.
type effect struct {
	Part
	conn     *conn
	chain    *chain
	next     func([]byte) (int, error)
	random   *rand.Rand   // of what varies
	detached bool         // after a delay, and so not in the program's Write
	sent     atomic.Int64 // octets that have passed
	free     time.Time    // when the next piece may leave
	struck   atomic.Bool
	due      atomic.Bool // the time of a Timed fault has come
}

// write is that of every fault but a delay, which is a line.
func (s *effect) write(p []byte) (int, error) {
	switch s.Kind {
	case KindDrip:
		return s.pieces(p, s.dripSize, s.dripTime)
	case KindRate:
		return s.pieces(p, s.rateSize, s.rateTime)
	case KindCorrupt:
		return s.flip(p)
	}
	return s.until(p)
}

// vary returns a number between -spread and spread.
func (s *effect) vary(spread int64) int64 {
	if spread <= 0 {
		return 0
	}
	return int64(s.random.Uint64N(2*uint64(spread)+1)) - spread
}

func (s *effect) wait(until time.Time) error {
	if time.Now().Before(until) {
		s.struck.Store(true)
	}
	return s.hold(until, nil)
}

// hold keeps octets until then, or until done is closed; the zero time is never. It
// looks for the peer from time to time, and returns an error like the kernel's if the
// peer has closed: nothing is sent that would show it to the kernel.
func (s *effect) hold(until time.Time, done <-chan struct{}) error {
	var finished time.Time // when the peer's FIN was seen
	for look := firstLook; ; look = min(2*look, lastLook) {
		at := time.Now().Add(look)
		last := !until.IsZero() && !until.After(at)
		if last {
			at = until
		}
		if err := s.sleep(at, done, s.chain.replaced); err != nil || last || isDone(done) {
			return err
		}
		fin, err := peerOf(s.conn.Conn)
		if err != nil {
			return s.conn.opError("write", err)
		}
		if fin && finished.IsZero() {
			finished = time.Now()
		}
		unwanted := until.IsZero() && done == nil || isDone(s.conn.closed)
		if unwanted && !finished.IsZero() && time.Since(finished) >= finGrace {
			return s.conn.opError("write", os.NewSyscallError("write", syscall.EPIPE))
		}
	}
}

// A waiter waits until a time, or until done is closed.
type waiter func(until time.Time, done <-chan struct{}) error

// sleep is the connection's wait for this fault.
func (s *effect) sleep(until time.Time, done, replaced <-chan struct{}) error {
	if s.detached || s.delays() && done == nil {
		return s.conn.waitDetached(until, done, replaced)
	}
	return s.conn.wait(until, done, replaced)
}

// finish is the wait of a fault that has started to strike. It strikes, also if it is
// replaced meanwhile.
func (s *effect) finish(until time.Time, done <-chan struct{}) error {
	if s.Timed {
		return s.conn.waitDetached(until, done, nil)
	}
	return s.sleep(until, done, nil)
}

// pieces sends p in pieces of a size, each at the time for its length.
func (s *effect) pieces(p []byte, size func() int, when func(int) time.Time) (done int, err error) {
	for done < len(p) {
		piece := p[done:]
		piece = piece[:min(size(), len(piece))]
		if err := s.wait(when(len(piece))); err != nil {
			return done, err
		}
		n, err := s.next(piece)
		done += n
		if err != nil {
			return done, err
		}
		if s.Kind == KindDrip {
			tcpconn.Push(s.conn.Conn)
			s.free = time.Now().Add(s.Time)
		}
	}
	return done, nil
}

func (s *effect) dripSize() int { return max(1, s.Count+int(s.vary(int64(s.Spread)))) }

func (s *effect) dripTime(int) time.Time {
	if s.free.IsZero() { // the first piece: no pause before it
		return time.Now()
	}
	return s.free
}

func (s *effect) rateSize() int { return max(1, s.Count/100) }

// rateTime is when the last of n octets leaves the line.
func (s *effect) rateTime(n int) time.Time {
	if now := time.Now(); now.Sub(s.free) > lateTime {
		s.free = now
	}
	s.free = s.free.Add(time.Duration(float64(n) * float64(time.Second) / float64(s.Count)))
	return s.free
}

// flip sends a copy with the octet changed: a Writer must not change p.
func (s *effect) flip(p []byte) (int, error) {
	at := s.Count - int(s.sent.Load())
	if at >= 0 && at < len(p) {
		p = append([]byte(nil), p...)
		p[at] ^= 1
	}
	n, err := s.next(p)
	s.sent.Add(int64(n))
	if at >= 0 && at < n {
		s.struck.Store(true)
	}
	return n, err
}

// until sends what is left of the fault's octets. After the last of them it strikes.
func (s *effect) until(p []byte) (int, error) {
	left := s.Count - int(s.sent.Load())
	if s.Timed {
		left = 0
		if !s.due.Load() {
			left = len(p) + 1
		}
	}
	n := 0
	if left > 0 {
		var err error
		n, err = s.next(p[:min(len(p), left)])
		if s.sent.Add(int64(n)); err != nil || n < left {
			return n, err
		}
		tcpconn.Push(s.conn.Conn)
	}
	switch s.Kind {
	case KindStall, KindHang:
		s.chain.stalled.Store(true)
		if n == len(p) {
			return n, nil
		}
		s.struck.Store(true)
		return n, s.hold(time.Time{}, nil)
	case KindDiscard:
		s.chain.stalled.Store(true)
		if n < len(p) {
			s.struck.Store(true)
		}
		return len(p), nil
	}
	if s.Timed { // strikeNow ends it
		return n, s.hold(time.Time{}, nil)
	}
	return n, s.end()
}

// strikeNow is what a Timed fault does at its time.
func (s *effect) strikeNow() {
	if isDone(s.chain.replaced) || s.conn.failed() != nil {
		return
	}
	s.due.Store(true)
	if s.Kind == KindStall || s.Kind == KindDiscard {
		s.chain.stalled.Store(true)
		return
	}
	s.end()
}

// settle lets the octets pass that are in delays after this fault, for it strikes after
// them. Whatever ends that early, the fault strikes.
func (s *effect) settle() error {
	ch := s.chain
	after := slices.IndexFunc(ch.lines, func(l *line) bool {
		return slices.Index(ch.faults, l.effect) > slices.Index(ch.faults, s)
	})
	if after >= 0 {
		ch.lines[after].put(markParcel, nil) // the FIN or RST is late too, if there are no octets
		ch.flush(after, func(changed <-chan struct{}) error { return s.finish(time.Time{}, changed) })
	}
	ch.awaitTurn()
	return s.conn.failed()
}

// end ends what this end sends, and with most faults the connection.
func (s *effect) end() error {
	c := s.conn
	atOnce := s.Kind == KindRefuse || s.Kind == KindReset && s.Timed // drops what is on its way
	if !atOnce {
		if err := s.settle(); err != nil {
			return err
		}
	}
	c.ending.Lock()
	defer c.ending.Unlock()
	s.struck.Store(true)
	failed := &Error{Fault: s.Fault(), After: int(s.sent.Load()), Err: net.ErrClosed, half: s.Kind == KindHalfClose}
	switch s.Kind {
	case KindHalfClose:
		failed.Err = syscall.EPIPE
	case KindReset, KindRefuse:
		failed.Err = syscall.ECONNRESET
	}
	err := c.opError("write", failed)
	if s.Timed { // a Write may be under way
		c.fail(err)
	}
	switch s.Kind {
	case KindHalfClose:
		tcpconn.CloseWrite(c.Conn)
	case KindClose:
		if tcpconn.CloseWrite(c.Conn) == nil && c.onEnd == nil {
			c.drain(s.finish)
		}
		c.closeBelow(c.Conn.Close)
	case KindReset, KindRefuse:
		if !atOnce {
			c.awaitAcknowledged(s.finish)
		}
		c.closeBelow(func() error { return tcpconn.Abort(c.Conn) })
	}
	c.fail(err)
	if c.onEnd != nil {
		c.onEnd(failed)
	}
	return err
}

// drain reads what arrives below TLS and drops it, until the peer has closed or the
// time is over, and closes. The caller holds ending.
func (c *conn) drain(wait waiter) {
	c.Conn.SetReadDeadline(time.Time{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		tcpconn.Drain(tcpconn.Lowest(c.Conn))
	}()
	wait(time.Now().Add(drainTime), drained)
	c.closeBelow(c.Conn.Close)
	<-drained
}

// awaitAcknowledged waits until the send queue is empty. Whatever ends the wait
// early, the reset follows: a fault that has started to strike strikes.
func (c *conn) awaitAcknowledged(wait waiter) {
	if !tcpconn.HasSocket(c.Conn) {
		return
	}
	end := time.Now().Add(ackTime)
	for pause := 50 * time.Microsecond; time.Now().Before(end); pause = min(2*pause, 10*time.Millisecond) {
		info, err := tcpinfo.Read(c.Conn)
		if errors.Is(err, tcpinfo.ErrNotAvailable) || err == nil && info.Unsent == nil {
			wait(time.Now().Add(blindTime), nil)
			return
		}
		if err != nil || *info.Unsent == 0 || wait(time.Now().Add(pause), nil) != nil {
			return
		}
	}
}

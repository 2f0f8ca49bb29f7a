package fault

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bothends/bothends/internal/tcpinfo"
)

const (
	drainTime = time.Second            // for the peer to close, once it has the FIN
	ackTime   = 5 * time.Second        // for the peer to acknowledge what RST would drop
	lateTime  = 10 * time.Millisecond  // of a line's piece that is no idleness
	blindTime = 100 * time.Millisecond // for the same, where the system does not tell
)

// A striker is one fault on one connection: it stands between the program's Write,
// or the fault that is nearer to it, and next. All but struck is guarded by the
// connection's writing.
type striker struct {
	part
	conn     *conn
	chain    *chain
	next     func([]byte) (int, error)
	detached bool      // after a delay, and so not in the program's Write
	sent     int       // octets, over the life of the connection
	free     time.Time // when the next piece may leave
	struck   atomic.Bool
}

// write is that of every fault but a delay, which is a line.
func (s *striker) write(p []byte) (int, error) {
	switch s.kind {
	case drip:
		return s.pieces(p, s.n, s.dripTime)
	case rate:
		return s.pieces(p, max(1, s.n/100), s.rateTime)
	case corrupt:
		return s.flip(p)
	}
	return s.until(p)
}

func (s *striker) wait(until time.Time) error {
	if time.Now().Before(until) {
		s.struck.Store(true)
	}
	return s.hold(until, nil)
}

// hold keeps octets until then, or until done is closed; the zero time is never. It
// looks for the peer from time to time, and returns an error like the kernel's if the
// peer has gone: nothing is sent that the kernel could notice it by.
func (s *striker) hold(until time.Time, done <-chan struct{}) error {
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
func (s *striker) sleep(until time.Time, done, replaced <-chan struct{}) error {
	if s.detached || s.kind == delay && done == nil {
		return s.conn.waitDetached(until, done, replaced)
	}
	return s.conn.wait(until, done, replaced)
}

// finish is the wait of a fault that has started to strike. It strikes, also if it is
// replaced meanwhile.
func (s *striker) finish(until time.Time, done <-chan struct{}) error {
	return s.sleep(until, done, nil)
}

// pieces sends p in pieces of a size, each at the time that is told of its length.
func (s *striker) pieces(p []byte, size int, when func(int) time.Time) (done int, err error) {
	for done < len(p) {
		piece := p[done:]
		piece = piece[:min(size, len(piece))]
		if err := s.wait(when(len(piece))); err != nil {
			return done, err
		}
		n, err := s.next(piece)
		done += n
		if err != nil {
			return done, err
		}
		if s.kind == drip {
			push(s.conn.Conn)
			s.free = time.Now().Add(s.d)
		}
	}
	return done, nil
}

func (s *striker) dripTime(int) time.Time {
	if s.free.IsZero() { // the first piece: no pause before it
		return time.Now()
	}
	return s.free
}

// rateTime is when the last of n octets leaves the line.
func (s *striker) rateTime(n int) time.Time {
	if now := time.Now(); now.Sub(s.free) > lateTime {
		s.free = now
	}
	s.free = s.free.Add(time.Duration(float64(n) * float64(time.Second) / float64(s.n)))
	return s.free
}

// flip sends a copy with the octet changed: a Writer must not touch p.
func (s *striker) flip(p []byte) (int, error) {
	at := s.n - s.sent
	if at >= 0 && at < len(p) {
		p = append([]byte(nil), p...)
		p[at] ^= 1
	}
	n, err := s.next(p)
	s.sent += n
	if at >= 0 && at < n {
		s.struck.Store(true)
	}
	return n, err
}

// until sends what is left of the fault's octets. Behind the last of them it strikes.
func (s *striker) until(p []byte) (int, error) {
	n := 0
	if s.sent < s.n {
		var err error
		n, err = s.next(p[:min(len(p), s.n-s.sent)])
		if s.sent += n; err != nil || s.sent < s.n {
			return n, err
		}
		push(s.conn.Conn)
	}
	if s.kind != stall && s.kind != hang {
		return n, s.end()
	}
	s.chain.stalled.Store(true)
	if n == len(p) {
		return n, nil
	}
	s.struck.Store(true)
	return n, s.hold(time.Time{}, nil)
}

// settle lets the octets pass that are in delays after this fault, for it strikes after
// them. Whatever ends that early, the fault strikes.
func (s *striker) settle() error {
	ch := s.chain
	after := slices.IndexFunc(ch.lines, func(l *line) bool {
		return slices.Index(ch.faults, l.striker) > slices.Index(ch.faults, s)
	})
	if after >= 0 {
		ch.lines[after].put(markParcel, nil) // the FIN or RST is late too, if there are no octets
		ch.flush(after, func(changed <-chan struct{}) error { return s.finish(time.Time{}, changed) })
	}
	ch.awaitTurn()
	return s.conn.failed()
}

// end ends what this end sends, and with most faults the connection.
func (s *striker) end() error {
	c := s.conn
	if s.kind != refuse { // which strikes before there are octets
		if err := s.settle(); err != nil {
			return err
		}
	}
	c.ending.Lock()
	defer c.ending.Unlock()
	s.struck.Store(true)
	failed := &Error{Fault: s.String(), After: s.sent, Err: net.ErrClosed, half: s.kind == halfClose}
	switch s.kind {
	case halfClose:
		sendFIN(c.Conn)
	case closing:
		if sendFIN(c.Conn) == nil {
			c.drain(s.finish)
		}
		c.closeBelow(c.Conn.Close)
	case reset, refuse:
		failed.Err = syscall.ECONNRESET
		if s.kind == reset {
			c.awaitAcknowledged(s.finish)
		}
		c.closeBelow(func() error { return sendRST(c.Conn) })
	}
	c.fail(failed)
	return failed
}

// drain reads what arrives below TLS and drops it, until the peer has closed or the
// time is over, and closes. The caller holds ending.
func (c *conn) drain(wait waiter) {
	c.Conn.SetReadDeadline(time.Time{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		below := lowest(c.Conn)
		for surplus, err := make([]byte, 4096), error(nil); err == nil; {
			_, err = below.Read(surplus)
		}
	}()
	wait(time.Now().Add(drainTime), drained)
	c.closeBelow(c.Conn.Close)
	<-drained
}

// awaitAcknowledged waits until the send queue is empty. Whatever ends the wait
// early, the reset follows: a fault that has begun to strike strikes.
func (c *conn) awaitAcknowledged(wait waiter) {
	if !hasKernel(c.Conn) {
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

package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/tcpinfo"
)

// longAgo, as a deadline, wakes whoever blocks on a connection or a listener.
var longAgo = time.Unix(1, 0)

// patience is how long a Write may last before its side is watched. Tests have less.
var patience = time.Second

// seenTime is the time limit for a client to see that its connection was accepted.
const seenTime = 250 * time.Millisecond

// grace is how long a stall is kept up for a side after its FIN. Tests have less.
var grace = 5 * time.Second

// A side is one of the two TCP connections of a link, as the faults see it. Octets
// are read from the connection below, and written there too where no fault strikes.
type side struct {
	*net.TCPConn // one without a socket until the target has been connected to

	start    time.Time
	sent     atomic.Int64  // octets that came to it through faults
	reset    atomic.Bool   // closed with RST, or about to be
	finished atomic.Bool   // a FIN was sent, or is about to be
	passed   chan struct{} // closed when the link reads no more from it
	closed   chan struct{}
	closing  sync.Once
	dropped  func(*side) // told when a fault on connecting closes it
}

func newSide(c *net.TCPConn) *side {
	return &side{TCPConn: c, start: time.Now(), passed: make(chan struct{}), closed: make(chan struct{})}
}

// Read is for a fault that has sent its FIN and reads what still comes, until the
// peer has closed: those octets are the link's, which passes them on meanwhile.
func (s *side) Read([]byte) (int, error) {
	select {
	case <-s.passed:
	case <-s.closed:
	}
	return 0, io.EOF
}

// Write counts what a fault sends.
func (s *side) Write(p []byte) (int, error) {
	n, err := s.TCPConn.Write(p)
	s.sent.Add(int64(n))
	return n, err
}

// SetLinger notes that an RST is to come.
func (s *side) SetLinger(seconds int) error {
	if seconds == 0 {
		s.reset.Store(true)
	}
	return s.TCPConn.SetLinger(seconds)
}

func (s *side) Close() error {
	err := net.ErrClosed
	s.closing.Do(func() {
		close(s.closed)
		err = s.TCPConn.Close()
		if s.dropped != nil {
			s.dropped(s)
		}
	})
	return err
}

// abort sends RST at once.
func (s *side) abort() {
	s.SetLinger(0)
	s.Close()
}

// abortBehind sends RST when the peer's kernel has what was sent before: that would be
// lost otherwise. Reset does just this, and waits for five seconds at most.
func (s *side) abortBehind() { fault.Conn(s, fault.Reset(0)).Write(nil) }

// closeBehind sends FIN, and reads away what the peer still sends until it closes, for
// a second at most, before it closes: to close with octets unread sends RST, and that
// drops what was sent before and still waits. Close does just this. It is given the
// connection below, for the side's Read ends where the link's does.
func (s *side) closeBehind() {
	fault.Conn(s.TCPConn, fault.Close(0)).Write(nil)
	s.Close()
}

// awaitSeen returns when the peer has sent something, which it does after its connect
// has returned, or seenTime after accept. It looks again and again: others may be
// reading meanwhile.
func (s *side) awaitSeen() {
	const look = 5 * time.Millisecond
	for end := s.start.Add(seenTime); time.Now().Before(end); {
		info, err := tcpinfo.Read(s.TCPConn)
		if err == nil && info.BytesReceived != nil && *info.BytesReceived > 0 || err == nil && info.State != nil && *info.State == "CLOSE" {
			return
		}
		select {
		case <-time.After(look):
		case <-s.closed:
			return
		}
	}
}

// CloseWrite notes that the FIN is to come.
func (s *side) CloseWrite() error {
	s.finished.Store(true)
	return s.TCPConn.CloseWrite()
}

// awaitGone returns true once the kernel has no connection any more, and false when a
// deadline wakes it, when the connection is closed here, and on systems that do not
// tell. Nobody else may read meanwhile.
func (s *side) awaitGone() (gone bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(uintptr) (done bool) {
		var known bool
		gone, known = s.isGone()
		return gone || !known
	})
	return err == nil && gone
}

// awaitLeft returns true when the peer has closed without having sent anything, or has
// reset the connection, and false when awaitGone does. Nothing is read meanwhile.
func (s *side) awaitLeft() (left bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(uintptr) (done bool) {
		info, err := tcpinfo.Read(s.TCPConn)
		if err != nil || info.State == nil || info.Unread == nil {
			return true
		}
		left = *info.State == "CLOSE" || *info.State == "CLOSED" || *info.State == "CLOSE_WAIT" && *info.Unread == 0
		return left
	})
	return err == nil && left
}

func (s *side) isGone() (gone, known bool) {
	info, err := tcpinfo.Read(s.TCPConn)
	if err != nil || info.State == nil {
		return false, false
	}
	return *info.State == "CLOSE" || *info.State == "CLOSED", true
}

// wasReset tells whether the peer has reset the connection, or keepalive has given it
// up. After a FIN from here that cannot be told from the peer's FIN: of a connection
// in TIME_WAIT the socket knows as little as of one that was reset.
func (s *side) wasReset() bool {
	gone, _ := s.isGone()
	return gone && !s.finished.Load()
}

// A watched is a connection to write to. A fault may hold a Write, and then the side that
// the octets came from is not read.
type watched struct {
	net.Conn
	from, to        *side
	lost, outstayed func() // called when from is gone, and when to does not wait any more
}

func (w watched) Write(p []byte) (n int, err error) {
	w.during(func() { n, err = w.Conn.Write(p) })
	return n, err
}

// flush waits until a delay has passed on what it holds.
func (w watched) flush() (err error) {
	w.during(func() { err = fault.Flush(w.Conn) })
	return err
}

// during watches both sides once what it does lasts.
func (w watched) during(do func()) {
	written := make(chan struct{})
	var watching sync.WaitGroup
	watching.Add(1)
	timer := time.AfterFunc(patience, func() {
		defer watching.Done()
		watching.Go(func() { w.awaitOutstayed(written) })
		if w.from.awaitGone() {
			w.lost()
		}
	})
	do()
	if timer.Stop() {
		return
	}
	close(written)
	w.from.SetReadDeadline(longAgo)
	watching.Wait()
	w.from.SetReadDeadline(noDeadline)
}

// awaitOutstayed gives the side that the octets are for some time after its FIN, and
// after a stall has begun. What is merely slow arrives, or an RST says that it is not
// wanted.
func (w watched) awaitOutstayed(written <-chan struct{}) {
	select {
	case <-w.to.passed:
	case <-written:
		return
	}
	for stalled := w.stalls(); ; {
		select {
		case <-time.After(grace):
		case <-written:
			return
		}
		if stalled {
			w.outstayed()
			return
		}
		stalled = w.stalls()
	}
}

// stalls tells whether a stall has struck, after which no Write returns by itself.
func (w watched) stalls() bool { return stalls(w.Conn) }

func stalls(c net.Conn) bool {
	return slices.ContainsFunc(fault.Struck(c), func(f string) bool { return strings.HasPrefix(f, "stall:") })
}

// reasonOf is the system's word in an error, without the calls that it came through.
func reasonOf(err error) error {
	for {
		var op *net.OpError
		var call *os.SyscallError
		switch {
		case errors.As(err, &op):
			err = op.Err
		case errors.As(err, &call):
			err = call.Err
		default:
			return err
		}
	}
}

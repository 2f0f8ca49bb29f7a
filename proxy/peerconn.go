package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/tcpinfo"
)

// aLongTimeAgo, as a deadline, wakes a goroutine that is blocked on a connection.
var aLongTimeAgo = time.Unix(1, 0)

// seenTime is the time limit for a client to see that its connection was accepted.
const seenTime = 250 * time.Millisecond

// A socket is a *net.TCPConn or a *net.UnixConn.
type socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// A peerConn is one of the two connections of a session, as the faults see it. Octets are
// read from the socket, and written to it as well if no fault strikes.
type peerConn struct {
	below atomic.Pointer[socket] // not connected until the session has reached its target

	session  *session // of a client
	start    time.Time
	sent     atomic.Int64  // octets that were sent through faults
	reset    atomic.Bool   // closed with RST, or about to be
	finished atomic.Bool   // a FIN was sent, or is about to be
	passed   chan struct{} // closed when the session reads no more from it
	closed   chan struct{}
	closing  sync.Once
}

func newPeerConn(s socket) *peerConn {
	c := &peerConn{start: time.Now(), passed: make(chan struct{}), closed: make(chan struct{})}
	c.below.Store(&s)
	return c
}

func (c *peerConn) socket() socket { return *c.below.Load() }

func (c *peerConn) isUnix() bool {
	_, unix := c.socket().(*net.UnixConn)
	return unix
}

// Read is for a fault that has sent its FIN and reads what still comes, until the peer has
// closed. Those octets are the session's, which passes them on meanwhile.
func (c *peerConn) Read([]byte) (int, error) {
	select {
	case <-c.passed:
	case <-c.closed:
	}
	return 0, io.EOF
}

// Write counts what a fault sends.
func (c *peerConn) Write(p []byte) (int, error) {
	n, err := c.socket().Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// SetLinger notes that an RST is to come. A unix socket has none.
func (c *peerConn) SetLinger(seconds int) error {
	if seconds == 0 {
		c.reset.Store(true)
	}
	if tcp, ok := c.socket().(*net.TCPConn); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// SetNoDelay is that of TCP. A unix socket keeps nothing back.
func (c *peerConn) SetNoDelay(noDelay bool) error {
	if tcp, ok := c.socket().(*net.TCPConn); ok {
		return tcp.SetNoDelay(noDelay)
	}
	return nil
}

// CloseWrite notes that the FIN is to come.
func (c *peerConn) CloseWrite() error {
	c.finished.Store(true)
	return c.socket().CloseWrite()
}

func (c *peerConn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		close(c.closed)
		err = c.socket().Close()
	})
	return err
}

func (c *peerConn) SyscallConn() (syscall.RawConn, error) { return c.socket().SyscallConn() }
func (c *peerConn) SetDeadline(t time.Time) error         { return c.socket().SetDeadline(t) }
func (c *peerConn) SetReadDeadline(t time.Time) error     { return c.socket().SetReadDeadline(t) }
func (c *peerConn) SetWriteDeadline(t time.Time) error    { return c.socket().SetWriteDeadline(t) }
func (c *peerConn) LocalAddr() net.Addr                   { return known(c.socket().LocalAddr()) }
func (c *peerConn) RemoteAddr() net.Addr                  { return known(c.socket().RemoteAddr()) }

// known returns an address that is not nil, also for a socket that is not connected.
func known(a net.Addr) net.Addr {
	if a == nil {
		return &net.TCPAddr{}
	}
	return a
}

// abort sends RST at once. Over a unix socket it closes.
func (c *peerConn) abort() {
	c.SetLinger(0)
	c.Close()
}

// abortAfterSending sends RST when the peer's kernel has what was sent before, which would
// be lost otherwise. Reset does just this, and waits for five seconds at most.
func (c *peerConn) abortAfterSending() { fault.Conn(c, fault.Reset(0)).Write(nil) }

// closeAfterReading sends FIN, and reads away what the peer still sends until it closes,
// for a second at most, before it closes: to close with octets unread sends RST, and that
// drops what was sent before and still waits. Close does just this. It is given the socket,
// for the Read of a peerConn ends where the session's does.
func (c *peerConn) closeAfterReading() {
	fault.Conn(c.socket(), fault.Close(0)).Write(nil)
	c.Close()
}

// awaitSeen returns when the peer has sent something, which it does after its connect has
// returned, or seenTime after accept. It looks repeatedly, because others may be reading
// meanwhile. Over a unix socket connect does not fail, and it returns at once.
func (c *peerConn) awaitSeen() {
	const look = 5 * time.Millisecond
	for end := c.start.Add(seenTime); !c.isUnix() && time.Now().Before(end); {
		info, err := tcpinfo.Read(c.socket())
		if err == nil && info.BytesReceived != nil && *info.BytesReceived > 0 || err == nil && info.State != nil && *info.State == "CLOSE" {
			return
		}
		select {
		case <-time.After(look):
		case <-c.closed:
			return
		}
	}
}

// awaitGone returns true once the kernel has no connection any more, and false when a
// deadline wakes it, when the connection is closed here, on systems that do not tell, and
// for unix sockets. No other goroutine may read meanwhile.
func (c *peerConn) awaitGone() (gone bool) {
	return c.await(func(uintptr) (reached, known bool) { return c.isGone() })
}

// leaveGrace is how long a delay on connecting lasts after the FIN of a client that has
// sent something. Tests have less.
var leaveGrace = 15 * time.Second

// awaitLeft returns true when the peer has reset the connection, or has closed it: after
// its FIN at once if it has sent nothing before, and otherwise after leaveGrace, because it
// may still wait for the reply. It returns false when stopped is closed and a deadline
// wakes it, and when awaitGone does. Nothing is read meanwhile.
func (c *peerConn) awaitLeft(stopped <-chan struct{}) (left bool) {
	waits := false // for a reply, perhaps
	left = c.await(func(fd uintptr) (reached, known bool) {
		var unread int
		if c.isUnix() {
			reached, unread, known = hasHungUp(int(fd))
			waits = unread > 0
			return reached, known
		}
		info, err := tcpinfo.Read(c.socket())
		if err != nil || info.State == nil || info.Unread == nil {
			return false, false
		}
		waits = *info.State == "CLOSE_WAIT" && *info.Unread > 0
		return *info.State == "CLOSE" || *info.State == "CLOSED" || *info.State == "CLOSE_WAIT", true
	})
	for end := time.Now().Add(leaveGrace); left && waits && time.Now().Before(end); {
		select {
		case <-time.After(100 * time.Millisecond): // an RST may follow the FIN
			gone, _ := c.isGone()
			waits = !gone
		case <-stopped:
			return false
		}
	}
	return left
}

// awaitHungUp returns true when the peer has closed a unix socket, and false when
// awaitGone does.
func (c *peerConn) awaitHungUp() bool {
	return c.await(func(fd uintptr) (reached, known bool) {
		hungUp, _, known := hasHungUp(int(fd))
		return hungUp, known
	})
}

// await asks whenever the kernel has news of the connection, until something is reached or
// cannot be known.
func (c *peerConn) await(ask func(fd uintptr) (reached, known bool)) (reached bool) {
	raw, err := c.socket().SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) (done bool) {
		var known bool
		reached, known = ask(fd)
		return reached || !known
	})
	return err == nil && reached
}

func (c *peerConn) isGone() (gone, known bool) {
	info, err := tcpinfo.Read(c.socket())
	if err != nil || info.State == nil {
		return false, false
	}
	return *info.State == "CLOSE" || *info.State == "CLOSED", true
}

// wasReset reports whether the peer has reset the connection, or keepalive has given it
// up. After a FIN from here that cannot be distinguished from the peer's FIN: of a
// connection in TIME_WAIT the socket knows as little as of one that was reset.
func (c *peerConn) wasReset() bool {
	gone, _ := c.isGone()
	return gone && !c.finished.Load()
}

// reasonOf returns the error of the system in an error, without the calls that it came
// through.
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

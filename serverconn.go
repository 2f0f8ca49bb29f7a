package bothends

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"
)

// How long a server that has sent its reply and its FIN waits for the peer's.
// Closing at once would be answered with RST by this end's own kernel as soon as
// the peer's surplus octets are unread or still to come, and an RST can destroy
// the reply on its way (RFC 9293, section 3.10.4; RFC 1122, section 4.2.2.13).
const lingerTime = time.Second

// A serverConn is one accepted connection, and the state of its goroutine.
type serverConn struct {
	server   *Server
	conn     net.Conn
	trace    *Trace
	deadline time.Time // of the exchange under way; zero for none
	request  []byte    // its buffer, used again by the next exchange
	finSent  bool

	between bool // waiting for another exchange to begin; guarded by server.mu
}

func (s *Server) serveConn(conn net.Conn) {
	c := &serverConn{server: s, conn: conn, trace: new(Trace)}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()

	// Deferred, because a Reply may end its goroutine.
	err := errGoexit
	defer func() {
		if err == errGoexit {
			err = c.failed("reply", err)
		}
		tell(c.trace.Closing, conn)
		closeConn(conn, err)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		tell(c.trace.Done, err)
	}()
	err = c.run()
}

// errGoexit is the error of an exchange while it has no other.
var errGoexit = errors.New("the goroutine has ended (runtime.Goexit)")

// run makes one exchange, or as many as the peer wants on a persistent connection.
func (c *serverConn) run() error {
	size := orDefault(c.server.MessageSize, DefaultMessageSize)
	persistent := c.server.Persistent && size > 0
	begun := c.begin(false)
	c.accepted()
	if !begun {
		return c.failed("receive", &ShortError{"read", 0, max(0, size), ErrServerClosed})
	}
	if err := c.handshake(); err != nil {
		return c.failed("secure", err)
	}
	for next := false; ; next = true {
		if next && !c.begin(true) {
			c.linger(c.conn)
			return nil
		}
		if err := c.receive(max(0, size)); err != nil {
			if next && len(c.request) == 0 && (isEOF(err) || c.server.isClosing()) {
				return nil
			}
			return c.failed("receive", err)
		}
		if err := c.answer(persistent); err != nil {
			return err
		}
		if !persistent {
			c.linger(c.conn)
			return nil
		}
	}
}

// accepted calls TraceConn and the first hook. The deadline has been set before: both
// may read from the connection, and so may a wrapper that is asked for its addresses.
func (c *serverConn) accepted() {
	if c.server.TraceConn != nil {
		if t := c.server.TraceConn(c.conn); t != nil {
			c.trace = t
		}
	}
	tell(c.trace.Accepted, Connection{Local: c.conn.LocalAddr(), Peer: c.conn.RemoteAddr()})
}

// begin starts an exchange: it sets its deadline, and whether Shutdown may end the
// connection instead, because it is between two exchanges. It reports whether there
// is to be an exchange at all. If not, the deadline is in the past after Close.
func (c *serverConn) begin(between bool) bool {
	c.deadline = time.Time{}
	if timeout := orDefault(c.server.Timeout, DefaultTimeout); timeout > 0 {
		c.deadline = time.Now().Add(timeout)
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.server.base.Err() != nil {
		c.conn.SetDeadline(longAgo)
		return false
	}
	if between && c.server.isClosing() {
		return false
	}
	c.between = between
	c.conn.SetDeadline(c.deadline)
	return true
}

// begun ends the time between two exchanges: the first octets are here. Shutdown
// may have moved the deadline in the meantime.
func (c *serverConn) begun() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.between = false
	if c.server.base.Err() == nil {
		c.conn.SetDeadline(c.deadline)
	}
}

func (c *serverConn) handshake() error {
	conn := c.conn
	for {
		switch wrapped := conn.(type) {
		case *tls.Conn:
			err := handshake(c.server.base, c.trace, wrapped)
			if err != nil && Classify(c.failed("secure", err)) == TLS {
				c.linger(wrapped.NetConn()) // so that the alert arrives
			}
			return err
		case interface{ NetConn() net.Conn }:
			conn = wrapped.NetConn()
		default:
			return nil
		}
	}
}

func (c *serverConn) receive(size int) (err error) {
	hook := c.trace.Received
	if c.between {
		hook = func(t Transfer) {
			if c.between && t.N > 0 {
				c.begun()
			}
			tell(c.trace.Received, t)
		}
	}
	c.request, err = receive(c.conn, c.request[:0], size, hook)
	return err
}

func (c *serverConn) answer(persistent bool) error {
	reply, err := c.reply()
	if err != nil {
		return c.failed("reply", err)
	}
	hook := c.trace.Sent
	if !persistent {
		// This end closes first: the FIN goes with the reply, before anybody is
		// told of it.
		cork(c.conn)
		hook = func(t Transfer) {
			if t.Whole() {
				c.fin(c.conn)
			}
			tell(c.trace.Sent, t)
		}
	}
	if err := send(c.conn, reply, hook); err != nil {
		return c.failed("send", err)
	}
	tell(c.trace.Exchanged, Exchange{c.request, reply})
	return nil
}

func (c *serverConn) reply() (reply []byte, err error) {
	if c.server.Reply == nil {
		return []byte(DefaultReply), nil
	}
	ctx := c.server.base
	if !c.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, c.deadline)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Reply: %v", p)
			c.server.log().Error("Reply panicked", "peer", c.conn.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return c.server.Reply(ctx, c.request)
}

// linger closes this end's half of the connection, and waits a little for the
// peer to close its own. What still arrives belongs to no message.
func (c *serverConn) linger(conn net.Conn) {
	if !c.fin(conn) || !c.waitUntil(time.Now().Add(lingerTime)) {
		return
	}
	var surplus [512]byte
	for err := error(nil); err == nil; {
		start := now(c.trace.Received)
		var n int
		n, err = conn.Read(surplus[:])
		tell(c.trace.Received, Transfer{Start: start, End: now(c.trace.Received), Asked: len(surplus), N: n, Err: err})
	}
}

// fin closes this end's half, once.
func (c *serverConn) fin(conn net.Conn) bool {
	if !c.finSent {
		c.finSent = closeWrite(conn)
	}
	return c.finSent
}

// waitUntil sets the deadline for reading, unless Close has already.
func (c *serverConn) waitUntil(t time.Time) bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.server.base.Err() == nil && c.conn.SetReadDeadline(t) == nil
}

func (c *serverConn) failed(op string, err error) error {
	return failedIn(c.server.base, op, c.conn, err)
}

package bothends

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"github.com/bothends/bothends/internal/tcpconn"
)

// lingerTime is the maximum time that a server waits for the peer's FIN after it has
// sent its reply and FIN. If the server closed at once and the peer's octets were unread
// or still arrived, the kernel would send RST. An RST can destroy a reply that the peer
// has not read (RFC 9293, section 3.10.4; RFC 1122, section 4.2.2.13).
const lingerTime = time.Second

// A serverConn is one accepted connection, and the state of its goroutine.
type serverConn struct {
	server   *Server
	conn     net.Conn
	trace    *Trace
	deadline time.Time // of the current exchange, zero means none
	request  []byte    // reused by the next exchange
	secured  *tls.Conn // nil without TLS
	finSent  bool
	clock    clock
	moved    moved

	between bool // waiting for the next exchange; guarded by server.mu
}

func (s *Server) serveConn(conn net.Conn) {
	c := &serverConn{server: s, conn: conn, trace: new(Trace), clock: newClock()}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.stats.Accepted++
	s.stats.Open++
	s.mu.Unlock()

	// Deferred, because Reply may call runtime.Goexit.
	err := errGoexit
	defer func() {
		if err == errGoexit {
			err = c.failed("reply", err)
		}
		tell(c.trace.Closing, conn)
		closeConn(conn, err)
		c.ended(Classify(err))
		tell(c.trace.Done, err)
	}()
	err = c.run()
}

// ended counts the connection. If the outcome is not OK, it also counts the exchange that
// failed.
func (c *serverConn) ended(outcome Outcome) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.stats.Open--
	s.stats.Ended[outcome]++
	if outcome != OK {
		s.stats.Exchanges[outcome]++
	}
	c.moved.addTo(&s.stats)
}

// errGoexit is the initial error of an exchange. It remains if Reply calls runtime.Goexit.
var errGoexit = errors.New("the goroutine has ended (runtime.Goexit)")

// run makes one exchange, or any number of exchanges on a persistent connection.
func (c *serverConn) run() error {
	size := orDefault(c.server.MessageSize, DefaultMessageSize)
	persistent := c.server.Persistent && size > 0
	begun := c.begin(false)
	c.accepted()
	if !begun {
		return c.failed("receive", &ShortError{"read", 0, max(0, size), ErrServerClosed})
	}
	if err := c.admit(); err != nil {
		return c.failed("admit", err)
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
			if next && len(c.request) == 0 && (isEOF(err) || c.server.loop.IsStopping()) {
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

// accepted calls TraceConn and the hook Accepted. The deadline must already be set,
// because both, and the address methods of a wrapper, may read from the connection.
func (c *serverConn) accepted() {
	if c.server.TraceConn != nil {
		if t := c.server.TraceConn(c.conn); t != nil {
			c.trace = t
		}
	}
	c.clock.accepted()
	tell(c.trace.Accepted, Connection{Local: c.conn.LocalAddr(), Peer: c.conn.RemoteAddr()})
}

// admit returns nil if the connection is admitted.
func (c *serverConn) admit() error {
	if c.server.Admit == nil {
		return nil
	}
	err := c.server.Admit(c.conn)
	if err != nil && Classify(err) == Canceled && !isCanceled(err) {
		err = fmt.Errorf("%w: %w", ErrDenied, err) // an error that Classify does not know
	}
	return err
}

// begin starts an exchange and sets its deadline. If between is true, the connection is
// between two exchanges, and Shutdown may close it. begin reports whether the server
// still allows an exchange. After Close, it sets a deadline in the past.
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
	if between && c.server.loop.IsStopping() {
		return false
	}
	c.between = between
	c.conn.SetDeadline(c.deadline)
	return true
}

// begun is called when the first octets of an exchange have arrived on a connection that
// was between two exchanges. It sets the deadline again, because Shutdown may have
// changed it.
func (c *serverConn) begun() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.between = false
	if c.server.base.Err() == nil {
		c.conn.SetDeadline(c.deadline)
	}
}

func (c *serverConn) handshake() error {
	var secured bool
	if c.secured, secured = tcpconn.Find[*tls.Conn](c.conn); !secured {
		return nil
	}
	err := handshake(c.server.base, c.secured, func(h Handshake) {
		c.clock.end("secure")
		tell(c.trace.Secured, h)
	})
	if err != nil && Classify(c.failed("secure", err)) == TLS {
		c.linger(c.secured.NetConn()) // so that the peer receives the alert
	}
	return err
}

func (c *serverConn) receive(size int) (err error) {
	var hook func(Transfer)
	if c.between || c.trace.Received != nil || c.trace.Exchanged != nil {
		hook = c.received
	}
	c.request, err = receive(counted{c}, c.request[:0], size, hook)
	return err
}

func (c *serverConn) received(t Transfer) {
	if c.between && t.N > 0 {
		c.begun()
	}
	c.clock.received(t)
	tell(c.trace.Received, t)
}

// counted reads and writes the octets of messages and counts them.
type counted struct{ *serverConn }

func (c counted) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	c.moved.in += int64(n)
	if n > 0 && n < len(p) {
		c.moved.partial++
	}
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.conn.Write(p)
	c.moved.out += int64(n)
	return n, err
}

func (c *serverConn) answer(persistent bool) error {
	reply, err := c.reply()
	if err != nil {
		return c.failed("reply", err)
	}
	var hook func(Transfer)
	if c.trace.Sent != nil || c.trace.Exchanged != nil {
		hook = c.sent
	}
	if !persistent {
		// This end closes first. It sends the FIN with the reply, before it calls a hook.
		cork(c.conn)
		hook = func(t Transfer) {
			if t.Whole() {
				c.fin(c.conn)
			}
			c.sent(t)
		}
	}
	if err := send(counted{c}, reply, hook); err != nil {
		return c.failed("send", err)
	}
	c.clock.exchanged()
	c.count()
	tell(c.trace.Exchanged, Exchange{c.request, reply, c.clock.phases})
	return nil
}

func (c *serverConn) sent(t Transfer) {
	c.clock.sent(t)
	tell(c.trace.Sent, t)
}

// count counts a completed exchange.
func (c *serverConn) count() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Exchanges[OK]++
	c.moved.addTo(&s.stats)
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
	r := Request{Message: c.request, Peer: c.conn.RemoteAddr(), Local: c.conn.LocalAddr()}
	if c.secured != nil {
		state := c.secured.ConnectionState()
		r.TLS = &state
	}
	return c.server.Reply(ctx, &r)
}

// linger sends the FIN and reads until the peer closes, for at most lingerTime. The
// octets that it reads are not part of a message.
func (c *serverConn) linger(conn net.Conn) {
	if !c.fin(conn) || !c.waitUntil(time.Now().Add(lingerTime)) {
		return
	}
	tcpconn.Drain(surplus{c, conn})
}

// A surplus is what a connection receives after the last message.
type surplus struct {
	conn *serverConn
	from net.Conn
}

func (s surplus) Read(p []byte) (int, error) {
	trace := s.conn.trace
	start := now(trace.Received)
	n, err := s.from.Read(p)
	s.conn.moved.in += int64(n)
	tell(trace.Received, Transfer{Start: start, End: now(trace.Received), Asked: len(p), N: n, Err: err})
	return n, err
}

// fin sends the FIN if it has not been sent. It reports whether the FIN has been sent.
func (c *serverConn) fin(conn net.Conn) bool {
	if !c.finSent {
		c.finSent = tcpconn.CloseWrite(conn) == nil
	}
	return c.finSent
}

// waitUntil sets the read deadline, unless Close has been called. It reports whether the
// deadline was set.
func (c *serverConn) waitUntil(t time.Time) bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.server.base.Err() == nil && c.conn.SetReadDeadline(t) == nil
}

func (c *serverConn) failed(op string, err error) error {
	return failedIn(c.server.base, op, c.conn, err)
}

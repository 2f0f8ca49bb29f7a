package bothends

import (
	"bytes"
	"context"
	"net"
	"time"
)

// A Conn is a client's connection for one or more exchanges. It is returned by
// [Client.Connect]. Do not call its methods concurrently. To stop an exchange, cancel
// its context.
type Conn struct {
	client Client   // a copy, made by Connect
	conn   net.Conn // a *tls.Conn if there is TLS
	trace  *Trace
	clock  clock

	err    error // of the last exchange
	broken error // the error after which no further exchange is possible
	closed bool
}

// Exchange sends the request and reads the reply. An empty request is not sent.
// [Client.Timeout] is the time limit of each exchange. When Exchange returns, the
// connection has no deadline. If ctx ends, the exchange stops and the error wraps the
// cause of ctx.
//
// The error is an *[ExchangeError] with the step that failed, or a *[MismatchError].
// With a MismatchError, the reply is returned as well. [Classify] returns the Outcome of
// the error. After an ExchangeError the connection cannot be used again, because the
// rest of the reply may still arrive. Exchange then returns an error that wraps
// [net.ErrClosed].
func (c *Conn) Exchange(ctx context.Context, request []byte) (reply []byte, err error) {
	if c.broken != nil || c.closed {
		return nil, &ExchangeError{"send", peerOf(c.conn), net.ErrClosed}
	}
	var deadline time.Time
	if timeout := orDefault(c.client.Timeout, DefaultTimeout); timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	c.conn.SetDeadline(deadline)
	reply, err = c.exchange(ctx, request)
	c.conn.SetDeadline(time.Time{})
	return reply, err
}

// exchange is Exchange without the time limit. When it returns, the deadline may be in
// the past.
func (c *Conn) exchange(ctx context.Context, request []byte) (reply []byte, err error) {
	defer wakeAtEnd(ctx, c.conn)()
	reply, err = c.talk(ctx, request)
	c.broken = err
	if want := c.client.Expect; err == nil && want != nil && !bytes.Equal(reply, want) {
		err = &MismatchError{Got: reply, Want: want}
	}
	c.err = err
	return reply, err
}

func (c *Conn) talk(ctx context.Context, request []byte) ([]byte, error) {
	var sent, received func(Transfer)
	if c.trace.Sent != nil || c.trace.Exchanged != nil {
		sent = c.sent
	}
	if c.trace.Received != nil || c.trace.Exchanged != nil {
		received = c.received
	}
	if err := send(c.conn, request, sent); err != nil {
		return nil, failedIn(ctx, "send", c.conn, err)
	}
	reply, err := receive(c.conn, nil, max(0, orDefault(c.client.ReplySize, DefaultMessageSize)), received)
	if err != nil {
		return nil, failedIn(ctx, "receive", c.conn, err)
	}
	c.clock.exchanged()
	tell(c.trace.Exchanged, Exchange{request, reply, c.clock.phases})
	return reply, nil
}

func (c *Conn) sent(t Transfer) {
	c.clock.sent(t)
	tell(c.trace.Sent, t)
}

func (c *Conn) received(t Transfer) {
	c.clock.received(t)
	tell(c.trace.Received, t)
}

// NetConn returns the underlying connection. It is a *[tls.Conn] if the Client has TLS.
// Do not read from it, write to it, or set its deadlines during an exchange.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Close closes the connection and calls the Trace's Done with the error of the last
// exchange, or nil. A second Close has no effect. It always returns nil.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	tell(c.trace.Closing, c.conn)
	closeConn(c.conn, c.broken)
	tell(c.trace.Done, c.err)
	return nil
}

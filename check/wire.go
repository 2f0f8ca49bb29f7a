package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/bothends/bothends"
)

// The connections of a Server's cases.

// open connects. The time limit for everything on the connection is Limit.
func (s *suite) open(ctx context.Context) (net.Conn, error) { return s.openNarrow(ctx, 0) }

// openNarrow connects with a receive buffer of about that many octets, or the smallest
// possible one, so that the peer soon has to wait. If octets is 0, the buffer has its
// normal size.
func (s *suite) openNarrow(ctx context.Context, octets int) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	conn, err := s.dial(limited, octets)
	if err != nil {
		return nil, &stepError{"connect", err}
	}
	conn.SetDeadline(time.Now().Add(s.Limit))
	if secured := tlsConn(conn); secured != nil { // so that it is not made by the first Write
		if err := secured.HandshakeContext(limited); err != nil {
			conn.Close()
			return nil, &stepError{"TLS handshake", err}
		}
	}
	return &stoppable{conn, context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })}, nil
}

// dial connects, by Dial if it is set. Without Dial, the receive buffer is set before the
// connection is made, so that the peer is never told of a larger window.
func (s *suite) dial(ctx context.Context, narrow int) (net.Conn, error) {
	if s.Dial == nil {
		dialer := net.Dialer{KeepAlive: -1}
		if narrow > 0 {
			dialer.Control = receiveBuffer(narrow)
		}
		return dialer.DialContext(ctx, s.Network, s.Addr)
	}
	conn, err := s.Dial(ctx, s.Network, s.Addr)
	if err != nil {
		return nil, err
	}
	if buffer, ok := lowest(conn).(interface{ SetReadBuffer(int) error }); ok && narrow > 0 {
		buffer.SetReadBuffer(narrow)
	}
	return conn, nil
}

// stoppable is a connection whose calls end when a context ends.
type stoppable struct {
	net.Conn
	stop func() bool
}

func (c *stoppable) NetConn() net.Conn { return c.Conn }

func (c *stoppable) Close() error {
	c.stop()
	return c.Conn.Close()
}

// reply reads the reply. The error says what is wrong with it.
func (s *suite) reply(conn net.Conn) error {
	p := make([]byte, s.ReplySize)
	if err := bothends.ReadMessage(conn, p); err != nil {
		return err
	}
	if s.Expect != nil && !bytes.Equal(p, s.Expect) {
		return &bothends.MismatchError{Got: p, Want: s.Expect}
	}
	return nil
}

// pieces sends the request cut at the places, with a pause before each piece except the
// first, and reads the reply.
func (s *suite) pieces(ctx context.Context, pause time.Duration, cuts ...int) error {
	conn, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	done := 0
	for _, end := range append(cuts, len(s.Request)) {
		if done > 0 {
			if err := wait(ctx, pause); err != nil {
				return err
			}
		}
		if end == len(s.Request) && done > 0 {
			if err := s.early(ctx, conn, done); err != nil {
				return err
			}
		}
		if _, err := conn.Write(s.Request[done:end]); err != nil {
			return afterOctets(done, err)
		}
		done = end
	}
	return s.reply(conn)
}

// early returns an error if the server has answered, or closed the connection, before the
// last piece was sent. A timeout does not end a TLS connection for reading.
func (s *suite) early(ctx context.Context, conn net.Conn, sent int) error {
	deadline := time.Now().Add(s.Limit)
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	switch {
	case n > 0:
		return fmt.Errorf("the server answered after %d of %d octets", sent, len(s.Request))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &timeout) && timeout.Timeout():
		return conn.SetReadDeadline(deadline)
	}
	return afterOctets(sent, err)
}

func afterOctets(n int, err error) error {
	return &stepError{"after " + octets(n) + " of the request", err}
}

// octets returns "1 octet" or "2 octets".
func octets(n int) string {
	if n == 1 {
		return "1 octet"
	}
	return fmt.Sprintf("%d octets", n)
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// An unsupportedError is the reason why a case cannot be run on a kind of connection.
type unsupportedError string

func (e unsupportedError) Error() string { return string(e) }

// abandon sends so many octets of the request, and then RST.
func (s *suite) abandon(ctx context.Context, octets int) error {
	conn, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(s.Request[:octets])
	return errors.Join(err, reset(conn))
}

// reset closes the connection with RST, below TLS: close_notify is not sent.
func reset(conn net.Conn) error {
	switch below := lowest(conn).(type) {
	case interface{ SetLinger(int) error }:
		if err := below.SetLinger(0); err != nil {
			return err
		}
		return below.(net.Conn).Close()
	case interface{ Reset() error }:
		return below.Reset()
	}
	return unsupportedError(fmt.Sprintf("a connection of the network %q has no RST", networkOf(conn)))
}

// finish sends FIN after all that was written. Over TLS, close_notify comes before it.
func finish(conn net.Conn) error {
	if secured := tlsConn(conn); secured != nil {
		if err := secured.CloseWrite(); err != nil {
			return err
		}
	}
	return vanish(conn)
}

// vanish sends FIN below TLS, without close_notify, as the kernel does for a program that
// has ended.
func vanish(conn net.Conn) error {
	if half, ok := lowest(conn).(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return unsupportedError(fmt.Sprintf("a connection of the network %q cannot send FIN and still receive", networkOf(conn)))
}

func networkOf(conn net.Conn) string {
	if addr := conn.RemoteAddr(); addr != nil {
		return addr.Network()
	}
	return "unknown"
}

// lowest returns the connection below all that have a NetConn method: for TLS, the one
// that carries it.
func lowest(conn net.Conn) net.Conn {
	for {
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = wrapped.NetConn()
	}
}

// tlsConn returns the TLS connection that conn is or wraps, and nil if there is none.
func tlsConn(conn net.Conn) *tls.Conn {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

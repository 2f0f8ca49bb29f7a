package fault

import (
	"crypto/tls"
	"errors"
	"net"
)

// What the faults do to the connection below all wrappers.

// lowest is what is below every NetConn: as a rule a *net.TCPConn.
func lowest(c net.Conn) net.Conn {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = wrapped.NetConn()
	}
}

// hasKernel tells whether c is TCP of the system's, and so keeps octets back.
func hasKernel(c net.Conn) bool {
	_, ok := lowest(c).(interface{ SetLinger(int) error })
	return ok
}

// push sends the octets that Nagle's algorithm keeps back, or a cork: to set
// TCP_NODELAY flushes even then (tcp(7)).
func push(c net.Conn) {
	if tcp, ok := lowest(c).(interface{ SetNoDelay(bool) error }); ok {
		tcp.SetNoDelay(true)
	}
}

// sendFIN ends what this end sends, through every layer: TLS says goodbye first. A
// layer that knows no half-close is passed by.
func sendFIN(c net.Conn) error {
	err := errors.ErrUnsupported
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		err = half.CloseWrite()
		if _, secured := c.(*tls.Conn); !secured {
			return err
		}
	}
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		return sendFIN(wrapped.NetConn())
	}
	return err
}

// sendRST closes with RST, below TLS, and then the layers above. What knows no reset
// is closed as usual.
func sendRST(c net.Conn) error {
	switch below := lowest(c).(type) {
	case interface{ SetLinger(int) error }:
		if err := below.SetLinger(0); err != nil {
			return err
		}
		defer Drop(c)
		return below.(net.Conn).Close()
	case interface{ Reset() error }:
		defer Drop(c)
		return below.Reset()
	}
	return c.Close()
}

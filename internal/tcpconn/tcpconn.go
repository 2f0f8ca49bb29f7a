// Package tcpconn does to a connection what net.Conn has no method for, below all that
// wraps it. A wrapper has the method NetConn() net.Conn, as *tls.Conn has.
package tcpconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// Below returns what c wraps, or nil if c is not a wrapper.
func Below(c net.Conn) net.Conn {
	if wrapper, ok := c.(interface{ NetConn() net.Conn }); ok {
		return wrapper.NetConn()
	}
	return nil
}

// Find returns the outermost layer of c that is a T, an interface or a type.
func Find[T any](c net.Conn) (found T, ok bool) {
	for ; c != nil; c = Below(c) {
		if found, ok = c.(T); ok {
			return found, true
		}
	}
	return found, false
}

// Lowest returns the innermost layer of c, usually a *net.TCPConn.
func Lowest(c net.Conn) net.Conn {
	for {
		below := Below(c)
		if below == nil {
			return c
		}
		c = below
	}
}

// HasSocket reports whether the lowest layer is a socket of the system, which has a send
// queue in the kernel.
func HasSocket(c net.Conn) bool {
	_, ok := Lowest(c).(syscall.Conn)
	return ok
}

// Push sends the octets that Nagle's algorithm or TCP_CORK keeps back: setting
// TCP_NODELAY flushes even then (tcp(7)).
func Push(c net.Conn) {
	if tcp, ok := Lowest(c).(interface{ SetNoDelay(bool) error }); ok {
		tcp.SetNoDelay(true)
	}
}

// CloseWrite sends FIN. TLS sends its close_notify first. Layers without CloseWrite are
// skipped. If no layer has it, CloseWrite returns [errors.ErrUnsupported].
func CloseWrite(c net.Conn) error {
	err := error(errors.ErrUnsupported)
	for ; c != nil; c = Below(c) {
		half, ok := c.(interface{ CloseWrite() error })
		if !ok {
			continue
		}
		err = half.CloseWrite()
		if _, secured := c.(*tls.Conn); !secured {
			break
		}
	}
	return err
}

// Abort closes c with RST, which drops what has not been sent (SO_LINGER of zero,
// socket(7)). A connection without SetLinger is closed as usual. The layers above are
// closed too.
func Abort(c net.Conn) error {
	lowest := Lowest(c)
	below, ok := lowest.(interface{ SetLinger(int) error })
	if !ok {
		return c.Close()
	}
	for layer := c; layer != lowest; layer = Below(layer) {
		if l, ok := layer.(interface{ SetLinger(int) error }); ok {
			l.SetLinger(0) // it drops what it holds
		}
	}
	if err := below.SetLinger(0); err != nil {
		return err
	}
	err := lowest.Close()
	if c != lowest {
		c.Close()
	}
	return err
}

// Drain reads until the peer has closed or the read deadline passes, and drops what it
// reads. It is the second half of a lingering close, after CloseWrite: a connection that
// is closed with unread input sends RST (RFC 1122, section 4.2.2.13), which can destroy
// octets that the peer has not read.
func Drain(r io.Reader) {
	var surplus [512]byte
	for err := error(nil); err == nil; {
		_, err = r.Read(surplus[:])
	}
}

package bothends

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// What both ends do to a connection, besides moving messages over it.

// longAgo, as a deadline, wakes whoever blocks on a connection.
var longAgo = time.Unix(1, 0)

func handshake(ctx context.Context, trace *Trace, conn *tls.Conn) error {
	start := time.Now()
	err := conn.HandshakeContext(ctx)
	tell(trace.Secured, Handshake{start, conn.ConnectionState(), err})
	return err
}

// closeConn closes a connection whose exchange ended with err. TLS says goodbye
// first, for which it allows a stuck peer five seconds: not after a failure.
func closeConn(conn net.Conn, err error) {
	if secured, ok := conn.(*tls.Conn); ok && err != nil {
		secured.NetConn().Close()
	}
	conn.Close()
}

// cork lets the end of the reply wait for the FIN, so that both leave in one
// segment: a client that has its octets before the FIN may close first. What wraps
// a TCP connection may count on its own writes going out, so then it is left alone.
func cork(conn net.Conn) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		corkTCP(tcp)
	}
}

// closeWrite sends the FIN, below TLS too.
func closeWrite(conn net.Conn) bool {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return false
	}
	if secured, ok := conn.(*tls.Conn); ok {
		return closeWrite(secured.NetConn())
	}
	return true
}

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

// wakeAtEnd wakes whatever blocks on conn when ctx ends, by a deadline in the past.
// After stop has returned, conn is not touched any more.
func wakeAtEnd(ctx context.Context, conn net.Conn) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	woken := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(woken)
		conn.SetDeadline(longAgo)
	})
	return func() {
		if !cancel() { // it has started, and may not have set the deadline yet
			<-woken
		}
	}
}

// selfConnected reports whether a TCP connection leads from a port to itself, as TCP
// allows (RFC 9293, section 3.5, simultaneous open). Then there is no server. Networks
// other than TCP may have one address for both ends.
func selfConnected(conn net.Conn) bool {
	local, ok1 := conn.LocalAddr().(*net.TCPAddr)
	peer, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	return ok1 && ok2 && local != nil && peer != nil && local.Port != 0 && local.AddrPort() == peer.AddrPort()
}

// peerOf returns the address of a connection's peer as text. A connection that is not
// the kernel's may have none.
func peerOf(conn net.Conn) string {
	if addr := conn.RemoteAddr(); addr != nil {
		return addr.String()
	}
	return "unknown address"
}

func handshake(ctx context.Context, conn *tls.Conn, hook func(Handshake)) error {
	start := time.Now()
	err := conn.HandshakeContext(ctx)
	tell(hook, Handshake{start, conn.ConnectionState(), err})
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

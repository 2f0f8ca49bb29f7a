package bothends

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// longAgo is a deadline in the past. It wakes goroutines that block on a connection.
var longAgo = time.Unix(1, 0)

// wakeAtEnd sets a deadline in the past on conn when ctx ends. This wakes goroutines that
// block on conn. After stop has returned, conn is not changed.
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

// selfConnected reports whether a TCP connection connects a port to itself, which TCP
// allows (RFC 9293, section 3.5, simultaneous open). In this case there is no server. On
// networks other than TCP, both ends may have the same address.
func selfConnected(conn net.Conn) bool {
	local, ok1 := conn.LocalAddr().(*net.TCPAddr)
	peer, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	return ok1 && ok2 && local != nil && peer != nil && local.Port != 0 && local.AddrPort() == peer.AddrPort()
}

// peerOf returns the address of a connection's peer as text. A connection without a
// socket may have no address.
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

// closeConn closes a connection whose exchange ended with err. A *tls.Conn first sends a
// close_notify alert, which may block for 5 s if the peer does not read. After a failure
// the alert is not sent.
func closeConn(conn net.Conn, err error) {
	if secured, ok := conn.(*tls.Conn); ok && err != nil {
		secured.NetConn().Close()
	}
	conn.Close()
}

// cork delays the last octets of the reply until the FIN, so that the kernel sends both
// in one segment. Otherwise a client that has the whole reply before the FIN may close
// first. A wrapper of a TCP connection, other than TLS, may depend on writes that are sent
// at once, so cork does nothing for it.
func cork(conn net.Conn) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		corkTCP(tcp)
	}
}

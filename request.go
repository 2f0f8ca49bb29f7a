package bothends

import (
	"crypto/tls"
	"net"
)

// A Request is the argument of [Server.Reply]: a complete message and the connection on
// which it arrived. It is valid until Reply returns.
type Request struct {
	Message     []byte               // Server.MessageSize octets, or empty if that is negative
	Peer, Local net.Addr             // the two ends of the connection
	TLS         *tls.ConnectionState // nil without TLS
}

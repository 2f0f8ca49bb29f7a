// Package bothends implements both ends of a fixed-length exchange over TCP and
// reports what happens at each step. If a message does not arrive completely, the
// error contains the number of octets that arrived.
//
// In an exchange, the client connects, sends a request, and reads a reply whose
// length both ends know. Then both ends close the connection. TCP is a stream of
// octets (RFC 9293, section 3.8): it may split a message at any place, delay its
// parts, or end between two of them.
//
// The zero values of [Server] and [Client] are ready to use:
//
//	var s bothends.Server // reads 16 octets, sends "Farewell, client"
//	go s.Serve(ln)
//
//	var c bothends.Client
//	reply, err := c.Exchange(ctx, "127.0.0.1:1060", []byte("Hi there, server"))
//
// Each exchange has one [Outcome] and reports its steps to a [Trace]. Transcripts,
// metrics and lessons are built on Traces. TLS, faults and limits are added by
// wrapping a [net.Listener] or a [net.Conn].
package bothends

import "time"

// The defaults of Server and Client, for fields that are 0 or nil.
const (
	DefaultMessageSize = 16                 // length of a request and of a reply in octets
	DefaultReply       = "Farewell, client" // the server's reply
	DefaultTimeout     = 10 * time.Second   // time limit for one exchange
	DefaultMaxConns    = 10_000             // maximum number of open connections of a Server
)

// The defaults of the commands. The library does not use them.
const (
	DefaultPort    = 1060               // TCP port of both ends
	DefaultRequest = "Hi there, server" // the client's request
)

// orDefault returns def if setting is 0, and setting otherwise.
func orDefault[T int | time.Duration](setting, def T) T {
	if setting == 0 {
		return def
	}
	return setting
}

// Package bothends runs both ends of a fixed-length exchange over TCP and tells
// what happened at each step.
//
// A client connects, sends one message, reads one reply of an agreed length,
// and both ends close. TCP is a stream of octets (RFC 9293, section 3.8): it may
// cut a message into any pieces, delay them, or break off between two of them.
// The package gets the message right in every case, and says how far it got
// when there is no message to be had.
//
// A [Server] and a [Client] work as they are, without a field set:
//
//	var s bothends.Server // sixteen octets in, "Farewell, client" out
//	go s.Serve(ln)
//
//	var c bothends.Client
//	reply, err := c.Exchange(ctx, "127.0.0.1:1060", []byte("Hi there, server"))
//
// Each exchange ends in one [Outcome], and reports its steps to a [Trace].
// Transcripts, metrics and lessons are listeners of that Trace. TLS, faults and
// limits wrap a [net.Listener] or a [net.Conn].
package bothends

import "time"

// What a Server and a Client use where a setting is left at its zero value.
const (
	DefaultMessageSize = 16                 // octets of a request, and of a reply
	DefaultReply       = "Farewell, client" // what the server answers
	DefaultTimeout     = 10 * time.Second   // for one whole exchange
	DefaultMaxConns    = 10_000             // connections that a Server holds open
)

// What the commands use besides; the library has no default for them.
const (
	DefaultPort    = 1060               // the port of both ends
	DefaultRequest = "Hi there, server" // what the client says
)

// orDefault reads a setting: zero means the default, negative stays (it means none).
func orDefault[T int | time.Duration](setting, def T) T {
	if setting == 0 {
		return def
	}
	return setting
}

package bothends

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A Trace is a set of hooks that are called for the events of one connection, at either
// end. A hook may be nil. A nil Trace is a Trace without hooks.
//
// The hooks of a connection are called one at a time, in the order of the events. The
// exchange waits for them, so hooks must be fast. Hooks of different connections run
// concurrently, so data that they share needs a lock. Done is called exactly once, as the
// last hook. All hooks are called by the goroutine of the exchange, except Resolved: if
// [Client.Dial] looks up names in another goroutine, Resolved is called there. Resolved is
// not called after Dial has returned.
//
//	client: Resolved, Connected, Secured, Sent..., Received..., Exchanged, Closing, Done
//	server: Accepted, Secured, Received..., Sent..., Exchanged, Received..., Closing, Done
type Trace struct {
	// Resolved is called after a name was looked up. It is not called for an IP
	// address.
	Resolved func(Resolution)
	// Connected is called on the client after connect returned, with or without an
	// error.
	Connected func(Connection)
	// Accepted is called on the server after accept returned a connection.
	Accepted func(Connection)
	// Secured is called after the TLS handshake, with or without an error.
	Secured func(Handshake)
	// Received is called after each read.
	Received func(Transfer)
	// Sent is called after each write.
	Sent func(Transfer)
	// Exchanged is called after the complete request and the complete reply have been
	// transferred. A persistent connection has any number of exchanges.
	Exchanged func(Exchange)
	// Closing is called before the connection is closed. The hook may read the state
	// of the socket, unless a wrapper, such as a fault, has already closed it. Closing
	// is not called if there was no connection.
	Closing func(net.Conn)
	// Done is called after the connection is closed, or if there was none. The error is
	// nil if the exchange succeeded. [Classify] returns its Outcome.
	Done func(error)
}

// A Resolution is the result of a name lookup.
type Resolution struct {
	Start time.Time // start of the lookup
	Name  string
	Addrs []netip.Addr // empty if Err is set
	Err   error
}

// A Connection contains the addresses of a connection, or the error of connect.
type Connection struct {
	Start time.Time // client: start of the first attempt to connect, after the lookup; server: zero
	Local net.Addr  // nil if Err is set
	Peer  net.Addr  // nil if Err is set
	Err   error     // client only
}

// A Handshake is the result of a TLS handshake.
type Handshake struct {
	Start time.Time // start of the handshake
	State tls.ConnectionState
	Err   error
}

// An Exchange contains a complete request and its complete reply. The slices are valid
// until the hook returns.
type Exchange struct {
	Request, Reply []byte
	Phases         Phases // until the last octet, without close
}

// A Transfer is one call of Read or Write on the connection. A wrapper, or the loop in
// the Write of package net, may make several system calls for it.
type Transfer struct {
	Start   time.Time // start of the call
	End     time.Time // end of the call
	Asked   int       // octets requested
	N       int       // octets transferred, may be fewer
	Message []byte    // the message so far; valid until the hook returns
	Want    int       // length of the message in octets, 0 for reads after the message while closing
	Err     error     // error of the call, io.EOF for the peer's FIN
}

// Whole reports whether this call completed the message.
func (t Transfer) Whole() bool { return t.Want > 0 && t.N > 0 && len(t.Message) == t.Want }

type traceKey struct{}

// WithTrace returns a context with which [Client.Exchange] and [Client.Connect] call the
// hooks of t. If ctx already has a Trace, its hooks are called first.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, JoinTraces(ContextTrace(ctx), t))
}

// ContextTrace returns the Trace of ctx, or nil if it has none.
func ContextTrace(ctx context.Context) *Trace {
	t, _ := ctx.Value(traceKey{}).(*Trace)
	return t
}

// JoinTraces returns a Trace that calls the hooks of all traces, in their order. It
// returns nil if all traces are nil. A hook of the result is nil if it is nil in all
// traces.
func JoinTraces(traces ...*Trace) *Trace {
	traces = slices.DeleteFunc(slices.Clone(traces), func(t *Trace) bool { return t == nil })
	switch len(traces) {
	case 0:
		return nil
	case 1:
		return traces[0]
	}
	return &Trace{
		Resolved:  join(traces, func(t *Trace) func(Resolution) { return t.Resolved }),
		Connected: join(traces, func(t *Trace) func(Connection) { return t.Connected }),
		Accepted:  join(traces, func(t *Trace) func(Connection) { return t.Accepted }),
		Secured:   join(traces, func(t *Trace) func(Handshake) { return t.Secured }),
		Received:  join(traces, func(t *Trace) func(Transfer) { return t.Received }),
		Sent:      join(traces, func(t *Trace) func(Transfer) { return t.Sent }),
		Exchanged: join(traces, func(t *Trace) func(Exchange) { return t.Exchanged }),
		Closing:   join(traces, func(t *Trace) func(net.Conn) { return t.Closing }),
		Done:      join(traces, func(t *Trace) func(error) { return t.Done }),
	}
}

func join[A any](traces []*Trace, hook func(*Trace) func(A)) func(A) {
	var hooks []func(A)
	for _, t := range traces {
		if f := hook(t); f != nil {
			hooks = append(hooks, f)
		}
	}
	if len(hooks) == 0 {
		return nil
	}
	return func(a A) {
		for _, f := range hooks {
			f(a)
		}
	}
}

// tell calls a hook that may be nil.
func tell[A any](hook func(A), a A) {
	if hook != nil {
		hook(a)
	}
}

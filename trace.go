package bothends

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A Trace is a set of hooks that are told what happens on one connection, at
// either end. A nil hook is skipped; a nil Trace is a Trace without hooks.
//
// The hooks of a connection are called one at a time, in the order in which things
// happened to it. The exchange waits for them, so a hook must be quick. Hooks of
// different connections run concurrently, so what they share needs a lock. Done is
// called exactly once, and last. All hooks are called by the goroutine that runs the
// exchange, except Resolved: if a Dial of the user's looks names up in a goroutine,
// Resolved is called there, and not after Dial has returned.
//
//	client: Resolved, Connected, Secured, Sent..., Received..., Exchanged, Closing, Done
//	server: Accepted, Secured, Received..., Sent..., Exchanged, Received..., Closing, Done
type Trace struct {
	// Resolved: a name was looked up. Not called for an address.
	Resolved func(Resolution)
	// Connected: connect returned, with or without a connection.
	Connected func(Connection)
	// Accepted: the server took the connection from the listener.
	Accepted func(Connection)
	// Secured: the TLS handshake ended, well or with an error.
	Secured func(Handshake)
	// Received: one read returned.
	Received func(Transfer)
	// Sent: one write returned.
	Sent func(Transfer)
	// Exchanged: the whole request and the whole reply have been moved. A
	// persistent connection has any number of exchanges.
	Exchanged func(Exchange)
	// Closing: the connection is about to be closed, and still open: this is the
	// time to ask the kernel about it, unless a wrapper, such as a fault, has closed
	// what is below it. Not called when there never was one.
	Closing func(net.Conn)
	// Done: the connection is closed, or there never was one. The error is nil
	// when the exchange was made, and [Classify] tells its Outcome.
	Done func(error)
}

// A Resolution is the result of looking up a name.
type Resolution struct {
	Start time.Time // when the look-up began
	Name  string
	Addrs []netip.Addr // none when Err is set
	Err   error
}

// A Connection is the two ends of a connection, or the error in place of it.
type Connection struct {
	Start time.Time // client: when connecting began, after any look-up and before the first attempt of any; server: zero
	Local net.Addr  // nil when Err is set
	Peer  net.Addr  // nil when Err is set
	Err   error     // client only
}

// A Handshake is the end of a TLS handshake.
type Handshake struct {
	Start time.Time // when the handshake began
	State tls.ConnectionState
	Err   error
}

// An Exchange is one request and its reply, both whole. The slices are valid
// during the call of the hook.
type Exchange struct {
	Request, Reply []byte
	Phases         Phases // until the last octet, so without close
}

// A Transfer is one read or write call on the connection. A wrapper below, or
// Go's own loop inside one Write, may have made several system calls of it.
type Transfer struct {
	Start   time.Time // when the call was made
	End     time.Time // when it returned
	Asked   int       // octets asked for
	N       int       // octets moved, which may be fewer
	Message []byte    // the message as far as it has come; valid during the call
	Want    int       // octets of the whole message; 0 for what is read past it while closing
	Err     error     // what the call returned, io.EOF for the peer's FIN
}

// Whole reports whether this call completed the message.
func (t Transfer) Whole() bool { return t.Want > 0 && t.N > 0 && len(t.Message) == t.Want }

type traceKey struct{}

// WithTrace returns a context under which [Client.Exchange] reports to t. A Trace
// that the context holds already is told first.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, JoinTraces(ContextTrace(ctx), t))
}

// ContextTrace returns the context's Trace, nil if it has none.
func ContextTrace(ctx context.Context) *Trace {
	t, _ := ctx.Value(traceKey{}).(*Trace)
	return t
}

// JoinTraces returns a Trace that tells each of traces, in their order. Nil ones
// are left out, and it is nil when none is left. A hook is nil in the result when
// it is nil in all of them.
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

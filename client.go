package bothends

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/errno"
)

// A Client makes exchanges, each on a connection of its own. The zero value
// expects a reply of sixteen octets within ten seconds. Its methods may be called
// from several goroutines; its fields must not be changed meanwhile.
type Client struct {
	// Dial opens a connection. The network is "tcp". If Dial is nil, the function
	// [Dial] is used, with a zero net.Dialer. The Trace's Resolved is called when a
	// net.Dialer or net.Resolver looks a name up under the context given.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// TLS, if not nil, secures the connection before the message is sent. Its
	// ServerName defaults to the host in addr.
	TLS *tls.Config

	// ReplySize is the octets of a reply. 0 means 16; negative means that no
	// reply is expected, and none read.
	ReplySize int

	// Expect, if not nil, is the only reply that is right: any other is a
	// *MismatchError. It does not change ReplySize.
	Expect []byte

	// Timeout is for one whole exchange, from looking up the name to the last
	// octet of the reply. 0 means 10 s; negative means none but ctx's own.
	Timeout time.Duration
}

// Exchange connects to addr, a host:port, sends the request, reads the reply and
// closes. An empty request is not sent at all.
//
// The error is an *[ExchangeError] with the step that failed, or a
// *[MismatchError] together with the reply; [Classify] gives its Outcome. When ctx
// ends, the exchange stops where it is, and the error wraps its cause.
func (c *Client) Exchange(ctx context.Context, addr string, request []byte) (reply []byte, err error) {
	trace := ContextTrace(ctx)
	if trace == nil {
		trace = new(Trace)
	}
	reply, err = c.exchange(ctx, trace, addr, request)
	tell(trace.Done, err)
	return reply, err
}

func (c *Client) exchange(ctx context.Context, trace *Trace, addr string, request []byte) ([]byte, error) {
	if timeout := orDefault(c.Timeout, DefaultTimeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	conn, err := c.connect(ctx, trace, addr)
	if err != nil {
		return nil, err
	}
	defer wakeAtEnd(ctx, conn)()
	secured, err := c.secure(ctx, trace, conn, addr)
	if err != nil {
		tell(trace.Closing, secured)
		conn.Close()
		return nil, failedIn(ctx, "secure", conn, err)
	}
	reply, err := c.talk(ctx, trace, secured, request)
	tell(trace.Closing, secured)
	closeConn(secured, err)
	return reply, c.expected(reply, err)
}

// ExchangeConn makes one exchange on a connection that is open, and leaves it open:
// a Server with Persistent answers any number of them on one connection. Dial is not
// used. If TLS is set, conn must be a *tls.Conn, or have a NetConn method that leads to
// one; any other connection is an error, and nothing is sent. ExchangeConn reports to
// the Trace of ctx as Exchange does, except for connecting, closing and Done.
//
// It sets the deadlines of conn, and clears them before it returns. After an error the
// connection cannot be used again, because the rest of a message may still arrive.
func (c *Client) ExchangeConn(ctx context.Context, conn net.Conn, request []byte) (reply []byte, err error) {
	trace := ContextTrace(ctx)
	if trace == nil {
		trace = new(Trace)
	}
	secured := tlsConn(conn)
	if c.TLS != nil && secured == nil {
		return nil, failedIn(ctx, "secure", conn, errors.New("Client.TLS is set, and the connection does not use TLS"))
	}
	var deadline time.Time
	if timeout := orDefault(c.Timeout, DefaultTimeout); timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	conn.SetDeadline(deadline)
	defer conn.SetDeadline(time.Time{}) // after the next line's, which may set one
	defer wakeAtEnd(ctx, conn)()
	if secured != nil { // does nothing after the first exchange
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, failedIn(ctx, "secure", conn, err)
		}
	}
	reply, err = c.talk(ctx, trace, conn, request)
	return reply, c.expected(reply, err)
}

func (c *Client) expected(reply []byte, err error) error {
	if err == nil && c.Expect != nil && !bytes.Equal(reply, c.Expect) {
		return &MismatchError{Got: reply, Want: c.Expect}
	}
	return err
}

func (c *Client) talk(ctx context.Context, trace *Trace, conn net.Conn, request []byte) ([]byte, error) {
	if err := send(conn, request, trace.Sent); err != nil {
		return nil, failedIn(ctx, "send", conn, err)
	}
	reply, err := receive(conn, nil, max(0, orDefault(c.ReplySize, DefaultMessageSize)), trace.Received)
	if err != nil {
		return nil, failedIn(ctx, "receive", conn, err)
	}
	tell(trace.Exchanged, Exchange{request, reply})
	return reply, nil
}

// connect resolves and connects. It calls the hook for the connection itself, and not
// where net calls back, because net also calls back for an attempt that has lost its
// race.
func (c *Client) connect(ctx context.Context, trace *Trace, addr string) (net.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return Dial(ctx, new(net.Dialer), network, addr)
		}
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &ExchangeError{"connect", addr, err}
	}
	r := resolving{host: host, resolved: trace.Resolved, start: time.Now()}
	conn, err := dial(r.watch(ctx), "tcp", addr)
	start := r.stop()
	if err == nil && selfConnected(conn) {
		conn.Close()
		err = os.NewSyscallError("connect", errno.Refused[0])
	}
	if err == nil {
		tell(trace.Connected, Connection{Start: start, Local: conn.LocalAddr(), Peer: conn.RemoteAddr()})
		return conn, nil
	}
	err = withCause(ctx, err)
	if is[*net.DNSError](err) {
		return nil, &ExchangeError{"resolve", host, err}
	}
	tell(trace.Connected, Connection{Start: start, Err: err})
	return nil, connectError(addr, err)
}

// connectError names the step that failed, and the address behind the name. With a
// source address, connecting includes bind.
func connectError(addr string, err error) error {
	var op *net.OpError
	var call *os.SyscallError
	found := errors.As(err, &op)
	switch {
	case errors.As(err, &call) && call.Syscall == "bind":
		for found && op.Source == nil { // a Control may have bound the socket
			found = errors.As(op.Err, &op)
		}
		if !found {
			return &ExchangeError{"bind", "the source address", err}
		}
		return &ExchangeError{"bind", op.Source.String(), err}
	case found && op.Addr != nil:
		addr = op.Addr.String()
	}
	return &ExchangeError{"connect", addr, err}
}

// resolving calls a Trace's Resolved for what Dial looks up. Dial may do that in
// several goroutines, and leave some of them behind when it returns. So the hook is
// called by one at a time, and by none after stop.
type resolving struct {
	host     string
	resolved func(Resolution)

	mu      sync.Mutex
	stopped bool
	start   time.Time // of the look-up, and then of connecting
}

// watch returns the context for Dial. An address needs no look-up.
func (r *resolving) watch(ctx context.Context) context.Context {
	if _, err := netip.ParseAddr(r.host); err == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{DNSDone: r.done})
}

func (r *resolving) done(info httptrace.DNSDoneInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	tell(r.resolved, Resolution{r.start, r.host, addrs(info.Addrs), info.Err})
	r.start = time.Now()
}

// stop ends the calls, and returns when connecting started.
func (r *resolving) stop() (start time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return r.start
}

func (c *Client) secure(ctx context.Context, trace *Trace, conn net.Conn, addr string) (net.Conn, error) {
	if c.TLS == nil {
		return conn, nil
	}
	config := c.TLS
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secured := tls.Client(conn, config)
	return secured, handshake(ctx, trace, secured)
}

func addrs(from []net.IPAddr) (to []netip.Addr) {
	for _, a := range from {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			to = append(to, ip.Unmap().WithZone(a.Zone))
		}
	}
	return to
}

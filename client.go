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
	"time"

	"github.com/bothends/bothends/internal/errno"
)

// A Client makes exchanges, each on a connection of its own. The zero value
// expects a reply of sixteen octets within ten seconds. Its methods may be called
// from several goroutines; its fields must not be changed meanwhile.
type Client struct {
	// Dial opens a connection; network is "tcp". Nil uses a net.Dialer, which
	// tries a name's addresses after one another and in parallel (RFC 8305). The
	// Trace's Resolved is called when a net.Dialer or net.Resolver looks a name up
	// under the context given.
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
	// One way out for the deadline and for cancelling: what blocks on the
	// connection is woken by a deadline in the past.
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(longAgo) })()
	secured, err := c.secure(ctx, trace, conn, addr)
	if err != nil {
		tell(trace.Closing, secured)
		conn.Close()
		return nil, &ExchangeError{"secure", conn.RemoteAddr().String(), withCause(ctx, err)}
	}
	reply, err := c.talk(ctx, trace, secured, request)
	tell(trace.Closing, secured)
	closeConn(secured, err)
	return reply, c.expected(reply, err)
}

// ExchangeConn makes one exchange on a connection that is open, and leaves it open:
// many of them on one connection is what a Server with Persistent answers. Dial and
// TLS are not used. It tells the Trace of ctx as Exchange does, but for connecting and
// closing, and for Done, which is the caller's to tell.
//
// It sets the deadlines of conn. After an error the connection cannot be used again:
// what is still to come belongs to no exchange.
func (c *Client) ExchangeConn(ctx context.Context, conn net.Conn, request []byte) (reply []byte, err error) {
	trace := ContextTrace(ctx)
	if trace == nil {
		trace = new(Trace)
	}
	var deadline time.Time
	if timeout := orDefault(c.Timeout, DefaultTimeout); timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	conn.SetDeadline(deadline)
	if ctx.Done() != nil { // its end, by its own deadline too, wakes what blocks
		defer context.AfterFunc(ctx, func() { conn.SetDeadline(longAgo) })()
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
		return nil, &ExchangeError{"send", conn.RemoteAddr().String(), withCause(ctx, err)}
	}
	reply, err := receive(conn, nil, max(0, orDefault(c.ReplySize, DefaultMessageSize)), trace.Received)
	if err != nil {
		return nil, &ExchangeError{"receive", conn.RemoteAddr().String(), withCause(ctx, err)}
	}
	tell(trace.Exchanged, Exchange{request, reply})
	return reply, nil
}

// connect resolves and connects. Its two events are told here, and not where net
// calls back, because net also calls back when an attempt has lost its race.
func (c *Client) connect(ctx context.Context, trace *Trace, addr string) (net.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &ExchangeError{"connect", addr, err}
	}
	start := time.Now()
	resolving := ctx
	if _, err := netip.ParseAddr(host); err != nil { // a name, to be looked up
		resolving = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			DNSDone: func(info httptrace.DNSDoneInfo) {
				tell(trace.Resolved, Resolution{start, host, addrs(info.Addrs), info.Err})
				start = time.Now()
			},
		})
	}
	conn, err := dial(resolving, "tcp", addr)
	if err == nil && conn.LocalAddr().String() == conn.RemoteAddr().String() {
		// TCP lets a port connect to itself (RFC 9293, section 3.5, simultaneous
		// open); then there is no server.
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
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		addr = op.Addr.String() // the address behind the name
	}
	return nil, &ExchangeError{"connect", addr, err}
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

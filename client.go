package bothends

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/tcpconn"
)

// A Client makes exchanges. The zero value is ready to use: it reads a reply of 16
// octets and has a time limit of 10 seconds. Its methods may be called from several
// goroutines concurrently. Do not change the fields during a call.
type Client struct {
	// Network is "tcp", "tcp4", "tcp6" or "unix". If empty, it is "tcp". With "unix",
	// addr is a path.
	Network string

	// Dial opens a connection on Network to addr. If Dial is set, addr may have any
	// form. If Dial is nil, the function [Dial] is used, with a zero net.Dialer. The
	// Trace's Resolved is called when a net.Dialer or net.Resolver looks up a name with
	// the context that Dial receives.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// TLS, if not nil, is used for a TLS handshake before the request is sent. If its
	// ServerName is empty, it is the host in addr.
	TLS *tls.Config

	// ReplySize is the length of a reply in octets. If 0, it is 16. If negative, there
	// is no reply and the client does not read.
	ReplySize int

	// Expect, if not nil, is the expected reply. Any other reply is a *MismatchError.
	// Expect does not change ReplySize.
	Expect []byte

	// Timeout is the time limit for one exchange, from name resolution to the last
	// octet of the reply. If 0, it is 10 seconds. If negative, only ctx limits the time.
	Timeout time.Duration
}

// Exchange connects to addr, such as host:port, sends the request, reads the reply and
// closes the connection. An empty request is not sent.
//
// The error is an *[ExchangeError] with the step that failed, or a *[MismatchError].
// With a MismatchError, the reply is returned as well. [Classify] returns the Outcome of
// the error. If ctx ends, the exchange stops and the error wraps the cause of ctx.
func (c *Client) Exchange(ctx context.Context, addr string, request []byte) (reply []byte, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	conn, err := c.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.exchange(ctx, request)
}

// Connect opens a connection to addr for any number of exchanges: it looks up the name,
// connects, and makes the TLS handshake. Timeout is the time limit for all of it. Close
// the connection after use. The Trace of ctx receives all events of the connection.
//
// The error is an *[ExchangeError] with the step that failed. In this case the Trace's
// Done has been called.
func (c *Client) Connect(ctx context.Context, addr string) (*Conn, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	conn, err := c.connect(ctx, addr)
	if err == nil {
		conn.conn.SetDeadline(time.Time{}) // the end of ctx may have set a deadline
	}
	return conn, err
}

// limit returns a context that ends after Timeout.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if timeout := orDefault(c.Timeout, DefaultTimeout); timeout > 0 {
		return context.WithTimeout(ctx, timeout)
	}
	return ctx, func() {}
}

func (c *Client) connect(ctx context.Context, addr string) (*Conn, error) {
	conn := &Conn{client: *c, trace: ContextTrace(ctx), clock: newClock()}
	if conn.trace == nil {
		conn.trace = new(Trace)
	}
	err := conn.dial(ctx, addr)
	if err == nil {
		err = conn.secure(ctx, addr)
	}
	if err != nil {
		tell(conn.trace.Done, err)
		return nil, err
	}
	return conn, nil
}

// dial looks up the name and connects. It calls the Connected hook itself and does not
// use the callback of net, because net also calls it for attempts that are not used.
func (c *Conn) dial(ctx context.Context, addr string) error {
	dial := c.client.Dial
	if dial == nil {
		dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return Dial(ctx, new(net.Dialer), network, addr)
		}
	}
	network := cmp.Or(c.client.Network, "tcp")
	host, err := hostOf(network, addr)
	if err != nil && c.client.Dial == nil {
		return &ExchangeError{"connect", addr, err}
	}
	r := resolving{host: host, resolved: c.resolved, start: time.Now()}
	conn, err := dial(r.watch(ctx), network, addr)
	start := r.stop()
	if err == nil && selfConnected(conn) {
		conn.Close()
		err = os.NewSyscallError("connect", errno.Refused[0])
	}
	if err == nil {
		c.conn = conn
		c.connected(Connection{Start: start, Local: conn.LocalAddr(), Peer: conn.RemoteAddr()})
		return nil
	}
	err = withCause(ctx, err)
	if is[*net.DNSError](err) {
		return &ExchangeError{"resolve", host, err}
	}
	c.connected(Connection{Start: start, Err: err})
	return connectError(addr, err)
}

func (c *Conn) resolved(r Resolution) {
	c.clock.end("resolve")
	tell(c.trace.Resolved, r)
}

func (c *Conn) connected(conn Connection) {
	c.clock.connected(conn)
	tell(c.trace.Connected, conn)
}

func (c *Conn) secured(h Handshake) {
	c.clock.end("secure")
	tell(c.trace.Secured, h)
}

// hostOf returns the host in addr, which may be a name to look up. It returns "" if there
// is none, as in the address of a Unix socket.
func hostOf(network, addr string) (host string, err error) {
	if strings.HasPrefix(network, "tcp") {
		host, _, err = net.SplitHostPort(addr)
	}
	return host, err
}

// connectError returns the ExchangeError of a failed Dial. It contains the IP address if
// err does, and the step "bind" if binding to the source address failed.
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

// resolving calls a Trace's Resolved when Dial looks up a name. Dial may do this in
// several goroutines, and some may continue after it returns. The hook is called by one
// goroutine at a time, and is not called after stop.
type resolving struct {
	host     string
	resolved func(Resolution)

	mu      sync.Mutex
	stopped bool
	start   time.Time // of the lookup, and then of connecting
}

// watch returns the context for Dial. If host is an IP address, there is no lookup.
func (r *resolving) watch(ctx context.Context) context.Context {
	if _, err := netip.ParseAddr(r.host); err == nil || r.host == "" {
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

// stop ends the calls and returns the time when connecting started.
func (r *resolving) stop() (start time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return r.start
}

// secure makes the TLS handshake if the client has a TLS configuration or if Dial
// returned a TLS connection.
func (c *Conn) secure(ctx context.Context, addr string) error {
	below := c.conn
	secured, _ := tcpconn.Find[*tls.Conn](below)
	if config := c.client.TLS; config != nil {
		if config.ServerName == "" {
			config = config.Clone()
			config.ServerName, _, _ = net.SplitHostPort(addr)
		}
		secured = tls.Client(below, config)
		c.conn = secured
	}
	if secured == nil {
		return nil
	}
	defer wakeAtEnd(ctx, below)()
	err := handshake(ctx, secured, c.secured)
	if err != nil {
		err = failedIn(ctx, "secure", below, err)
		tell(c.trace.Closing, c.conn)
		below.Close()
	}
	return err
}

func addrs(from []net.IPAddr) (to []netip.Addr) {
	for _, a := range from {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			to = append(to, ip.Unmap().WithZone(a.Zone))
		}
	}
	return to
}

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

// A Client makes exchanges, each on a connection of its own. The zero value
// expects a reply of sixteen octets within ten seconds. Its methods may be called
// from several goroutines; its fields must not be changed meanwhile.
type Client struct {
	// Network is "tcp", "tcp4", "tcp6" or "unix". If empty, it is "tcp". With "unix",
	// addr is a path.
	Network string

	// Dial opens a connection on Network. If Dial is nil, the function [Dial] is used,
	// with a zero net.Dialer. The Trace's Resolved is called when a net.Dialer or
	// net.Resolver looks a name up under the context given.
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

// Exchange connects to addr, as host:port, sends the request, reads the reply and
// closes. An empty request is not sent at all.
//
// The error is an *[ExchangeError] with the step that failed, or a
// *[MismatchError] together with the reply; [Classify] gives its Outcome. When ctx
// ends, the exchange stops where it is, and the error wraps its cause.
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

// Connect opens a connection to addr, for any number of exchanges: it looks up the name,
// connects, and makes the TLS handshake, all within Timeout. Close the connection after
// use. The Trace of ctx reports what happens on the connection until then.
//
// The error is an *[ExchangeError] with the step that failed. Then Done has been called.
func (c *Client) Connect(ctx context.Context, addr string) (*Conn, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	conn, err := c.connect(ctx, addr)
	if err == nil {
		conn.conn.SetDeadline(time.Time{}) // ctx may have ended at the last moment
	}
	return conn, err
}

// limit returns a context that ends when Timeout has passed.
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

// dial resolves and connects. It calls the hook for the connection itself, and not
// where net calls back, because net also calls back for an attempt that has lost its
// race.
func (c *Conn) dial(ctx context.Context, addr string) error {
	dial := c.client.Dial
	if dial == nil {
		dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return Dial(ctx, new(net.Dialer), network, addr)
		}
	}
	network := cmp.Or(c.client.Network, "tcp")
	host, err := hostOf(network, addr)
	if err != nil {
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

// hostOf returns the host that is looked up before connecting to addr: none for a
// network such as unix.
func hostOf(network, addr string) (host string, err error) {
	if strings.HasPrefix(network, "tcp") {
		host, _, err = net.SplitHostPort(addr)
	}
	return host, err
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

// secure makes the TLS handshake, if the client has TLS, or if Dial returned a TLS
// connection.
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

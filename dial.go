package bothends

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// attemptDelay is the time between the start of an attempt to connect and the start of
// the next one (RFC 8305, section 5).
const attemptDelay = 250 * time.Millisecond

// Dial uses d to connect to addr, a host:port. If the host is a name, Dial tries all its
// addresses until one answers. The next attempt starts when one has failed, or after
// 250 ms, or earlier if ctx ends soon. In contrast, d.DialContext may use all the time
// for a first address that does not answer. If d.LocalAddr has a port, the attempts
// cannot overlap. They then divide the time until ctx ends.
//
// If all attempts fail, Dial returns the error for the first address. d.Timeout and
// d.Deadline apply to each attempt. d.FallbackDelay is not used.
func Dial(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if _, noIP := netip.ParseAddr(host); err != nil || noIP == nil || host == "" {
		return d.DialContext(ctx, network, addr)
	}
	local, _ := d.LocalAddr.(*net.TCPAddr)
	ips, err := lookUp(ctx, d.Resolver, network, host, local)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Err: err}
	}
	r := race{network: network, dial: d.DialContext, results: make(chan attempt, len(ips))}
	for _, ip := range alternating(ips) {
		r.addrs = append(r.addrs, net.JoinHostPort(ip.String(), port))
	}
	if local != nil && local.Port != 0 {
		return r.oneByOne(ctx)
	}
	return r.run(ctx)
}

// lookUp returns the addresses of a name that network and the local address allow. If err
// is nil, there is at least one.
func lookUp(ctx context.Context, r *net.Resolver, network, host string, local *net.TCPAddr) (ips []netip.Addr, err error) {
	if r == nil {
		r = net.DefaultResolver
	}
	want4, want6 := network != "tcp6", network != "tcp4"
	if local != nil && local.IP != nil && !local.IP.IsUnspecified() {
		is4 := local.IP.To4() != nil
		want4, want6 = want4 && is4, want6 && !is4
	}
	if !want6 { // no query for IPv6 addresses
		ips, err = r.LookupNetIP(ctx, "ip4", host)
	} else { // LookupNetIP loses zones
		var all []net.IPAddr
		all, err = r.LookupIPAddr(ctx, host)
		ips = addrs(all)
	}
	if err != nil {
		return nil, err
	}
	var usable []netip.Addr
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() && want4 || ip.Is6() && want6 {
			usable = append(usable, ip)
		}
	}
	if len(usable) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return usable, nil
}

// alternating returns ips with IPv4 and IPv6 addresses in alternation. The order within
// each family does not change.
func alternating(ips []netip.Addr) []netip.Addr {
	var first, second, mixed []netip.Addr
	for _, ip := range ips {
		if ip.Is4() == ips[0].Is4() {
			first = append(first, ip)
		} else {
			second = append(second, ip)
		}
	}
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			mixed = append(mixed, first[i])
		}
		if i < len(second) {
			mixed = append(mixed, second[i])
		}
	}
	return mixed
}

// A race is a set of concurrent attempts to connect to one of several addresses.
type race struct {
	network string
	addrs   []string
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)

	started, ended int
	results        chan attempt
}

// An attempt is the result of one attempt to connect.
type attempt struct {
	number int
	conn   net.Conn
	err    error
}

func (r *race) run(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.finish() // after cancel
	defer cancel()
	delay := r.delay(ctx)
	next := time.NewTimer(delay)
	defer next.Stop()
	var first error
	for r.start(ctx); r.ended < r.started; {
		select {
		case <-next.C:
		case a := <-r.results:
			r.ended++
			if a.err == nil {
				return a.conn, nil
			}
			if a.number == 0 {
				first = a.err
			}
		}
		r.start(ctx)
		next.Reset(delay)
	}
	return nil, first
}

// delay returns the time between two attempts. It is short enough that all of them can
// start before ctx ends.
func (r *race) delay(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(attemptDelay, time.Until(deadline)/time.Duration(len(r.addrs)+1))
	}
	return attemptDelay
}

// start starts the next attempt if there is one.
func (r *race) start(ctx context.Context) {
	number := r.started
	if number == len(r.addrs) {
		return
	}
	r.started++
	go func() {
		conn, err := r.dial(ctx, r.network, r.addrs[number])
		r.results <- attempt{number, conn, err}
	}()
}

// finish waits for the other attempts and closes their connections.
func (r *race) finish() {
	for ; r.ended < r.started; r.ended++ {
		if a := <-r.results; a.conn != nil {
			a.conn.Close()
		}
	}
}

// oneByOne makes the attempts sequentially.
func (r *race) oneByOne(ctx context.Context) (conn net.Conn, first error) {
	for i, addr := range r.addrs {
		limited, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			limited, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(r.addrs)-i))
		}
		conn, err := r.dial(limited, r.network, addr)
		cancel()
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

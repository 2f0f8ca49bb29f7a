package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/bothends/bothends/internal/errno"
)

// mostSources bounds a range of addresses.
const mostSources = 1 << 16

// A sourceFlag is the addresses, and the ports, to connect from, taken in turn.
type sourceFlag struct {
	shown     string
	addrs     []netip.Addr
	low, high uint16 // 0 leaves the port to the kernel
	next      *atomic.Uint64
}

func (f *sourceFlag) String() string { return f.shown }
func (f *sourceFlag) Type() string   { return "RANGE" }

// Set reads ADDR, ADDR-ADDR, and after either, or alone, :PORT or :PORT-PORT. An IPv6
// address with a port stands in brackets.
func (f *sourceFlag) Set(s string) error {
	hosts, ports := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && (strings.Count(s, ":") == 1 || i > 0 && s[i-1] == ']') {
		hosts, ports = s[:i], s[i+1:]
	}
	read := sourceFlag{shown: s, next: new(atomic.Uint64)}
	if hosts != "" {
		addrs, err := addressRange(hosts)
		if err != nil {
			return err
		}
		read.addrs = addrs
	}
	if ports != "" {
		low, high, ranged := strings.Cut(ports, "-")
		if !ranged {
			high = low
		}
		var err1, err2 error
		read.low, err1 = sourcePort(low)
		read.high, err2 = sourcePort(high)
		if err := cmp.Or(err1, err2); err != nil {
			return err
		}
	}
	if read.low > read.high || hosts == "" && ports == "" {
		return errors.New("must be ADDR, ADDR-ADDR, or with ports ADDR-ADDR:PORT-PORT")
	}
	*f = read
	return nil
}

func sourcePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535", text)
	}
	return uint16(n), nil
}

func addressRange(text string) (addrs []netip.Addr, err error) {
	low, high, ranged := strings.Cut(text, "-")
	first, err := netip.ParseAddr(strings.Trim(low, "[]"))
	if err != nil {
		return nil, fmt.Errorf("%q is not an IP address", low)
	}
	last := first
	if ranged {
		if last, err = netip.ParseAddr(strings.Trim(high, "[]")); err != nil {
			return nil, fmt.Errorf("%q is not an IP address", high)
		}
	}
	for a := first; a.IsValid() && a.Compare(last) <= 0; a = a.Next() {
		if addrs = append(addrs, a); len(addrs) > mostSources {
			return nil, fmt.Errorf("%s has more than %d addresses", text, mostSources)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s ends before it starts", text)
	}
	return addrs, nil
}

// dial connects from the next address and port. A port that is in use is passed over, and
// so is an address that has no port left.
func (f *sourceFlag) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	first := f.next.Add(1) - 1
	for n := range f.tries() {
		dialer := net.Dialer{KeepAlive: -1, LocalAddr: f.at(first + n), Control: bindLate}
		conn, err = dialer.DialContext(ctx, network, addr)
		if !isUsedUp(err) || ctx.Err() != nil {
			f.next.Add(n) // the next one need not try what was passed over
			return conn, err
		}
	}
	f.next.Add(f.tries() - 1)
	return conn, err
}

// isUsedUp reports whether another port, or another address, may do. An address that is not
// this machine's is the user's mistake: it cannot be bound to.
func isUsedUp(err error) bool {
	var call *os.SyscallError
	return errno.AddrInUse.Has(err) ||
		errno.AddrNotAvail.Has(err) && errors.As(err, &call) && call.Syscall == "connect"
}

// tries returns how many addresses and ports a connection tries, each at most once.
func (f *sourceFlag) tries() uint64 {
	addrs := uint64(max(1, len(f.addrs)))
	if f.low == 0 {
		return addrs
	}
	return min(100, addrs*uint64(f.high-f.low+1))
}

// at returns the n-th address, and with it the next port once all addresses have had it.
func (f *sourceFlag) at(n uint64) *net.TCPAddr {
	local := new(net.TCPAddr)
	if len(f.addrs) > 0 {
		a := f.addrs[n%uint64(len(f.addrs))]
		local.IP, local.Zone = a.AsSlice(), a.Zone()
		n /= uint64(len(f.addrs))
	}
	if f.low != 0 {
		local.Port = int(f.low) + int(n%uint64(f.high-f.low+1))
	}
	return local
}

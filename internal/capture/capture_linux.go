package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Capture contains the packets of the TCP connections that were made with its Control.
// Open creates a Capture. Call Segments and Save after Finish.
type Capture struct {
	source       netip.AddrPort
	snapLen      int
	socketBuffer int
	watch        *os.File // makes the kernel add timestamps to packets

	mu       sync.Mutex
	finished bool
	taps     []*tap
	buffer   []byte // for reading packets
	room     int    // number of octets that may still be held
	lost     LostError
	failures []error
}

const (
	memory = 64 << 20
	// mostSnapLen is the limit of Wireshark, which rejects a file with a longer packet.
	// Such packets exist only if the limits of Linux were raised.
	mostSnapLen = 256 << 10
)

// Open checks that this process may capture packets. If not, the error is an
// ErrNotPermitted or an ErrNotAvailable. The caller must call Finish.
func Open(options Options) (*Capture, error) {
	// The kernel adds timestamps only while a socket requests them, and it starts with a
	// delay. This socket, which receives no packets, makes it start now.
	watch, err := packetSocket()
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: run it as root, or once: setcap cap_net_raw+ep %s (%w)", ErrNotPermitted, program(), err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return nil, fmt.Errorf("%w (%w)", ErrNotAvailable, err)
	case err != nil:
		return nil, fmt.Errorf("capture packets: %w", err)
	}
	snapLen := options.SnapLen
	if snapLen <= 0 || snapLen > mostSnapLen {
		snapLen = mostSnapLen
	}
	return &Capture{
		source:       options.Source,
		snapLen:      snapLen,
		socketBuffer: socketBuffer,
		watch:        watch,
		buffer:       make([]byte, max(snapLen, headersMax)),
		room:         memory,
	}, nil
}

func program() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return os.Args[0]
}

// Control is the Control of a net.Dialer. The connection that the dialer makes is
// captured. It binds the socket, so that its port is known before the first packet.
// Control returns an error only if Source cannot be bound. If the connection cannot be
// captured, Finish returns the error.
func (c *Capture) Control(network, address string, conn syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var local netip.AddrPort
	err := control(conn, func(fd int) (err error) {
		local, err = bind(fd, c.source)
		return err
	})
	if err != nil && c.source != (netip.AddrPort{}) {
		return err
	}
	peer, parseErr := netip.ParseAddrPort(address)
	if err = cmp.Or(err, parseErr); err == nil {
		peer = netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
		err = c.tap(local, peer)
	}
	if err != nil {
		c.fail(address, err)
	}
	return nil
}

// tap starts to capture a connection.
func (c *Capture) tap(local, peer netip.AddrPort) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished { // an attempt that is not used and will be canceled
		return nil
	}
	t, err := newTap(c, local, peer)
	if err != nil {
		return err
	}
	c.taps = append(c.taps, t)
	return nil
}

// fail stores the error of a connection that was not captured.
func (c *Capture) fail(connection any, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, fmt.Errorf("capture the connection to %v: %w", connection, err))
}

// bind binds the socket, unless it is bound, and returns its local address.
func bind(fd int, source netip.AddrPort) (netip.AddrPort, error) {
	unbound, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	if local := addrPort(unbound); local.Port() != 0 {
		return local, nil
	}
	address, err := sockaddr(unbound, source)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if err := unix.Bind(fd, address); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	return addrPort(bound), nil
}

// sockaddr returns the source as an address of the socket's family.
func sockaddr(family unix.Sockaddr, source netip.AddrPort) (unix.Sockaddr, error) {
	address := source.Addr().Unmap()
	switch family.(type) {
	case *unix.SockaddrInet4:
		sa := &unix.SockaddrInet4{Port: int(source.Port())}
		if address.IsValid() {
			if !address.Is4() {
				return nil, &net.AddrError{Err: "an IPv6 source has no way to an IPv4 address", Addr: address.String()}
			}
			sa.Addr = address.As4()
		}
		return sa, nil
	case *unix.SockaddrInet6:
		sa := &unix.SockaddrInet6{Port: int(source.Port())}
		if address.IsValid() {
			if !address.Is6() {
				return nil, &net.AddrError{Err: "an IPv4 source has no way to an IPv6 address", Addr: address.String()}
			}
			sa.Addr, sa.ZoneId = address.As16(), zone(address.Zone())
		}
		return sa, nil
	}
	return nil, errors.New("a socket that is not of IPv4 or IPv6")
}

// zone returns the index of an interface from its name or number.
func zone(name string) uint32 {
	if i, err := net.InterfaceByName(name); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(name, 10, 32) // without a zone, or with an unknown one, bind returns the error
	return uint32(n)
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// Finish waits until the packets show that the connections have ended, or until ctx
// ends. A connection has ended after the acknowledgments of both FINs, or after RST.
// Then it stops capturing. The error is nil if the capture is complete. If packets are
// missing, it is a LostError. Segments and Save work in either case.
func (c *Capture) Finish(ctx context.Context) error {
	c.mu.Lock()
	taps := c.taps
	if c.finished {
		taps = nil
	}
	c.finished = true
	c.mu.Unlock()
	for _, t := range taps {
		if t.catchUp() {
			select {
			case <-t.ended:
			case <-ctx.Done():
			}
		}
	}
	for _, t := range taps {
		t.close()
	}
	c.watch.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buffer = nil
	errs := slices.Clone(c.failures)
	if c.lost != (LostError{}) {
		errs = append(errs, &c.lost)
	}
	return errors.Join(errs...)
}

// Segments returns the segments in the order in which the kernel saw them.
func (c *Capture) Segments() []Segment {
	var segments []Segment
	for _, p := range c.packets() {
		segments = append(segments, p.Segment)
	}
	return segments
}

// packets returns the packets of all connections. Within a connection they are in the
// kernel's order, and by time between them.
func (c *Capture) packets() []packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []packet
	for _, t := range c.taps {
		packets := distinct(t.packets)
		settle(packets)
		all = append(all, packets...)
	}
	slices.SortStableFunc(all, func(a, b packet) int { return a.At.Compare(b.At) })
	return all
}

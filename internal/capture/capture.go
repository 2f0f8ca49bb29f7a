// Package capture records the packets of the TCP connections that this process
// makes, and no others, for Wireshark, tshark and a ladder diagram.
//
// It sees TCP directly on IPv4 or IPv6, as this system sends and receives it: not
// what is in a tunnel, nor behind IPv6 extension headers (other than the one that
// Linux puts before a segment of more than 64 KiB), nor a connection whose peer
// this system itself gives another address or port (NAT).
package capture

import (
	"errors"
	"fmt"
	"net/netip"
)

// Options say what to capture. The zero value is whole packets, from any source.
type Options struct {
	// SnapLen is how many octets of each packet to keep in the file; zero or less
	// is 256 KiB, the most that Wireshark reads. Segments tell their whole length
	// whatever it is.
	SnapLen int
	// Source is the address and the port to connect from, either of which may be
	// zero. It is here because Control has to bind the socket: the LocalAddr of a
	// net.Dialer must be nil with it.
	Source netip.AddrPort
}

var (
	// ErrNotPermitted says that this process lacks the right to see packets.
	ErrNotPermitted = errors.New("capturing packets needs CAP_NET_RAW")
	// ErrNotAvailable says that this system has no way that we know.
	ErrNotAvailable = errors.New("packet capture is not available on this system")
)

// A LostError says that packets of the connections are missing in the capture. The
// others are there.
type LostError struct {
	Kernel uint64 // dropped by the kernel, which had no room for them
	Memory uint64 // not kept: the Capture holds 64 MiB and no more
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%d packets are not in the capture: %d dropped by the kernel, %d over the limit of memory",
		e.Kernel+e.Memory, e.Kernel, e.Memory)
}

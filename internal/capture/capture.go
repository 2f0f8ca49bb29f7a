// Package capture records the packets of the TCP connections that this process
// makes, for Wireshark, tshark and a ladder diagram. It records no other packets.
//
// It captures TCP directly on IPv4 or IPv6, as this system sends and receives it. It
// does not capture TCP in a tunnel, or after IPv6 extension headers (except the one that
// Linux adds to a segment of more than 64 KiB), or a connection to whose peer this
// system assigns another address or port (NAT).
package capture

import (
	"errors"
	"fmt"
	"net/netip"
)

// Options contains the options of a capture. The zero value means whole packets from any
// source.
type Options struct {
	// SnapLen is the number of octets of each packet in the file. If 0 or negative, it
	// is 256 KiB, the maximum that Wireshark reads. Segments always contain their full
	// length.
	SnapLen int
	// Source is the local address and port. Either of them may be
	// zero. It is an option because Control binds the socket. The LocalAddr of the
	// net.Dialer must be nil.
	Source netip.AddrPort
}

var (
	// ErrNotPermitted is returned if this process lacks the privilege to capture packets.
	ErrNotPermitted = errors.New("capturing packets needs CAP_NET_RAW")
	// ErrNotAvailable is returned if capturing is not implemented for this system.
	ErrNotAvailable = errors.New("packet capture is not available on this system")
)

// A LostError is returned if packets of the connections are missing in the capture. The
// other packets are in it.
type LostError struct {
	Kernel uint64 // number of packets dropped by the kernel, because its buffer was full
	Memory uint64 // number of packets not kept, because a Capture holds at most 64 MiB
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%d packets are not in the capture: %d dropped by the kernel, %d over the limit of memory",
		e.Kernel+e.Memory, e.Kernel, e.Memory)
}

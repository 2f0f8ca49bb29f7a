// Package socktable reads the kernel's table of TCP sockets. It contains more sockets than
// the programs on the machine have: also connections that wait for accept, and ends
// in TIME_WAIT.
package socktable

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
)

// ErrNotAvailable is returned if this system has no such table or does not allow reading
// it.
var ErrNotAvailable = errors.New("the kernel's table of sockets is not available")

// A Socket is a row of the kernel's table. Addresses have no zone, and an IPv4
// address is one, whatever the family of its socket.
type Socket struct {
	State  string         // as netstat names it: LISTEN, ESTABLISHED; CLOSE means only bound, which not every Linux reports
	Local  netip.AddrPort // of a socket that is bound to all addresses: 0.0.0.0 or ::
	Peer   netip.AddrPort // of a listener: port 0
	Unread uint32         // octets in the receive queue; of a listener: connections that wait for accept
	Unsent uint32         // octets not sent or not acknowledged; of a listener: the longest its queue may be
	Inode  uint32         // 0: no program has it, as in TIME_WAIT, or before accept
}

// OnPort returns the sockets whose local or remote port is port, over IPv4 and IPv6:
// listeners first, then by local port, peer and local address. The kernel reads
// its table in parts, so a socket that changes during the call may be missing
// or returned twice.
func OnPort(port uint16) ([]Socket, error) {
	if port == 0 { // every listener has it as its peer's
		return nil, nil
	}
	sockets, err := onPort(port)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(sockets, compare)
	return sockets, nil
}

func compare(a, b Socket) int {
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)),
		cmp.Compare(a.Local.Port(), b.Local.Port()),
		a.Peer.Compare(b.Peer),
		a.Local.Compare(b.Local),
	)
}

func rank(s Socket) int {
	if s.State == "LISTEN" {
		return 0
	}
	return 1
}

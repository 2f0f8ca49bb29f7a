package capture

import (
	"net/netip"
	"strings"
	"time"
)

// A Segment is one TCP segment, as this system sent or received it. One that is
// larger than the path allows is cut or was joined by the network card.
type Segment struct {
	At       time.Time // the kernel's time
	Sent     bool      // by the end that called Control; on loopback both ends are here
	Src, Dst netip.AddrPort
	Seq, Ack uint32
	Flags    Flags
	Window   uint16 // as in the header, not scaled
	Octets   int    // of data
}

// Flags are the bits of a TCP header (RFC 9293, 3.1).
type Flags uint8

const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// String returns the names of the flags, such as "SYN, ACK", with the lowest bit first.
func (f Flags) String() string {
	var names []string
	for i, name := range [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Package tcpinfo reads the kernel's data about a TCP connection.
package tcpinfo

import (
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/bothends/bothends/internal/tcpconn"
)

// ErrNotAvailable is returned if this system, or this connection, has no such data.
var ErrNotAvailable = errors.New("not available on this system")

// An Info is the kernel's view of a connection. A nil field was not returned: an older
// kernel has fewer of them, and a zero is a zero that was read.
type Info struct {
	State             *string        `json:"state,omitempty"`                // as netstat names it: ESTABLISHED, CLOSE_WAIT
	CongestionControl *string        `json:"congestion_control,omitempty"`   // cubic, bbr
	MSS               *uint32        `json:"mss,omitempty"`                  // octets in a full segment that is sent; FreeBSD has not taken off the room for TCP's options
	RTT               *time.Duration `json:"-"`                              // smoothed round-trip time (RFC 6298)
	RTTVar            *time.Duration `json:"-"`                              // its variance
	Retransmissions   *uint32        `json:"retransmissions,omitempty"`      // segments sent again, in all
	BytesAcked        *uint64        `json:"octets_acked,omitempty"`         // octets that the peer has acknowledged; Linux counts a FIN as one, and a connecting end's SYN
	BytesReceived     *uint64        `json:"octets_received,omitempty"`      // octets received in order; Linux counts a FIN as one
	DeliveryRate      *uint64        `json:"delivery_rate,omitempty"`        // octets a second, the kernel's latest estimate
	Unsent            *int           `json:"send_queue_octets,omitempty"`    // octets in the send queue: not sent, or not acknowledged
	Unread            *int           `json:"receive_queue_octets,omitempty"` // octets in the receive queue
}

// Read returns the data about conn, or the TCP connection below it (NetConn). It must be
// open.
func Read(conn net.Conn) (Info, error) {
	c, ok := tcpconn.Find[syscall.Conn](conn)
	if !ok {
		return Info{}, ErrNotAvailable
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return Info{}, err
	}
	var info Info
	if ctlErr := raw.Control(func(fd uintptr) { info, err = read(int(fd)) }); ctlErr != nil {
		err = ctlErr
	}
	return info, err
}

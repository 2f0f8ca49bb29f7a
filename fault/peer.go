package fault

import (
	"net"
	"os"
	"syscall"
	"time"

	"github.com/bothends/bothends/internal/tcpconn"
	"github.com/bothends/bothends/internal/tcpinfo"
)

const (
	firstLook = 100 * time.Millisecond // until a held Write looks for its peer
	lastLook  = time.Second            // between two looks, in the long run
	finGrace  = 15 * time.Second       // a stall lasts after the peer's FIN, and a delay after that and Close
)

// peerOf looks for the peer of a connection. err is what a Write would return, if the
// peer has reset the connection, or closed it and the connection knows that. finished
// reports whether the peer has sent FIN: it may have closed, or may still read.
func peerOf(c net.Conn) (finished bool, err error) {
	below := tcpconn.Lowest(c)
	if known, ok := below.(interface{ Peer() (bool, error) }); ok {
		return known.Peer()
	}
	if !tcpconn.HasSocket(below) {
		return false, nil
	}
	info, err := tcpinfo.Read(below)
	if err != nil || info.State == nil {
		return false, nil
	}
	switch *info.State {
	case "CLOSE", "CLOSED":
		return true, os.NewSyscallError("write", syscall.ECONNRESET)
	case "CLOSE_WAIT", "LAST_ACK", "CLOSING", "TIME_WAIT":
		return true, nil
	}
	return false, nil
}

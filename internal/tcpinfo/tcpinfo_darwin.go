package tcpinfo

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// read was written from xnu's bsd/netinet/tcp.h, tcp_connection_fill_info of
// tcp_usrreq.c and sogetoptlock of uipc_socket.c; it has been compiled for macOS, not run there.
// The octets that xnu counts are those of all segments, repeated ones too: it does
// not tell how many were acknowledged, or came in order.
func read(fd int) (Info, error) {
	t, err := unix.GetsockoptTCPConnectionInfo(fd, unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
	if err != nil {
		return Info{}, os.NewSyscallError("getsockopt TCP_CONNECTION_INFO", err)
	}
	variance, retransmissions := millis(t.Rttvar), uint32(t.Txretransmitpackets)
	info := figures{
		state:           bsdState(t.State),
		mss:             t.Maxseg,
		rtt:             millis(t.Srtt),
		rttvar:          &variance,
		retransmissions: &retransmissions,
	}.info()
	info.Unsent = queue(fd, unix.SO_NWRITE)
	info.Unread = queue(fd, unix.SO_NREAD)
	return info, nil
}

func millis(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }

func queue(fd, option int) *int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err != nil {
		return nil
	}
	return &n
}

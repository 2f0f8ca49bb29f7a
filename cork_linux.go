package bothends

import (
	"net"
	"syscall"
)

// corkTCP sets TCP_CORK: no segment that is not full leaves before the FIN, or
// 200 ms (tcp(7)).
func corkTCP(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1)
	})
}

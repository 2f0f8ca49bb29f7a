package bothends

import (
	"net"
	"syscall"
)

// corkTCP sets TCP_CORK. The kernel then sends no partial segment until the FIN, or
// until 200 ms have passed (tcp(7)).
func corkTCP(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1)
	})
}

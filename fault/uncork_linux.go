package fault

import (
	"net"
	"syscall"
)

// uncork takes TCP_CORK away, which sends what it kept (tcp(7)).
func uncork(c net.Conn) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := socket.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 0)
		})
	}
}

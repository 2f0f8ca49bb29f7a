package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// listenAgain undoes what a fault that let nobody connect did to the socket: it does
// not listen, and has SO_REUSEPORT. Nothing else of a proxy sets that.
func listenAgain(ln *net.TCPListener) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		listening, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err == nil && listening == 0 {
			unix.Listen(int(fd), 1<<16-1) // the kernel caps it at net.core.somaxconn, Go's own choice
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 0)
		}
	})
}

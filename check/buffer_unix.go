//go:build unix

package check

import "syscall"

// receiveBuffer is for a net.Dialer's Control: SO_RCVBUF before connect, so that the
// peer never learns of a larger window (socket(7), tcp(7)).
func receiveBuffer(octets int) func(network, address string, conn syscall.RawConn) error {
	return func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, max(1, octets))
		})
	}
}

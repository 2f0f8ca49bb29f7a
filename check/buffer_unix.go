//go:build unix

package check

import "syscall"

// receiveBuffer returns a function for a net.Dialer's Control. It sets SO_RCVBUF before
// connect, so that the peer is never told of a larger window (socket(7), tcp(7)).
func receiveBuffer(octets int) func(network, address string, conn syscall.RawConn) error {
	return func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, max(1, octets))
		})
	}
}

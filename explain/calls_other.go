//go:build !unix

package explain

import "net"

func sendOnce(*net.TCPConn, []byte) (n int, wouldBlock bool, err error) {
	return 0, false, ErrNotAvailable
}

func recvOnce(*net.TCPConn, []byte) (n int, wouldBlock bool, err error) {
	return 0, false, ErrNotAvailable
}

func setBacklog(net.Listener, int) error { return ErrNotAvailable }

//go:build !unix

package explain

import (
	"net"
	"syscall"
	"time"
)

func sendOnce(*net.TCPConn, []byte) (n int, wouldBlock bool, err error) {
	return 0, false, ErrNotAvailable
}

func recvOnce(*net.TCPConn, []byte) (n int, wouldBlock bool, err error) {
	return 0, false, ErrNotAvailable
}

func sendWhenRoom(*net.TCPConn, []byte) (n int, waited time.Duration, err error) {
	return 0, 0, ErrNotAvailable
}

func setReuseAddr(syscall.RawConn, bool) error { return ErrNotAvailable }

func setBacklog(net.Listener, int) error { return ErrNotAvailable }

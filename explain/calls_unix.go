//go:build unix

package explain

import (
	"net"
	"syscall"
)

// sendOnce and recvOnce make one system call on a socket that does not block (Go's
// never do): where a blocking one would wait, they return EAGAIN.

func sendOnce(conn *net.TCPConn, p []byte) (n int, wouldBlock bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	if ctlErr := raw.Write(func(fd uintptr) bool { n, err = syscall.Write(int(fd), p); return true }); ctlErr != nil {
		return 0, false, ctlErr
	}
	return result(n, err)
}

func recvOnce(conn *net.TCPConn, p []byte) (n int, wouldBlock bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	if ctlErr := raw.Read(func(fd uintptr) bool { n, err = syscall.Read(int(fd), p); return true }); ctlErr != nil {
		return 0, false, ctlErr
	}
	return result(n, err)
}

func result(n int, err error) (int, bool, error) {
	if err == syscall.EAGAIN {
		return 0, true, nil
	}
	return max(0, n), false, err
}

// setBacklog calls listen() again, which sets a new length of the queue (listen(2)).
func setBacklog(ln net.Listener, n int) error {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return ErrNotAvailable
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	if ctlErr := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), n) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

//go:build unix

package explain

import (
	"net"
	"syscall"
	"time"
)

// sendOnce and recvOnce make one system call on a nonblocking socket (Go's sockets are
// nonblocking). If a blocking call would wait, they return EAGAIN.

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

// setBacklog calls listen() again, which changes the length of the queue (listen(2)).
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

// sendWhenRoom makes one send that takes at least one octet. If the kernel has no room, it
// first waits for room, and returns how long it waited.
func sendWhenRoom(conn *net.TCPConn, p []byte) (n int, waited time.Duration, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var full time.Time
	ctlErr := raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), p)
		if err == syscall.EAGAIN && full.IsZero() {
			full = time.Now()
		}
		return err != syscall.EAGAIN
	})
	if !full.IsZero() {
		waited = time.Since(full)
	}
	if ctlErr != nil {
		return 0, waited, ctlErr
	}
	return max(0, n), waited, err
}

// setReuseAddr sets or clears SO_REUSEADDR (socket(7)). Go sets it for a listener
// before Control is called, so this call takes precedence.
func setReuseAddr(raw syscall.RawConn, on bool) (err error) {
	value := 0
	if on {
		value = 1
	}
	if ctlErr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, value)
	}); ctlErr != nil {
		return ctlErr
	}
	return err
}

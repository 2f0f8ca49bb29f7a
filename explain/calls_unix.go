//go:build unix

package explain

import (
	"net"
	"syscall"
	"time"
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

// sendWhenRoom makes one send that takes something; where the kernel has no room, it
// first waits until there is, and tells for how long.
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

// setReuseAddr turns SO_REUSEADDR on or off (socket(7)); Go turns it on for a
// listener before it binds, and this comes after.
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

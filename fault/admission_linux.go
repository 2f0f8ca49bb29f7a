package fault

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An admission decides how the kernel answers clients of a listening TCP socket. The
// socket can stop listening and start again, and keeps its descriptor, which other
// processes may share.
//
// While it does not listen, a second socket, the stand-in, is bound to the same address.
// It keeps the address in use. For the state silent it listens, with a filter that drops
// every segment. The socket itself cannot have the filter, because net.Listen makes an
// MPTCP socket, which does not accept one.
type admission struct {
	raw       syscall.RawConn
	address   unix.Sockaddr
	shut      bool
	standIn   int // a descriptor; 0 for none
	reusePort int // the socket's SO_REUSEPORT, to be restored
}

// find looks for the socket of ln.
func (a *admission) find(ln net.Listener) error {
	socket, ok := ln.(syscall.Conn)
	if _, tcp := ln.Addr().(*net.TCPAddr); !ok || !tcp {
		return errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	a.raw = raw
	return err
}

func (a *admission) set(to state) (err error) {
	ctlErr := a.raw.Control(func(fd uintptr) {
		switch to {
		case open:
			err = a.open(int(fd))
		case refused:
			err = a.refuse(int(fd))
		case silent:
			err = a.silence(int(fd))
		}
	})
	return errors.Join(ctlErr, err)
}

// open listens on the socket before the stand-in stops, so that no client is refused in
// between. The kernel caps the backlog at net.core.somaxconn, Go's own choice.
func (a *admission) open(fd int) error {
	if err := unix.Listen(fd, 1<<16-1); err != nil {
		return os.NewSyscallError("listen", err)
	}
	a.shut = false
	a.close()
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, a.reusePort)
}

// refuse leaves the stand-in bound, without listening.
func (a *admission) refuse(fd int) error {
	if a.shut {
		return os.NewSyscallError("shutdown", unix.Shutdown(a.standIn, unix.SHUT_RD))
	}
	if err := a.replace(fd); err != nil {
		return err
	}
	return a.shutOut(fd)
}

// silence starts the stand-in before the socket stops.
func (a *admission) silence(fd int) error {
	if !a.shut {
		if err := a.replace(fd); err != nil {
			return err
		}
	}
	if err := unix.Listen(a.standIn, 1); err != nil {
		if !a.shut {
			a.close()
		}
		return os.NewSyscallError("listen", err)
	}
	if a.shut {
		return nil
	}
	return a.shutOut(fd)
}

// shutOut makes the socket stop listening and resets what is in its queue. If the kernel
// has chosen the port, it frees it then, so the port is bound again.
func (a *admission) shutOut(fd int) error {
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		a.close()
		return os.NewSyscallError("shutdown", err)
	}
	a.shut = true
	if err := unix.Bind(fd, a.address); err != nil && err != unix.EINVAL { // EINVAL: still bound
		return os.NewSyscallError("bind", err)
	}
	return nil
}

// replace makes the stand-in.
func (a *admission) replace(fd int) (err error) {
	if a.address, err = unix.Getsockname(fd); err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	standIn, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if family == unix.AF_INET6 {
		if only6, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil {
			unix.SetsockoptInt(standIn, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only6)
		}
	}
	if err := a.bind(fd, standIn); err != nil {
		unix.Close(standIn)
		return err
	}
	a.standIn = standIn
	return nil
}

// bind gives the stand-in its filter, and then the address. SO_REUSEPORT allows a second
// listening socket at the address. SO_REUSEADDR allows one while connections have it, but
// other processes can then bind it too, so it is the second choice (socket(7)).
func (a *admission) bind(fd, standIn int) (err error) {
	if a.reusePort, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT); err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	dropAll := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	if err = errors.Join(
		unix.SetsockoptSockFprog(standIn, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &dropAll}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.SetsockoptInt(standIn, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
	); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err = unix.Bind(standIn, a.address); err == unix.EADDRINUSE {
		unix.SetsockoptInt(standIn, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		err = unix.Bind(standIn, a.address)
	}
	if err != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, a.reusePort)
	}
	return os.NewSyscallError("bind", err)
}

// close closes the stand-in.
func (a *admission) close() {
	if a.standIn != 0 {
		unix.Close(a.standIn)
		a.standIn = 0
	}
}

// awaitPeerClosed returns when the peer has sent its FIN or RST, without reading what
// came before, or when this end is closed.
func awaitPeerClosed(c net.Conn, closed <-chan struct{}) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		<-closed
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(fd uintptr) (done bool) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == unix.EOPNOTSUPP {
			return hasHungUp(int(fd))
		}
		return err != nil || info.State != unix.BPF_TCP_ESTABLISHED
	})
}

// hasHungUp reports whether the peer of a unix socket has closed, or sends no more: then
// poll(2) reports POLLHUP or POLLRDHUP.
func hasHungUp(fd int) bool {
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	_, err := unix.Poll(polled, 0)
	return err != unix.EINTR && polled[0].Revents != 0
}

// awaitSeen returns when the peer has sent something, which it does after connect has
// returned, or at the given time, or when this end is closed.
func awaitSeen(c net.Conn, closed <-chan struct{}, until time.Time) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		awaitTime(closed, until)
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	c.SetReadDeadline(until)
	raw.Read(func(fd uintptr) (done bool) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		unread, _ := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		return err != nil || info.State != unix.BPF_TCP_ESTABLISHED || unread > 0
	})
}

//go:build !windows

package errno

import "syscall"

var (
	Refused = Set{syscall.ECONNREFUSED}
	// Reset: EPIPE when the reset came after the peer's FIN, or was reported before.
	Reset       = Set{syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE}
	Unreachable = Set{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EADDRNOTAVAIL}
	// Passing is errors of accept(2) after which the listening socket still works:
	// no descriptors or memory, a connection that died in the queue, and the
	// network errors of that connection, which Linux hands on (accept(2), Error
	// handling). EPERM is a firewall's.
	Passing = Set{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPROTO, syscall.EPERM, syscall.ENOPROTOOPT,
		syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT,
	}
	// Exhausted: the program or the system has no more descriptors, or memory.
	Exhausted    = Set{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}
	AddrInUse    = Set{syscall.EADDRINUSE}
	AddrNotAvail = Set{syscall.EADDRNOTAVAIL}
	NotPermitted = Set{syscall.EACCES, syscall.EPERM}
)

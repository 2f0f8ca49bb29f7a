//go:build !windows

package bothends

import "syscall"

var (
	errnoRefused = []syscall.Errno{syscall.ECONNREFUSED}
	// EPIPE: the reset came after the peer's FIN, or was reported before.
	errnoReset       = []syscall.Errno{syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE}
	errnoUnreachable = []syscall.Errno{
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EADDRNOTAVAIL,
	}
	// Errors of accept(2) after which the listening socket still works: no
	// descriptors or memory, a connection that died in the queue, and the
	// network errors of that connection, which Linux hands on (accept(2), Error
	// handling). EPERM is a firewall's.
	errnoAccept = []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPROTO, syscall.EPERM, syscall.ENOPROTOOPT,
		syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT,
	}
)

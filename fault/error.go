package fault

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// An Error says which fault has ended what a connection sends or receives. It is in the
// error of Write or Read, which is otherwise that of the kernel: a *net.OpError with
// syscall.ECONNRESET after a reset, syscall.EPIPE after a half-close, and net.ErrClosed
// after a close. With a Write comes the number of its octets that were sent.
type Error struct {
	Fault Fault // of one part
	After int   // octets that had passed on the connection
	Err   error // syscall.ECONNRESET, syscall.EPIPE or net.ErrClosed

	half bool
}

// Error returns, for example, "connection reset by peer (fault reset:10)".
func (e *Error) Error() string { return e.Err.Error() + " (fault " + e.Fault.String() + ")" }

// Unwrap returns the error without the fault.
func (e *Error) Unwrap() error { return e.Err }

// HalfClosed reports whether the connection is still open, and only one direction has
// ended.
func (e *Error) HalfClosed() bool { return e.half }

// opError returns an error of the connection as package net makes it.
func (c *conn) opError(op string, err error) error {
	var errno syscall.Errno
	var call *os.SyscallError
	if errors.As(err, &errno) && !errors.As(err, &call) {
		err = os.NewSyscallError(op, err)
	}
	remote := c.RemoteAddr()
	return &net.OpError{Op: op, Net: remote.Network(), Source: c.LocalAddr(), Addr: remote, Err: err}
}

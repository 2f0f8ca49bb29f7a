package proxy

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pipeSize = 1 << 20                // octets; the kernel may allow less
	pipeIdle = 100 * time.Millisecond // a pipe is kept while octets are waited for
	fewReads = 16                     // small ones in a row, after which a pipe is given up
)

// copyBare passes octets from one connection to another until the FIN, or until the fault
// changes: then it returns errChanged. Unlike io.Copy, which holds a pipe, and so two
// descriptors, while it waits, it has none while a direction is idle or its messages are
// small. The two directions of a session share one.
func (s *session) copyBare(d *direction, changed <-chan struct{}) error {
	from, err := d.from.SyscallConn()
	if err != nil {
		return err
	}
	to, err := d.to.SyscallConn()
	if err != nil {
		return err
	}
	for !isDone(changed) {
		full, err := s.copyRead(d, from, changed)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if !full || !s.piping.CompareAndSwap(false, true) {
			continue
		}
		err = s.splice(d, from, to, changed)
		s.piping.Store(false)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errChanged
}

// copyRead waits for octets, without a buffer, and passes on what one read returns. It
// reports whether that was a whole buffer.
func (s *session) copyRead(d *direction, from syscall.RawConn, changed <-chan struct{}) (full bool, err error) {
	var buffer *[bufferSize]byte
	var n int
	rawErr := from.Read(func(fd uintptr) (done bool) {
		buffer = s.proxy.buffer()
		if n, err = retry(func() (int, error) { return unix.Read(int(fd), buffer[:]) }); err == unix.EAGAIN {
			s.proxy.buffers.Put(buffer)
			buffer = nil
			return false
		}
		return true
	})
	if buffer != nil {
		defer s.proxy.buffers.Put(buffer)
	}
	switch {
	case rawErr != nil:
		return false, rawErr
	case err != nil:
		return false, os.NewSyscallError("read", err)
	case n == 0:
		return false, io.EOF
	}
	return n == bufferSize, s.send(d, buffer[:n], changed)
}

// splice passes octets through a pipe until none come for a moment, or only few.
func (s *session) splice(d *direction, from, to syscall.RawConn, changed <-chan struct{}) error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil // no descriptors: a buffer will do
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, pipeSize)
	for few := 0; few < fewReads; few++ {
		n, err := fill(d.from, from, ends[1])
		if err != nil || n == 0 {
			return err
		}
		if n >= bufferSize {
			few = 0
		}
		if isDone(changed) {
			return s.drainThroughFaults(d, ends[0], n)
		}
		if err := drain(d, to, ends[0], n); err != nil {
			return err
		}
	}
	return nil
}

// fill moves octets into a pipe. It returns 0 if none come for a while, and io.EOF at the
// FIN.
func fill(side *peerConn, from syscall.RawConn, pipe int) (n int, err error) {
	move := func(fd uintptr) {
		n, err = retry(func() (int, error) {
			moved, err := unix.Splice(int(fd), nil, pipe, nil, pipeSize, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
			return int(moved), err
		})
	}
	rawErr := from.Read(func(fd uintptr) bool { move(fd); return true })
	if rawErr == nil && err == unix.EAGAIN {
		side.SetReadDeadline(time.Now().Add(pipeIdle))
		rawErr = from.Read(func(fd uintptr) bool { move(fd); return err != unix.EAGAIN })
		side.SetReadDeadline(noDeadline)
	}
	switch {
	case errors.Is(rawErr, os.ErrDeadlineExceeded):
		return 0, nil
	case rawErr != nil:
		return 0, rawErr
	case err != nil:
		return 0, os.NewSyscallError("splice", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// drainThroughFaults passes on n octets of a pipe that were read before a fault was set.
func (s *session) drainThroughFaults(d *direction, pipe, n int) error {
	buffer := s.proxy.buffer()
	defer s.proxy.buffers.Put(buffer)
	to := s.held(d)
	for n > 0 {
		got, err := retry(func() (int, error) { return unix.Read(pipe, buffer[:]) })
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		n -= got
		if _, err := to.Write(buffer[:got]); err != nil {
			return s.brokenBy(d, err)
		}
	}
	return errChanged
}

// drain moves all n octets out of a pipe.
func drain(d *direction, to syscall.RawConn, pipe, n int) (err error) {
	rawErr := to.Write(func(fd uintptr) (done bool) {
		for n > 0 {
			var moved int
			moved, err = retry(func() (int, error) {
				moved, err := unix.Splice(pipe, nil, int(fd), nil, n, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
				return int(moved), err
			})
			if err != nil {
				return err != unix.EAGAIN
			}
			n -= moved
			d.octets += int64(moved)
		}
		return true
	})
	if rawErr != nil {
		return rawErr
	}
	return os.NewSyscallError("splice", err)
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

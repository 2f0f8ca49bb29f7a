package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// A stream is standard output or standard error. It stores the first error of a write.
// After a signal has stopped the command, writes may block for writePatience in total and
// then fail, so that the command ends even if its output is not read.
type stream struct {
	to      io.Writer
	stopped <-chan struct{}
	unread  chan struct{} // closed by left, when the reader has left
	left    func()

	writing  sync.Mutex // one write at a time
	patience time.Duration
	stuck    bool // a write still blocks

	mu  sync.Mutex
	err error
}

// writePatience is the total time for which writes may block after a signal.
const writePatience = 500 * time.Millisecond

// errNotRead is the error of a write that blocked after a signal.
var errNotRead = errors.New("the output is not read")

func newStream(to io.Writer, stopped <-chan struct{}) *stream {
	unread := make(chan struct{})
	return &stream{
		to: to, stopped: stopped, patience: writePatience,
		unread: unread, left: sync.OnceFunc(func() { close(unread) }),
	}
}

func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	n, err := s.write(p)
	if errors.Is(err, syscall.EPIPE) {
		s.left()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func (s *stream) write(p []byte) (int, error) {
	if s.stuck {
		return 0, errNotRead
	}
	type result struct {
		n   int
		err error
	}
	written := make(chan result, 1)
	q := bytes.Clone(p) // a write that blocks continues after this call
	go func() {
		n, err := s.to.Write(q)
		written <- result{n, err}
	}()
	select {
	case r := <-written:
		return r.n, r.err
	case <-s.stopped:
	}
	began := time.Now()
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case r := <-written:
		s.patience -= time.Since(began)
		return r.n, r.err
	case <-timer.C:
		s.stuck = true
		return 0, errNotRead
	}
}

// failed returns the first error of a write.
func (s *stream) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// whileRead returns a context that also ends when the reader of out has left.
func whileRead(parent context.Context, out io.Writer) (ctx context.Context, cancel func()) {
	ctx, end := context.WithCancelCause(parent)
	var watch sync.WaitGroup
	if s, ok := out.(*stream); ok {
		watch.Go(func() {
			select {
			case <-s.unread:
				end(syscall.EPIPE)
			case <-ctx.Done():
			}
		})
	}
	return ctx, func() { end(nil); watch.Wait() }
}

// under returns the writer that w writes to. Commands with queues write to it directly.
func under(w io.Writer) io.Writer {
	if s, ok := w.(*stream); ok {
		return s.to
	}
	return w
}

// fileOf returns the file that w writes to.
func fileOf(w io.Writer) (file *os.File, ok bool) {
	file, ok = under(w).(*os.File)
	return file, ok
}

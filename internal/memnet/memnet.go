// Package memnet implements a network in memory, for tests that must decide exactly how
// a stream is split: a read returns at most the octets of one write. It blocks only on
// channels and timers, so the clock of a synctest bubble controls its deadlines.
//
// Connections behave as those of TCP: half-close, reset, deadlines, a send buffer
// with a limit. Errors are those of the system, in a *net.OpError.
package memnet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sendBuffer is the maximum number of octets that the peer has not read.
const sendBuffer = 64 << 10

// A Listener accepts the connections of its method Dial.
type Listener struct {
	addr    net.Addr
	queue   chan *Conn
	closed  chan struct{}
	closing sync.Once
	ports   atomic.Uint32
}

// Listen returns a listener with its own network: addresses are 127.0.0.1, port
// 1060 for the listener and 50000 to 59999, repeatedly, for clients.
func Listen() *Listener {
	return &Listener{addr: addr(1060), queue: make(chan *Conn, 128), closed: make(chan struct{})}
}

func addr(port uint16) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
}

// Dial connects. As connect, it does not wait for Accept. If the queue is full, it
// waits until ctx ends. Its arguments are those of a Client's Dial.
func (l *Listener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	default:
	}
	near, far := pair(addr(uint16(50000+(l.ports.Add(1)-1)%10000)), l.addr)
	select {
	case l.queue <- far:
		return near, nil
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: ctx.Err()}
	}
}

// Accept returns the next connection, or net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	case c := <-l.queue:
		return c, nil
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
}

// Close ends Accept and resets the connections that were not accepted.
func (l *Listener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	for {
		select {
		case c := <-l.queue:
			c.Reset()
		default:
			return nil
		}
	}
}

// Addr returns 127.0.0.1:1060.
func (l *Listener) Addr() net.Addr { return l.addr }

// A Conn is one end of a connection.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
	readDeadline  *deadline
	writeDeadline *deadline
}

// Pipe returns the two ends of a connection.
func Pipe() (*Conn, *Conn) { return pair(addr(50000), addr(1060)) }

func pair(near, far net.Addr) (*Conn, *Conn) {
	there, back := newStream(), newStream()
	return &Conn{back, there, near, far, newDeadline(), newDeadline()},
		&Conn{there, back, far, near, newDeadline(), newDeadline()}
}

// Read returns octets of one write of the peer, as many as fit.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p, c.readDeadline)
	return n, c.wrap("read", err)
}

// Write queues p for the peer, and blocks while there is no room.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, c.writeDeadline)
	return n, c.wrap("write", err)
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// CloseWrite sends FIN. The peer can read to the end.
func (c *Conn) CloseWrite() error {
	c.out.end(io.EOF, nil)
	return nil
}

// Close closes both directions. If there is unread input, it resets, as TCP does.
func (c *Conn) Close() error {
	if c.in.pending() {
		return c.Reset()
	}
	c.out.end(io.EOF, net.ErrClosed)
	c.in.end(net.ErrClosed, syscall.EPIPE)
	return nil
}

// Reset closes with RST: the peer's writes fail with ECONNRESET, and its reads once
// they have returned the octets sent before, as on Linux.
func (c *Conn) Reset() error {
	c.out.end(syscall.ECONNRESET, net.ErrClosed)
	c.in.discard()
	c.in.end(net.ErrClosed, syscall.ECONNRESET)
	return nil
}

// Peer reports whether the peer has sent FIN, and returns the error
// that a Write would return, if it has closed or reset the connection.
func (c *Conn) Peer() (finished bool, err error) {
	c.in.mu.Lock()
	finished = c.in.readErr != nil
	c.in.mu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if errno, ok := c.out.writeErr.(syscall.Errno); ok {
		err = os.NewSyscallError("write", errno)
	}
	return finished, err
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines. The zero time means none.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readDeadline.set(t)
	c.writeDeadline.set(t)
	return nil
}

// SetReadDeadline sets the deadline of reads.
func (c *Conn) SetReadDeadline(t time.Time) error { c.readDeadline.set(t); return nil }

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.writeDeadline.set(t); return nil }

// A stream is one direction of a connection.
type stream struct {
	mu       sync.Mutex
	pieces   [][]byte
	size     int
	readErr  error         // error of reads after all pieces
	writeErr error         // error of writes
	changed  chan struct{} // closed and replaced at every change
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

// change wakes all waiting calls. The caller must hold mu.
func (s *stream) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) read(p []byte, d *deadline) (int, error) {
	for {
		if d.passed() {
			return 0, os.ErrDeadlineExceeded
		}
		s.mu.Lock()
		if len(s.pieces) > 0 {
			n := s.take(p)
			s.mu.Unlock()
			return n, nil
		}
		err, changed := s.readErr, s.changed
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case <-changed:
		case <-d.channel():
		}
	}
}

func (s *stream) take(p []byte) int {
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	s.size -= n
	s.change()
	return n
}

func (s *stream) write(p []byte, d *deadline) (done int, err error) {
	for done < len(p) {
		if d.passed() {
			return done, os.ErrDeadlineExceeded
		}
		s.mu.Lock()
		err, changed := s.writeErr, s.changed
		if err == nil {
			done += s.put(p[done:])
		}
		s.mu.Unlock()
		if err != nil {
			return done, err
		}
		if done == len(p) {
			break
		}
		select {
		case <-changed:
		case <-d.channel():
		}
	}
	return done, nil
}

func (s *stream) put(p []byte) int {
	n := min(len(p), sendBuffer-s.size)
	if n > 0 {
		s.pieces = append(s.pieces, append([]byte(nil), p[:n]...))
		s.size += n
		s.change()
	}
	return n
}

// end sets the errors that reads, after the queued octets, and writes return.
// Only the first call for each has an effect.
func (s *stream) end(read, write error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr == nil || read == net.ErrClosed {
		s.readErr = read
	}
	if read == io.EOF && write == nil {
		write = net.ErrClosed
	}
	if s.writeErr == nil {
		s.writeErr = write
	}
	s.change()
}

func (s *stream) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pieces, s.size = nil, 0
}

func (s *stream) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size > 0
}

// A deadline is a channel that is closed while the time is past.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	done  chan struct{}
}

func newDeadline() *deadline { return &deadline{done: make(chan struct{})} }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.expire() // waiting calls check again
	wait := time.Until(t)
	if !t.IsZero() && wait <= 0 {
		return
	}
	done := make(chan struct{})
	d.done = done
	if !t.IsZero() {
		d.timer = time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.done == done { // no other deadline was set meanwhile
				d.expire()
			}
		})
	}
}

// expire marks the deadline as passed. The caller must hold mu.
func (d *deadline) expire() {
	if !d.isClosed() {
		close(d.done)
	}
}

func (d *deadline) isClosed() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.isClosed()
}

func (d *deadline) channel() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

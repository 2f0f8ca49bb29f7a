// Package memnet is a TCP-like network in memory. With package fault and testing/synctest it
// tests a client or a server against a bad network, without a socket and without waiting:
//
//	func TestClientGivesUp(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			network := memnet.Listen()
//			ln := fault.Listen(network, fault.Stall(100)) // nothing after 100 octets
//			defer ln.Close()
//			go serve(ln)
//			client := newClient(network.Dial, time.Minute) // its timeout
//			start := time.Now()
//			if err := client.Get(); err == nil || time.Since(start) != time.Minute {
//				t.Errorf("%v after %v", err, time.Since(start))
//			}
//		})
//	}
//
// The minute passes in no time: nothing here blocks but on channels and timers, so the
// clock of a synctest bubble moves on when all goroutines wait.
//
// Connections behave as those of TCP: they have addresses, deadlines, a FIN for each
// direction (CloseWrite), RST (Reset, or Close with unread input) and a send buffer of
// 64 KiB, and their errors are those of the system in a *net.OpError. There are two
// differences. A Read returns octets of one Write only, so a test decides how a stream is
// cut. And an end learns at once what the other has done: a Write to a peer that has
// closed fails with EPIPE, where the first one in TCP may succeed.
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

// sendBuffer is the number of octets that an end sends while its peer does not read.
const sendBuffer = 64 << 10

// A Listener accepts the connections that its Dial makes. Use Listen to make one.
type Listener struct {
	addr    net.Addr
	queue   chan *Conn
	closed  chan struct{}
	closing sync.Once
	ports   atomic.Uint32
}

// Listen returns a listener on a network of its own. Its address is 127.0.0.1:1060. The
// clients have ports 50000 to 59999 of 127.0.0.1, in turn.
func Listen() *Listener {
	return &Listener{addr: addr(1060), queue: make(chan *Conn, 128), closed: make(chan struct{})}
}

func addr(port uint16) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
}

// Dial connects to the listener, whatever the network and the address are: it can be the
// DialContext of an http.Transport. Like connect, it does not wait for Accept. If 128
// connections wait already, it waits for room until ctx ends. If the listener is closed, it
// returns ECONNREFUSED.
func (l *Listener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if l.isClosed() {
		return nil, l.dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	if ctx.Err() != nil {
		return nil, l.dialError(ctx.Err())
	}
	near, far := pair(addr(uint16(50000+(l.ports.Add(1)-1)%10000)), l.addr)
	select {
	case l.queue <- far:
		if l.isClosed() {
			l.resetQueued()
		}
		return near, nil
	case <-l.closed:
		return nil, l.dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case <-ctx.Done():
		return nil, l.dialError(ctx.Err())
	}
}

func (l *Listener) dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: err}
}

// Accept returns the next connection. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	case c := <-l.queue:
		return c, nil
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
}

// Close ends Accept and resets the connections that have not been accepted.
func (l *Listener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	l.resetQueued()
	return nil
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func (l *Listener) resetQueued() {
	for {
		select {
		case c := <-l.queue:
			c.Reset()
		default:
			return
		}
	}
}

// Addr returns 127.0.0.1:1060.
func (l *Listener) Addr() net.Addr { return l.addr }

// A Conn is one end of a connection. It is a net.Conn; its methods may be called by several
// goroutines.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
	readDeadline  *deadline
	writeDeadline *deadline
	closed        atomic.Bool
	abort         atomic.Bool // Close resets
}

// Pipe returns the two ends of a connection. The first has the address 127.0.0.1:50000,
// the second 127.0.0.1:1060.
func Pipe() (*Conn, *Conn) { return pair(addr(50000), addr(1060)) }

func pair(near, far net.Addr) (*Conn, *Conn) {
	there, back := newStream(), newStream()
	return newConn(back, there, near, far), newConn(there, back, far, near)
}

func newConn(in, out *stream, local, remote net.Addr) *Conn {
	return &Conn{in: in, out: out, local: local, remote: remote, readDeadline: newDeadline(), writeDeadline: newDeadline()}
}

// Read returns octets of one Write of the peer, as many as fit into p. It returns io.EOF
// after the peer's FIN, and ECONNRESET after its RST and the octets before that.
func (c *Conn) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, c.wrap("read", net.ErrClosed)
	}
	n, err := c.in.read(p, c.readDeadline)
	return n, c.wrap("read", err)
}

// Write sends p, and blocks while the peer does not read and the buffer is full. It
// returns how many octets were sent before the deadline, ECONNRESET after the peer's RST,
// and EPIPE after the peer's Close and after CloseWrite.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.lock()
	defer c.out.unlock()
	if c.closed.Load() {
		return 0, c.wrap("write", net.ErrClosed)
	}
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

// CloseWrite sends FIN: the peer reads to the end, and this end can still read.
func (c *Conn) CloseWrite() error {
	if c.closed.Load() {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.end(io.EOF, syscall.EPIPE)
	return nil
}

// Close closes both directions: the peer gets a FIN after the octets that were sent. If
// there is unread input, or after SetLinger(0), it is Reset, as it is in TCP.
func (c *Conn) Close() error {
	if c.abort.Load() || c.in.pending() {
		return c.Reset()
	}
	if c.closed.Swap(true) {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.end(io.EOF, net.ErrClosed)
	c.in.end(net.ErrClosed, syscall.EPIPE)
	return nil
}

// Reset closes the connection with RST: the peer's Writes fail with ECONNRESET, and its
// Reads too, after the octets that were sent before.
func (c *Conn) Reset() error {
	if c.closed.Swap(true) {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.end(syscall.ECONNRESET, net.ErrClosed)
	c.in.discard()
	c.in.end(net.ErrClosed, syscall.ECONNRESET)
	return nil
}

// SetLinger is that of TCP: after SetLinger(0), Close is Reset. Other values make Close
// send what there is, and it does not wait.
func (c *Conn) SetLinger(seconds int) error {
	if c.closed.Load() {
		return c.wrap("set", net.ErrClosed)
	}
	c.abort.Store(seconds == 0)
	return nil
}

// Peer returns what this end knows of its peer: whether it has sent FIN or RST, and the
// error that a Write would return, if it has closed or reset the connection.
func (c *Conn) Peer() (finished bool, err error) {
	c.in.mu.Lock()
	finished = c.in.readErr != nil
	c.in.mu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if errno, ok := c.out.writeErr.(syscall.Errno); ok && c.out.peerClosed {
		err = os.NewSyscallError("write", errno)
	}
	return finished, err
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines. The zero time is none.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.set(t, c.readDeadline, c.writeDeadline)
}

// SetReadDeadline sets the deadline of Read. The zero time is none.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.set(t, c.readDeadline) }

// SetWriteDeadline sets the deadline of Write. The zero time is none.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.set(t, c.writeDeadline) }

func (c *Conn) set(t time.Time, deadlines ...*deadline) error {
	if c.closed.Load() {
		return c.wrap("set", net.ErrClosed)
	}
	for _, d := range deadlines {
		d.set(t)
	}
	return nil
}

// A stream is one direction of a connection.
type stream struct {
	mu         sync.Mutex
	pieces     [][]byte
	size       int
	readErr    error         // what reads return once the pieces are gone
	writeErr   error         // what writes return
	peerClosed bool          // writeErr is by the end that reads
	writing    bool          // a Write is under way
	waiting    int           // Writes that wait for it
	changed    chan struct{} // closed and replaced at every change
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

// lock waits for the Write under way. It is not a Mutex, which would stop synctest's clock.
func (s *stream) lock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		changed := s.changed
		s.waiting++
		s.mu.Unlock()
		<-changed
		s.mu.Lock()
		s.waiting--
	}
	s.writing = true
}

func (s *stream) unlock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	if s.waiting > 0 {
		s.change()
	}
}

// change wakes all that wait. The caller holds mu.
func (s *stream) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) read(p []byte, d *deadline) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
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
	for {
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
			return done, nil
		}
		select {
		case <-changed:
		case <-d.channel():
		}
	}
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

// end sets what reads, after what is queued, and writes return from now on. The first
// error counts, but what the own end does counts more, and RST more than FIN.
func (s *stream) end(read, write error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr == nil || read == net.ErrClosed || s.readErr == io.EOF {
		s.readErr = read
	}
	if s.writeErr == nil || write == net.ErrClosed {
		s.writeErr, s.peerClosed = write, read == net.ErrClosed
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
	d.expire() // those who wait look again
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

// expire makes the time be past. The caller holds mu.
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

package fault

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/bothends/bothends/internal/tcpconn"
	"github.com/bothends/bothends/memnet"
)

// An incoming is what a connection receives, under faults. A goroutine, the pump, reads
// from the connection and writes to one end of a pipe in memory, through the faults. The
// program reads from the other end. So the faults are the same for both directions.
type incoming struct {
	conn   *conn
	faulty *conn // writes to the pipe
	end    *memnet.Conn
	pumped chan struct{} // closed when the pump has ended

	mu    sync.Mutex
	isOn  bool  // the pump has started
	cause error // what has ended the connection below; nil after FIN
}

// receive sets the faults on what c receives. If the program is in a Read, that starts the
// pump when it has received something.
func (c *conn) receive(d drawn) {
	c.mu.Lock()
	in := c.in
	switch {
	case in != nil:
		c.mu.Unlock()
		in.faulty.replace(drawn{sends: d.reads, seed: mix(d.seed, 1)})
		return
	case len(d.reads) == 0 || isDone(c.closed):
		c.mu.Unlock()
		return
	}
	near, far := memnet.Pipe()
	in = &incoming{conn: c, end: far, pumped: make(chan struct{})}
	in.faulty = newConn(near, drawn{sends: d.reads, seed: mix(d.seed, 1)})
	in.faulty.onEnd = in.ended
	c.in = in
	start := !c.reading
	c.mu.Unlock()
	in.faulty.begin()
	if start {
		in.start(nil, nil)
	}
}

// Read fails after Close, also while delayed octets keep what is below open.
func (c *conn) Read(p []byte) (n int, err error) {
	c.readers <- struct{}{}
	defer func() { <-c.readers }()
	c.mu.Lock()
	in := c.in
	c.reading = in == nil
	c.mu.Unlock()
	if in == nil {
		n, err = c.Conn.Read(p)
		c.mu.Lock()
		in, c.reading = c.in, false
		c.mu.Unlock()
		if in != nil {
			in.start(p[:n], err)
		}
	}
	if in != nil && !isTimeout(err) {
		n, err = in.read(p)
	}
	if err != nil && isDone(c.closed) {
		return n, c.opError("read", net.ErrClosed)
	}
	if own := (*Error)(nil); err != nil && errors.As(c.failed(), &own) && own.Err == syscall.ECONNRESET {
		return n, c.opError("read", own) // and not that this end has closed
	}
	return n, err
}

// start starts the pump, with what has been received already.
func (in *incoming) start(octets []byte, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.conn
	if in.isOn || isDone(c.closed) {
		return
	}
	in.isOn = true
	c.mu.Lock()
	in.end.SetReadDeadline(c.readDeadline)
	c.Conn.SetReadDeadline(time.Time{})
	c.mu.Unlock()
	if isDone(c.closed) {
		c.Conn.SetReadDeadline(longAgo)
	}
	if isTimeout(err) {
		err = nil // of the program's Read alone
	}
	go in.pump(append([]byte(nil), octets...), err)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// pump passes on what is received until the connection or a fault ends it.
func (in *incoming) pump(octets []byte, err error) {
	defer close(in.pumped)
	for buffer := octets; ; {
		if len(octets) > 0 {
			if _, failed := in.faulty.Write(octets); failed != nil {
				return
			}
		}
		if err != nil {
			break
		}
		if len(buffer) < pumpSize {
			buffer = make([]byte, pumpSize)
		}
		var n int
		n, err = in.conn.Conn.Read(buffer)
		octets = buffer[:n]
	}
	if err != io.EOF {
		in.mu.Lock()
		in.cause = err
		in.mu.Unlock()
	}
	in.faulty.CloseWrite()
}

// pumpSize is the number of octets that the pump reads at a time.
const pumpSize = 32 << 10

// read is the program's Read.
func (in *incoming) read(p []byte) (int, error) {
	n, err := in.end.Read(p)
	var own *Error
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.cause != nil {
			return n, in.cause
		}
		return n, io.EOF
	case errors.As(in.faulty.failed(), &own) && errors.Is(err, syscall.ECONNRESET):
		return n, in.conn.opError("read", own.received())
	}
	var inner *net.OpError
	if errors.As(err, &inner) {
		err = in.conn.opError("read", inner.Err)
	}
	return n, err
}

// ended does to the connection what a fault does that has ended what it receives.
func (in *incoming) ended(failed *Error) {
	failed = failed.received()
	c := in.conn
	switch {
	case failed.half:
		return
	case failed.Err == syscall.ECONNRESET:
		c.fail(c.opError("write", failed))
		c.ending.Lock()
		defer c.ending.Unlock()
		c.closeBelow(func() error { return tcpconn.Abort(c.Conn) })
	default: // as after the FIN of a peer that has closed
		failed.Err = syscall.EPIPE
		c.fail(c.opError("write", failed))
	}
}

// received returns the error as that of a fault under Reads.
func (e *Error) received() *Error {
	copied := *e
	copied.Fault = Reads(e.Fault)
	return &copied
}

// close ends the pump and the program's Read. What is below is closed, or its read
// deadline has passed.
func (in *incoming) close() {
	Drop(in.faulty)
	in.end.Close()
	in.mu.Lock()
	on := in.isOn
	in.mu.Unlock()
	if on {
		<-in.pumped
	}
}

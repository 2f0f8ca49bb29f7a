package explain

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

var send = Lesson{
	Name:     "send",
	Title:    "What send() does: it takes all octets, takes some, or waits",
	Remember: "send() passes octets to the kernel of this machine, not to the other program. The kernel can take only some of them. Then send the rest again.",
	Function: "s.send(), one call of it; the program uses sendall(), which is a loop over it",
	run:      runSend,
}

// sendBuffer is the requested size of the client's send buffer. Linux doubles it
// (socket(7), SO_SNDBUF).
const sendBuffer = 64 << 10

func runSend(ctx context.Context, set Setting) ([]Step, error) {
	s := newStage(set)
	hangUp, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp()
	if err := s.client.SetWriteBuffer(sendBuffer); err != nil {
		return nil, err
	}
	all := manyOctets(16 + much) // before the first measurement
	if err := sendAll(s, all[:16]); err != nil {
		return s.steps, err
	}
	rest, err := sendPart(s, all[16:])
	if err == nil && len(rest) > 0 {
		rest, err = fill(s, rest)
	}
	if err != nil {
		return s.steps, err
	}
	return s.steps, sendWaits(ctx, s, all, rest)
}

// sendAll sends when there is room for the whole message.
func sendAll(s *stage, message []byte) error {
	began := time.Now()
	n, wouldBlock, err := sendOnce(s.client, message)
	if err != nil {
		return err
	}
	took := time.Since(began)
	s.step("client", fmt.Sprintf("send(16): %s after %s", taken(n, wouldBlock), millis(took)),
		"The kernel had room for the whole message, copied it, and returned. The server has not called recv(). send() does "+
			"not wait for that, and reports nothing about it.")
	s.claim(n == 16, "the kernel would take 16")
	return nil
}

// taken returns the result of a nonblocking send as text.
func taken(n int, wouldBlock bool) string {
	if wouldBlock {
		return "no room (EAGAIN)"
	}
	return fmt.Sprintf("returned %d", n)
}

// much is more than the buffers of both ends hold.
const much = 16 << 20

// sendPart sends when there is room for a part of the message.
func sendPart(s *stage, message []byte) (rest []byte, err error) {
	n, wouldBlock, err := sendOnce(s.client, message)
	if err != nil {
		return nil, err
	}
	rest = message[n:]
	s.step("client", fmt.Sprintf("send(%d): %s", much, taken(n, wouldBlock)),
		fmt.Sprintf("The server does not read, so the octets can only go to its receive buffer and to the client's send buffer. "+
			"The kernel took %d of %d, as many as it had room for. The program must send the other %d with another call.", n, much, len(rest)))
	s.claim(0 < n && n < much, "the kernel would take some of %d octets, and not all", much)
	return rest, nil
}

// fill sends until the kernel has no room. Several calls may be necessary: while the first
// octets travel to the server's buffer, the client's buffer may get room.
func fill(s *stage, rest []byte) (left []byte, err error) {
	calls, wouldBlock := 0, false
	for left = rest; len(left) > 0 && !wouldBlock; calls++ {
		var n int
		if n, wouldBlock, err = sendOnce(s.client, left); err != nil {
			return nil, err
		}
		left = left[n:]
	}
	line := fmt.Sprintf("send(%d), nonblocking: took %d", len(rest), len(rest)-len(left))
	if wouldBlock {
		line += ", then no room (EAGAIN)"
	}
	s.step("client", line,
		fmt.Sprintf("Call %d found no room in the client's send buffer. A nonblocking call fails with EAGAIN. A blocking call "+
			"waits here until there is room.", calls))
	s.claim(wouldBlock, "there would be no room for so much")
	return left, nil
}

// sendWaits shows that blocking calls wait until the server reads.
func sendWaits(ctx context.Context, s *stage, all, rest []byte) error {
	reader := readAfter(pause, s.server, all)
	began := time.Now()
	loop, err := sendUntilTaken(s.client, rest, nil)
	if err == nil {
		err = s.client.CloseWrite()
	}
	read := reader.end(err == nil)
	if err = cmp.Or(err, read.err); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	if len(rest) > 0 {
		still, waited := loop.stillAt(read.began)
		s.step("client", fmt.Sprintf("send(%d), blocking, in a loop: %d in %s", len(rest), loop.taken, millis(loop.took)),
			fmt.Sprintf("The server started to read %s after the first call. One call was blocked at that time, for %s in all. "+
				"When the server reads, the buffers get room again. Go's Write is such a loop, and so is sendall() in Python.",
				millis(read.began.Sub(began)), millis(still)))
		s.claim(waited, "it would be blocked when the server starts to read")
	}
	s.step("server", fmt.Sprintf("recv() to the end: %d octets in all%s", read.n, read.unlike()),
		fmt.Sprintf("16 + %d = %d: each octet that the kernel took arrived once and in order.", much, len(all)))
	s.claim(read.whole, "%d octets would arrive, as they were sent", len(all))
	return nil
}

// A reader reads a connection to its end.
type reader struct {
	conn  *net.TCPConn
	timer *time.Timer
	done  chan reading
}

// A reading is the result of a reader.
type reading struct {
	began time.Time
	n     int
	whole bool // the octets are exactly the expected ones
	err   error
}

func (r reading) unlike() string {
	if r.whole {
		return ""
	}
	return ", which are not those that were sent"
}

// readAfter returns a reader that starts after a pause.
func readAfter(pause time.Duration, conn *net.TCPConn, toCome []byte) *reader {
	r := &reader{conn: conn, done: make(chan reading, 1)}
	r.timer = time.AfterFunc(pause, func() {
		began, got := time.Now(), &comparison{left: toCome}
		n, err := io.Copy(got, conn)
		r.done <- reading{began, int(n), !got.differs && len(got.left) == 0, err}
	})
	return r
}

// A comparison compares what is written to it with the expected octets.
type comparison struct {
	left    []byte
	differs bool
}

func (c *comparison) Write(p []byte) (int, error) {
	n := min(len(p), len(c.left))
	c.differs = c.differs || n < len(p) || !bytes.Equal(p, c.left[:n])
	c.left = c.left[n:]
	return len(p), nil
}

// manyOctets returns octets in which no part equals another, so that a
// comparison detects parts in the wrong place.
func manyOctets(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(p)
	return p
}

// end waits for the reader. If byItself is false, it stops the reader first.
func (r *reader) end(byItself bool) reading {
	if !byItself {
		if r.timer.Stop() {
			return reading{}
		}
		r.conn.Close()
	}
	return <-r.done
}

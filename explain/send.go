package explain

import (
	"context"
	"fmt"
	"io"
	"time"
)

var send = Lesson{
	Name:     "send",
	Title:    "What send() does: takes all, takes a part, or waits",
	Remember: "send() hands octets to this machine's kernel, and no further; it may take only some of them, and then the rest is yours to send again.",
	Function: "s.send(), one call of it; the program uses sendall(), which is a loop over it",
	run:      runSend,
}

// sendBuffer is what the lesson asks the kernel to reserve; Linux doubles it
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
	if err := sendAll(s); err != nil {
		return s.steps, err
	}
	rest, err := sendPart(s)
	if err != nil {
		return s.steps, err
	}
	return s.steps, sendWaits(s, rest)
}

// sendAll: there is room, and all is taken at once.
func sendAll(s *stage) error {
	began := time.Now()
	n, wouldBlock, err := sendOnce(s.client, make([]byte, 16))
	if err != nil {
		return err
	}
	took := time.Since(began)
	s.step("client", fmt.Sprintf("send(16): %s after %s", returned(n, wouldBlock), millis(took)),
		"The kernel had room for all of it, copied it, and let the program go on. The server has not called recv(); "+
			"send() did not wait for that, and says nothing about it.")
	s.claim(n == 16, "the kernel would take 16")
	return nil
}

// much is more than both ends' buffers hold together.
const much = 16 << 20

// sendPart: there is room for some of it.
func sendPart(s *stage) (rest int, err error) {
	n, wouldBlock, err := sendOnce(s.client, make([]byte, much))
	if err != nil {
		return 0, err
	}
	rest = much - n
	s.step("client", fmt.Sprintf("send(%d): %s", much, returned(n, wouldBlock)),
		fmt.Sprintf("The server does not read, so the octets can only go to its receive buffer and the client's send buffer. "+
			"The kernel took what had room, %d of %d. The other %d are not lost and not sent; the program has to send them "+
			"again.", n, much, rest))
	s.claim(0 < n && n < much, "the kernel would take some of %d octets, and not all", much)
	return fill(s, rest)
}

// fill sends until the kernel takes no more: while the first octets travel to the
// server's buffer, room may come free in the client's.
func fill(s *stage, rest int) (left int, err error) {
	asked, calls, wouldBlock := rest, 0, false
	for left = rest; left > 0 && !wouldBlock; calls++ {
		var n int
		if n, wouldBlock, err = sendOnce(s.client, make([]byte, left)); err != nil {
			return 0, err
		}
		left -= n
	}
	s.step("client", fmt.Sprintf("send(%d) without waiting: took %d, then %s", asked, asked-left, returned(0, wouldBlock)),
		fmt.Sprintf("After %d calls both buffers are full. A call that may not wait is told so (EAGAIN); one that may would "+
			"stand still here.", calls))
	s.claim(wouldBlock, "there would be no room for %d octets", much)
	return left, nil
}

// sendWaits: a call that may wait does so until the server reads.
func sendWaits(s *stage, rest int) error {
	type reading struct {
		began time.Time
		got   int64
		err   error
	}
	done := make(chan reading, 1)
	start := time.Now()
	timer := time.AfterFunc(pause, func() {
		r := reading{began: time.Now()}
		r.got, r.err = io.Copy(io.Discard, s.server)
		done <- r
	})
	n, err := s.client.Write(make([]byte, rest))
	took := time.Since(start)
	if err == nil {
		err = s.client.CloseWrite()
	}
	if err != nil {
		if timer.Stop() {
			return err
		}
		s.server.Close()
		<-done
		return err
	}
	read := <-done
	if read.err != nil {
		return read.err
	}
	s.step("client", fmt.Sprintf("send(%d) that may wait, again and again: %d in %s", rest, n, millis(took)),
		fmt.Sprintf("It stood still until the server began to read, %s after the first call, and went on as room came free. "+
			"Go's Write is such a loop, as sendall() is in Python.", millis(read.began.Sub(start))))
	s.claim(took >= pause, "it would wait for the server, which began after %s", millis(pause))
	total := int64(16 + much)
	s.step("server", fmt.Sprintf("recv() to the end: %d octets in all", read.got),
		fmt.Sprintf("16 + %d = %d: every octet that the kernel took has arrived, once and in order; none that it did not take.", much, total))
	s.claim(read.got == total, "%d octets would arrive", total)
	return nil
}

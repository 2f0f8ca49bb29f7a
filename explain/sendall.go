package explain

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/transcript"
)

var sendall = Lesson{
	Name:     "sendall",
	Title:    "The two loops: sends until all is taken, receives until all is there",
	Remember: "One message is as many calls as the kernel makes of it. Write both loops, or use those that are written: and only ever believe the count.",
	Function: "s.sendall(), which hides its loop, and recv_all(), which has to be written",
	run:      runSendall,
}

func runSendall(ctx context.Context, set Setting) ([]Step, error) {
	s := newStage(set)
	for _, situation := range []func(context.Context, *stage) error{sendLoop, recvLoop} {
		hangUp, err := s.connect(ctx)
		if err != nil {
			return s.steps, err
		}
		err = situation(ctx, s)
		hangUp()
		if err != nil {
			return s.steps, err
		}
	}
	return s.steps, nil
}

// large is more than both ends' buffers hold, when the lesson has made them small.
const large = 4 << 20

// sendLoop sends a large message piece by piece while the server reads it slowly,
// and another goroutine works.
func sendLoop(_ context.Context, s *stage) error {
	if err := s.client.SetWriteBuffer(sendBuffer); err != nil {
		return err
	}
	if err := s.server.SetReadBuffer(sendBuffer); err != nil {
		return err
	}
	work := startWork()
	reader := make(chan moved, 1)
	timer := time.AfterFunc(pause, func() {
		n, err := io.Copy(io.Discard, s.server)
		reader <- moved{int(n), err}
	})
	loop, err := s.sendUntilTaken(large)
	rounds := work.stop()
	if err == nil {
		err = s.client.CloseWrite()
	}
	if err != nil {
		if !timer.Stop() {
			s.server.Close()
			<-reader
		}
		return err
	}
	read := <-reader
	if read.err != nil {
		return read.err
	}
	s.step("client", fmt.Sprintf("%d calls in %s: %d octets taken", loop.calls, millis(loop.took), loop.taken),
		fmt.Sprintf("The loop ends when the counts add up to %d. It stood still %d times, %s in all, until the kernel said that "+
			"there was room again.", large, loop.waits, millis(loop.waited)))
	s.claim(loop.taken == large && loop.waits > 0, "it would have to wait, and take %d in the end", large)
	s.step("client", fmt.Sprintf("another goroutine meanwhile: %d rounds of SHA-256", rounds),
		"Waiting for room takes no processor: the rest of the program goes on, as other threads do in Python while sendall() runs.")
	s.claim(rounds > 0, "it would get on with its work")
	s.step("server", fmt.Sprintf("recv() to the end: %d octets", read.n), "Nothing is missing, nothing came twice.")
	s.claim(read.n == large, "%d octets would arrive", large)
	return nil
}

// A sendingLoop is what a loop over send has come to.
type sendingLoop struct {
	calls, taken, waits int
	took, waited        time.Duration
}

// shown is how many iterations of the loop a lesson tells one by one.
const shown = 3

// sendUntilTaken is the loop: what the kernel did not take, it sends again.
func (s *stage) sendUntilTaken(size int) (l sendingLoop, err error) {
	began := time.Now()
	message := make([]byte, size)
	for l.taken < size {
		n, waited, err := sendWhenRoom(s.client, message[l.taken:])
		if err != nil {
			return l, err
		}
		asked := size - l.taken
		l.taken += n
		l.calls++
		l.waited += waited
		if waited > 0 {
			l.waits++
		}
		if l.calls <= shown {
			s.step("client", fmt.Sprintf("call %d: send(%d): took %d, %d left", l.calls, asked, n, asked-n), whyIteration[l.calls-1])
			s.claim(0 < n && n < asked, "it would take some, and not all")
		}
	}
	l.took = time.Since(began)
	return l, nil
}

var whyIteration = [shown]string{
	"There is room for a part of it. send() returned that part's length and forgot the rest: the program must not.",
	"So it asks again, with what is left, from where the kernel stopped.",
	"And again; a call that finds no room at all waits until there is some.",
}

// work is a goroutine that has something else to do.
type work struct {
	rounds atomic.Int64
	end    chan struct{}
	ended  chan struct{}
}

func startWork() *work {
	w := &work{end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		sum := sha256.Sum256(nil)
		for {
			select {
			case <-w.end:
				return
			default:
				sum = sha256.Sum256(sum[:])
				w.rounds.Add(1)
			}
		}
	}()
	return w
}

func (w *work) stop() int64 {
	rounds := w.rounds.Load()
	close(w.end)
	<-w.ended
	return rounds
}

// recvLoop reads sixteen octets that come in three pieces.
func recvLoop(ctx context.Context, s *stage) error {
	message := []byte(bothends.DefaultRequest)
	p := make([]byte, len(message))
	done := 0
	for call, piece := range []int{7, 5, 4} {
		if _, err := s.client.Write(message[done : done+piece]); err != nil {
			return err
		}
		if err := arrived(ctx, s.server, piece); err != nil {
			return err
		}
		n, wouldBlock, err := recvOnce(s.server, p[done:])
		if err != nil {
			return err
		}
		asked := len(p) - done
		done += n
		s.step("server", fmt.Sprintf("call %d: recv(%d): %s, %d still to come", call+1, asked, returned(n, wouldBlock), len(p)-done), []string{
			"The message came in three pieces, and the first one is all that is there. recv() gives it, and fails in nothing.",
			"The loop asks for what is missing, and for no more: what is behind the message belongs to the next one.",
			"Now the count is whole, and the loop ends: not because the octets have stopped coming, but because sixteen were agreed on.",
		}[call])
		s.claim(n == piece, "it would get %d", piece)
	}
	return s.writtenLoops(string(p[:done]))
}

// writtenLoops does it all with the library's loops.
func (s *stage) writtenLoops(got string) error {
	s.step("server", "the message says "+transcript.Quote([]byte(got)), "Three receives, one message; how it was cut on the way is not to be seen in it.")
	s.claim(got == bothends.DefaultRequest, "it would be %q", bothends.DefaultRequest)
	if err := bothends.WriteMessage(s.server, []byte(bothends.DefaultReply)); err != nil {
		return err
	}
	reply := make([]byte, bothends.DefaultMessageSize)
	err := bothends.ReadMessage(s.client, reply)
	if err != nil {
		return err
	}
	s.step("client", "ReadMessage(): "+transcript.Quote(reply),
		"This library's WriteMessage and ReadMessage are these two loops. Go's net.Conn.Write has its own, and io.ReadFull is the other.")
	s.claim(string(reply) == bothends.DefaultReply, "it would be %q", bothends.DefaultReply)
	return nil
}

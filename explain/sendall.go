package explain

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/transcript"
)

var sendall = Lesson{
	Name:     "sendall",
	Title:    "The two loops: send until all is taken, receive until all is there",
	Remember: "One message can take any number of calls. Write both loops, or use the loops of a library, and rely only on the count of octets.",
	Function: "s.sendall(), which hides its loop, and recv_all(), which has to be written",
	run:      runSendall,
}

func runSendall(ctx context.Context, set Setting) ([]Step, error) {
	return newStage(set).perform(ctx, connected(sendLoop), connected(recvLoop))
}

// large is more than the buffers of both ends hold after the lesson has made them small.
const large = 4 << 20

// sendLoop sends a large message in parts while the server reads it slowly
// and another goroutine works.
func sendLoop(ctx context.Context, s *stage) error {
	if err := s.client.SetWriteBuffer(sendBuffer); err != nil {
		return err
	}
	if err := s.server.SetReadBuffer(sendBuffer); err != nil {
		return err
	}
	message := manyOctets(large)
	work := startWork()
	reader := readAfter(pause, s.server, message)
	loop, err := sendUntilTaken(s.client, message, s.iteration)
	rounds := work.stop(loop.stood)
	if err == nil {
		err = s.client.CloseWrite()
	}
	read := reader.end(err == nil)
	if err = cmp.Or(err, read.err); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	s.step("client", fmt.Sprintf("%d calls in %s: %d octets taken", loop.calls, millis(loop.took), loop.taken),
		fmt.Sprintf("The loop ends when the counts add up to %d. It waited for room %d times, %s in total.",
			large, len(loop.stood), millis(loop.waited())))
	s.claim(len(loop.stood) > 0, "it would have to wait for room")
	s.step("client", fmt.Sprintf("another goroutine meanwhile: %d rounds of SHA-256", rounds),
		"These are the rounds while the loop waited. Only the caller of send() waits. The rest of the program continues, as "+
			"other threads do in Python while sendall() runs.")
	s.claim(rounds > 0, "it would continue its work")
	s.step("server", fmt.Sprintf("recv() to the end: %d octets%s", read.n, read.unlike()), "The octets are the same as those sent, in the same order: none is missing, and none arrived twice.")
	s.claim(read.whole, "%d octets would arrive, as they were sent", large)
	return nil
}

// A sendingLoop is the result of a loop over send.
type sendingLoop struct {
	calls, taken int
	took         time.Duration
	stood        []span // the periods in which it waited
}

// A span is a period of time.
type span struct{ from, to time.Time }

func (s span) has(at time.Time) bool { return !at.Before(s.from) && !at.After(s.to) }

func (l sendingLoop) waited() (all time.Duration) {
	for _, s := range l.stood {
		all += s.to.Sub(s.from)
	}
	return all
}

// stillAt returns the duration of the call that was blocked at the given time.
func (l sendingLoop) stillAt(at time.Time) (time.Duration, bool) {
	for _, s := range l.stood {
		if s.has(at) {
			return s.to.Sub(s.from), true
		}
	}
	return 0, false
}

// sendUntilTaken is the loop. It sends again what the kernel did not take. It calls
// each, if not nil, with the number of each call, the octets requested and the octets
// taken.
func sendUntilTaken(conn *net.TCPConn, message []byte, each func(call, asked, took int)) (l sendingLoop, err error) {
	began := time.Now()
	for l.taken < len(message) {
		asked := len(message) - l.taken
		n, waited, err := sendWhenRoom(conn, message[l.taken:])
		if err != nil {
			return l, err
		}
		l.taken += n
		l.calls++
		if waited > 0 {
			now := time.Now()
			l.stood = append(l.stood, span{now.Add(-waited), now})
		}
		if each != nil {
			each(l.calls, asked, n)
		}
	}
	l.took = time.Since(began)
	return l, nil
}

var whyIteration = []string{
	"There was room for a part of the message. send() returned the length of that part. The rest is still the program's to send.",
	"The loop calls send() again, with the octets that are left.",
	"And again. If there is no room at all, the loop waits until there is some.",
}

// iteration adds a step for each of the first calls of the loop.
func (s *stage) iteration(call, asked, took int) {
	if call > len(whyIteration) {
		return
	}
	s.step("client", fmt.Sprintf("call %d: send(%d): took %d, %d left", call, asked, took, asked-took), whyIteration[call-1])
	s.claim(0 < took && took < asked, "it would take a part of them")
}

// work is a goroutine that does other work.
type work struct {
	rounds []time.Time // end of each round
	end    chan struct{}
	ended  chan struct{}
}

// startWork starts the goroutine. It does one round per tick. On a single processor, a
// goroutine that never waits would delay the loop with which it is compared.
func startWork() *work {
	w := &work{end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		sum := sha256.Sum256(nil)
		for {
			select {
			case <-w.end:
				return
			case <-tick.C:
				sum = sha256.Sum256(sum[:])
				w.rounds = append(w.rounds, time.Now())
			}
		}
	}()
	return w
}

// stop ends the goroutine and returns the number of rounds within the spans.
func (w *work) stop(spans []span) (rounds int) {
	close(w.end)
	<-w.ended
	for _, at := range w.rounds {
		if slices.ContainsFunc(spans, func(s span) bool { return s.has(at) }) {
			rounds++
		}
	}
	return rounds
}

// recvLoop reads 16 octets that arrive in three parts.
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
			"The client sent the message in three pieces, and only the first has arrived. recv() returns it. This is not an error.",
			"The loop requests only the octets that are missing. Octets after the message would belong to the next one.",
			"The loop ends because 16 octets have arrived, the length that both ends agreed on. It does not end because no more octets arrive.",
		}[call])
		s.claim(n == piece, "it would get %d", piece)
	}
	return s.writtenLoops(string(p[:done]))
}

// writtenLoops makes an exchange with the loops of the library.
func (s *stage) writtenLoops(got string) error {
	s.step("server", "the message says "+transcript.Quote([]byte(got)), "Three calls of recv(), one message. The message does not show how it was split.")
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
		"WriteMessage and ReadMessage of this library are these two loops. In Go's own library, net.Conn.Write is the first and io.ReadFull the second.")
	s.claim(string(reply) == bothends.DefaultReply, "it would be %q", bothends.DefaultReply)
	return nil
}

package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

var deadlock = Lesson{
	Name:     "deadlock",
	Title:    "Two ends that both send more than the buffers hold, and do not read",
	Remember: "Buffers only delay a deadlock. An end that sends more than the buffers hold must read at the same time, or both ends must agree on who sends first.",
	Function: "sendall() and then recv_all(), in this order at one end and in the other at the other",
	run:      runDeadlock,
}

func runDeadlock(ctx context.Context, set Setting) ([]Step, error) {
	return newStage(set).perform(ctx, connected(stuck), connected(cured))
}

// patience is the time for which the lesson lets both ends wait.
const patience = 200 * time.Millisecond

// A moved is the result of an end's send or receive.
type moved struct {
	n    int
	took time.Duration
	err  error
}

// ended returns how a send ended: by the lesson's deadline or complete.
func (m moved) ended() string {
	if m.err != nil {
		return "and still waiting after " + millis(m.took)
	}
	return "done in " + millis(m.took)
}

// stuck lets both ends send without reading until patience has passed.
func stuck(ctx context.Context, s *stage) error {
	message := make([]byte, much)
	began := time.Now()
	write := func(conn net.Conn) <-chan moved {
		done := make(chan moved, 1)
		go func() {
			conn.SetWriteDeadline(began.Add(patience))
			if ctx.Err() != nil { // the end of ctx may have woken it
				done <- moved{err: ctx.Err()}
				return
			}
			n, err := conn.Write(message)
			done <- moved{n, time.Since(began), err}
		}()
		return done
	}
	client, server := write(s.client), write(s.server)
	fromClient, fromServer := <-client, <-server
	if ctx.Err() != nil {
		return ctx.Err()
	}
	waiting := 0
	for _, end := range []struct {
		name string
		moved
	}{{"client", fromClient}, {"server", fromServer}} {
		if end.err != nil && !errors.Is(end.err, os.ErrDeadlineExceeded) {
			return end.err
		}
		if end.err != nil {
			waiting++
		}
		s.step(end.name, fmt.Sprintf("send(%d): %d taken, %s", much, end.n, end.ended()), "")
	}
	s.steps[len(s.steps)-1].Why = "Each end waits in send() until the other end calls recv(), and the other end calls recv() only after its own " +
		"send(). This is a deadlock. The lesson ended it after " + millis(patience) + ": TCP has no time limit for it. With messages " +
		"that fit into the buffers, both calls would have returned."
	s.claim(waiting == 2, "the buffers would not hold that much, and both ends would wait until one stops")
	return nil
}

// cured lets both ends read while they send.
func cured(ctx context.Context, s *stage) error {
	began := time.Now()
	both := make(chan moved, 4)
	for _, conn := range []*net.TCPConn{s.client, s.server} {
		go func() {
			n, err := conn.Write(make([]byte, much))
			if err == nil {
				err = conn.CloseWrite()
			}
			both <- moved{n: n, err: err}
		}()
		go func() {
			n, err := io.Copy(io.Discard, conn)
			both <- moved{n: int(n), err: err}
		}()
	}
	whole := 0
	var failed error
	for range cap(both) {
		r := <-both
		if r.err != nil && failed == nil {
			failed = r.err
			s.client.Close()
			s.server.Close()
		}
		if r.n == much {
			whole++
		}
	}
	if failed != nil {
		return errors.Join(failed, ctx.Err())
	}
	s.step("client", fmt.Sprintf("send(%d) while another goroutine reads", much), "")
	s.step("server", fmt.Sprintf("send(%d) while another goroutine reads: done in %s", much, millis(time.Since(began))),
		"The same messages on a new connection. Each end reads while it sends, so the buffers get room again, and both messages arrive completely.")
	s.claim(whole == 4, "all octets would arrive both ways")
	return nil
}

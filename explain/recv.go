package explain

import (
	"context"
	"fmt"
	"time"
)

var recv = Lesson{
	Name:     "recv",
	Title:    "What recv() does: waits, gives what was asked for, or gives less",
	Remember: "recv() returns as soon as there is anything, be it one octet. Who needs sixteen must go on asking until there are sixteen.",
	Function: "sock.recv() inside recv_all(), and why there is a loop around it",
	run:      runRecv,
}

// pause is how long the other end of a lesson stays idle, to be seen waiting for.
const pause = 50 * time.Millisecond

func runRecv(ctx context.Context, set Setting) ([]Step, error) {
	return newStage(set).perform(ctx, connected(func(ctx context.Context, s *stage) error {
		_, err := s.perform(ctx, recvWaits, recvPlenty, recvLess)
		return err
	}))
}

// recvWaits: nothing is there.
func recvWaits(ctx context.Context, s *stage) error {
	p := make([]byte, 16)
	n, wouldBlock, err := recvOnce(s.server, p)
	if err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("recv(16) that may not wait: %s", returned(n, wouldBlock)),
		"Nothing has been sent, so the receive buffer is empty. A call that may not wait is told so at once (EAGAIN).")
	s.claim(wouldBlock, "the kernel would have no octets, and it had %d", n)

	sent := make(chan time.Time, 1)
	began, client := time.Now(), s.client // the stage may go on without the timer's end
	timer := time.AfterFunc(pause, func() {
		sent <- time.Now()
		client.Write([]byte("Hi ther"))
	})
	defer timer.Stop()
	if n, err = s.server.Read(p); err != nil {
		return err
	}
	took := time.Since(began)
	s.step("server", fmt.Sprintf("recv(16) that may wait: returned %d after %s", n, millis(took)),
		fmt.Sprintf("The program stood still until the client sent %d octets, %s after the call began. recv() did not "+
			"wait for the other %d: it returns as soon as there is anything.", n, millis((<-sent).Sub(began)), 16-n))
	s.claim(n == 7 && took >= pause, "it would wait %s and return 7", millis(pause))
	return nil
}

// recvPlenty: more is there than was asked for.
func recvPlenty(ctx context.Context, s *stage) error {
	if _, err := s.client.Write(make([]byte, 100)); err != nil {
		return err
	}
	if err := arrived(ctx, s.server, 100); err != nil {
		return err
	}
	s.step("client", "send(100): returned 100", "A hundred octets are now in the server's receive buffer; its program has not asked for them.")
	n, wouldBlock, err := recvOnce(s.server, make([]byte, 16))
	if err != nil {
		return err
	}
	left := unread(s.server)
	s.step("server", fmt.Sprintf("recv(16): %s", returned(n, wouldBlock)),
		fmt.Sprintf("Plenty is there, so the call got all that it asked for. The other %d octets stay in the buffer for the next one.", left))
	s.claim(n == 16 && left == 84, "it would get 16 and leave 84")
	return nil
}

// recvLess: something is there, but less than was asked for.
func recvLess(_ context.Context, s *stage) error {
	n, wouldBlock, err := recvOnce(s.server, make([]byte, 1000))
	if err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("recv(1000): %s", returned(n, wouldBlock)),
		fmt.Sprintf("Fewer are there than were asked for, and the call does not wait for more: it got the %d there were, and "+
			"did not fail. A program that takes this for its whole message is wrong, and will seem right in most tests.", n))
	s.claim(n == 84, "it would get the 84 that were left")
	return nil
}

// returned is the result of a call that may not wait.
func returned(n int, wouldBlock bool) string {
	if wouldBlock {
		return "it would have to wait"
	}
	return fmt.Sprintf("returned %d", n)
}

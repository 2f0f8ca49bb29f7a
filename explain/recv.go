package explain

import (
	"context"
	"fmt"
	"time"
)

var recv = Lesson{
	Name:     "recv",
	Title:    "What recv() does: it waits, returns all octets requested, or fewer",
	Remember: "recv() can return fewer octets than requested. To read a message of 16 octets, call recv() until you have 16.",
	Function: "sock.recv() inside recv_all(), and why there is a loop around it",
	run:      runRecv,
}

// pause is the time for which the other end of a lesson does nothing, so that a call waits.
const pause = 50 * time.Millisecond

func runRecv(ctx context.Context, set Setting) ([]Step, error) {
	return newStage(set).perform(ctx, connected(func(ctx context.Context, s *stage) error {
		_, err := s.perform(ctx, recvWaits, recvPlenty, recvLess)
		return err
	}))
}

// recvWaits receives when no octets are available.
func recvWaits(ctx context.Context, s *stage) error {
	p := make([]byte, 16)
	n, wouldBlock, err := recvOnce(s.server, p)
	if err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("recv(16), nonblocking: %s", returned(n, wouldBlock)),
		"The client has not sent anything, so the receive buffer is empty. A nonblocking call does not wait. It fails with EAGAIN.")
	s.claim(wouldBlock, "the kernel would have no octets, and it had %d", n)

	sent := make(chan time.Time, 1)
	began, client := time.Now(), s.client // copies, because the stage may continue before the timer ends
	timer := time.AfterFunc(pause, func() {
		sent <- time.Now()
		client.Write([]byte("Hi ther"))
	})
	defer timer.Stop()
	if n, err = s.server.Read(p); err != nil {
		return err
	}
	took := time.Since(began)
	s.step("server", fmt.Sprintf("recv(16), blocking: returned %d after %s", n, millis(took)),
		fmt.Sprintf("The call waited until the client sent %d octets, %s after the call started. It did not wait for the other "+
			"%d. A blocking recv() returns when at least 1 octet is available.", n, millis((<-sent).Sub(began)), 16-n))
	s.claim(n == 7 && took >= pause, "it would wait %s and return 7", millis(pause))
	return nil
}

// recvPlenty receives when more octets than requested are available.
func recvPlenty(ctx context.Context, s *stage) error {
	if _, err := s.client.Write(make([]byte, 100)); err != nil {
		return err
	}
	if err := arrived(ctx, s.server, 100); err != nil {
		return err
	}
	s.step("client", "send(100): returned 100", "100 octets are now in the server's receive buffer. The server program has not read them.")
	n, wouldBlock, err := recvOnce(s.server, make([]byte, 16))
	if err != nil {
		return err
	}
	left := unread(s.server)
	s.step("server", fmt.Sprintf("recv(16): %s", returned(n, wouldBlock)),
		fmt.Sprintf("More than 16 octets were available, so the call returned 16. The other %d stay in the buffer for the next call.", left))
	s.claim(n == 16 && left == 84, "it would return 16 and leave 84")
	return nil
}

// recvLess receives when fewer octets than requested are available.
func recvLess(_ context.Context, s *stage) error {
	n, wouldBlock, err := recvOnce(s.server, make([]byte, 1000))
	if err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("recv(1000): %s", returned(n, wouldBlock)),
		fmt.Sprintf("Only %d octets were available. The call returned them and did not wait for more. This is not an error. "+
			"A program that treats them as a whole message is wrong, but most tests pass.", n))
	s.claim(n == 84, "it would return the 84 that were left")
	return nil
}

// returned returns the result of a nonblocking recv as text.
func returned(n int, wouldBlock bool) string {
	if wouldBlock {
		return "no octets available (EAGAIN)"
	}
	return fmt.Sprintf("returned %d", n)
}

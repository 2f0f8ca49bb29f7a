package explain

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/bothends/bothends"
)

var eof = Lesson{
	Name:     "eof",
	Title:    "How a connection ends before its message: closed, cut short, reset",
	Remember: "recv() returning 0 is the peer's FIN, and not an error. Whether it is a clean end, only the count of octets before it can tell.",
	Function: "the EOFError of recv_all(), and its two numbers",
	run:      runEOF,
}

func runEOF(ctx context.Context, set Setting) ([]Step, error) {
	s := newStage(set)
	for _, end := range []struct {
		octets int
		reset  bool
		want   bothends.Outcome
		why    string
	}{
		{0, false, bothends.Closed, "recv() returned 0 at the first call: the client's FIN. It came before the message " +
			"began, so nothing is missing. A server sees this from whoever connects only to see whether the port is open."},
		{7, false, bothends.Short, "recv() returned 7, and then 0: the FIN came inside the message. To the kernel this is the " +
			"same clean end as before; only who knows how long the message should be can see the difference."},
		{7, true, bothends.Reset, "recv() returned 7, and then failed with ECONNRESET: an RST. The client did not finish, it " +
			"broke off; octets that it had handed to its kernel may be lost as well."},
	} {
		err := connected(func(ctx context.Context, s *stage) error {
			return endAfter(ctx, s, end.octets, end.reset, end.want, end.why)
		})(ctx, s)
		if err != nil {
			return s.steps, err
		}
	}
	return s.steps, nil
}

// endAfter lets the client send some octets of sixteen and end the connection.
func endAfter(ctx context.Context, s *stage, octets int, reset bool, want bothends.Outcome, why string) error {
	if octets > 0 {
		if _, err := s.client.Write([]byte(bothends.DefaultRequest)[:octets]); err != nil {
			return err
		}
		if err := arrived(ctx, s.server, octets); err != nil {
			return err
		}
	}
	how := fmt.Sprintf("send(%d), then close()", octets)
	if octets == 0 {
		how = "close(), and no send()"
	}
	if reset {
		how += " with SO_LINGER 0, which sends RST"
		if err := s.client.SetLinger(0); err != nil {
			return err
		}
	}
	if err := s.client.Close(); err != nil {
		return err
	}
	s.step("client", how, "")
	err := bothends.ReadMessage(s.server, make([]byte, 16))
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() && ctx.Err() != nil {
		return ctx.Err()
	}
	var short *bothends.ShortError
	if !errors.As(err, &short) {
		return fmt.Errorf("the reader was given a whole message: %s", bothends.Reason(err))
	}
	outcome := bothends.Classify(err)
	s.step("server", fmt.Sprintf("%v: %v", outcome, err), why)
	s.claim(outcome == want && short.Done == octets, "it would be %v, %d octets into the message", want, octets)
	return nil
}

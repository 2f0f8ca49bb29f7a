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
	Remember: "If recv() returns 0, the peer has sent FIN. This is not an error. Only the number of octets before it shows whether the message is complete.",
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
		{0, false, bothends.Closed, "recv() returned 0, which means the client's FIN. It arrived before the first octet, so no part of a message " +
			"is missing. A server also sees this when a program connects only to test whether the port is open."},
		{7, false, bothends.Short, "7 octets arrived, and then recv() returned 0: the FIN came inside the message. The kernel reports the same " +
			"end as before. Only a program that knows the length of the message can see the difference."},
		{7, true, bothends.Reset, "7 octets arrived, and then recv() failed with ECONNRESET: an RST. The client aborted the connection. With " +
			"an RST, octets that the client has passed to its kernel can be lost too."},
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

// endAfter lets the client send a part of 16 octets and end the connection.
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
		return fmt.Errorf("the reader received a complete message: %s", bothends.Reason(err))
	}
	outcome := bothends.Classify(err)
	s.step("server", fmt.Sprintf("%v: %v", outcome, err), why)
	s.claim(outcome == want && short.Done == octets, "it would be %v, %d octets into the message", want, octets)
	return nil
}

package transcript_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/transcript"
)

func TestFold(t *testing.T) {
	for _, c := range []struct {
		width      int
		text, want string
	}{
		{0, "a line of any length\n", "a line of any length\n"},
		{11, "exactly  11\n", "exactly  11\n"},
		{10, "    0.491 ms connect: SYN answered\n", "    0.491 ms connect:\n               SYN\n               answered\n"},
		{30, "    0.491 ms connect: SYN answered\n", "    0.491 ms connect: SYN\n               answered\n"},
		{12, "  state ESTABLISHED, MSS 1\nshort\n", "  state\n    ESTABLISHED,\n    MSS 1\nshort\n"},
		{24, "this end is ('127.0.0.1', 5) here", "this end is\n  ('127.0.0.1', 5) here"},
		{18, "    0.4 ms sent after 5.004 ms; and", "    0.4 ms sent\n             after\n             5.004 ms;\n             and"},
		{15, "lag p99 is 85 %, and 3 s\n", "lag p99 is\n  85 %, and 3 s\n"},
		{20, "  whole         one exchange", "  whole         one\n    exchange"},
		{6, "\x1b[32mpass\x1b[0m a b\n", "\x1b[32mpass\x1b[0m a\n  b\n"},
		{5, "│││││\n◀─── ▶\n", "│││││\n◀───\n  ▶\n"},
	} {
		if got := transcript.Fold(c.text, c.width); got != c.want {
			t.Errorf("%q in %d columns:\n%s\nwant:\n%s", c.text, c.width, got, c.want)
		}
	}
}

// A ladder that does not fit is printed as a list.
func TestLadderWidth(t *testing.T) {
	start := time.Unix(0, 0)
	l := transcript.Ladder{Start: start, Width: 60}
	l.Add(start, transcript.ToServer, "SYN")
	l.Add(start.Add(time.Millisecond), transcript.ToClient, "SYN, ACK seq 0 ack 1")
	l.Add(start.Add(2*time.Millisecond), transcript.AtClient, "closed")
	if got := l.String(); !strings.Contains(got, "│─── SYN ───") {
		t.Errorf("in 60 columns:\n%s", got)
	}
	l.Width = 40
	want := `    0.000 ms client to server: SYN
    1.000 ms server to client: SYN, ACK
               seq 0 ack 1
    2.000 ms client: closed
`
	if got := l.String(); got != want {
		t.Errorf("in 40 columns:\n%s\nwant:\n%s", got, want)
	}
}

package bothends

import (
	"iter"
	"time"
)

// A Timing gathers how long an exchange spent in each phase. Its own Trace fills
// it; read it when that Trace's Exchanged or Done has been called.
//
// The zero value is ready. A Timing serves one connection; on a persistent one it
// starts anew with each message that follows an exchange.
type Timing struct {
	Start time.Time // when Trace was called; later, when the exchange before ended

	phases []phase
	mark   time.Time // where the last phase ended
	state  timingState
}

type phase struct {
	name  string
	spent time.Duration
}

type timingState uint8

const (
	before    timingState = iota // there is no connection yet
	connected                    // there is one
	replying                     // a server: the request is whole, nothing is sent yet
	exchanged                    // both messages are through
)

// Phases returns the phases that the exchange reached, in their order, with the
// time spent in each; the one in which it failed counts up to the failure.
//
// A client's are resolve, connect, secure (TLS), send, wait (until the first
// octet of the reply), receive (from there to the last one) and close. A server's
// are secure, wait, receive, reply (making the answer), send and close (until the
// peer has closed as well, or the server stops waiting for that).
func (t *Timing) Phases() iter.Seq2[string, time.Duration] {
	return func(yield func(string, time.Duration) bool) {
		for _, p := range t.phases {
			if !yield(p.name, p.spent) {
				return
			}
		}
	}
}

// Trace starts the clock anew and returns the Trace that fills t. Let it be the first
// in [JoinTraces], so that t is up to date when the others are called.
func (t *Timing) Trace() *Trace {
	t.Start = time.Now()
	t.mark, t.phases, t.state = t.Start, t.phases[:0], before
	server := false
	return &Trace{
		Resolved: func(Resolution) { t.end("resolve") },
		Connected: func(c Connection) {
			t.end("connect")
			if c.Err == nil {
				t.state = connected
			}
		},
		Accepted: func(Connection) {
			server = true
			t.state = connected
			t.mark = time.Now()
		},
		Secured: func(Handshake) { t.end("secure") },
		Received: func(r Transfer) {
			t.received(r)
			if server && r.Whole() {
				t.state = replying
			}
		},
		Sent: func(s Transfer) {
			if t.state == replying {
				t.endAt("reply", s.Start)
				t.state = connected
			}
			t.endAt("send", s.End)
		},
		Exchanged: func(Exchange) {
			if t.state == replying { // an empty reply
				t.end("reply")
			}
			t.state = exchanged
		},
		Done: func(error) {
			switch t.state {
			case replying:
				t.end("reply")
			case connected, exchanged:
				t.end("close")
			}
		},
	}
}

func (t *Timing) received(r Transfer) {
	if r.Want == 0 {
		t.endAt("close", r.End)
		return
	}
	if t.state == exchanged {
		t.Start, t.phases, t.state = t.mark, nil, connected
	}
	if len(t.phases) > 0 && t.phases[len(t.phases)-1].name == "receive" {
		t.endAt("receive", r.End)
		return
	}
	t.endAt("wait", r.End)
	if r.N > 0 {
		t.endAt("receive", r.End)
	}
}

func (t *Timing) end(name string) { t.endAt(name, time.Now()) }

// endAt lets the phase that goes on end at that time, under its name.
func (t *Timing) endAt(name string, at time.Time) {
	spent := at.Sub(t.mark)
	t.mark = at
	if n := len(t.phases); n > 0 && t.phases[n-1].name == name {
		t.phases[n-1].spent += spent
		return
	}
	t.phases = append(t.phases, phase{name, spent})
}

package bothends

import (
	"iter"
	"time"
)

// Phases contains the time that an exchange spent in each of its phases, in the order of
// the phases.
//
// The phases of a client are resolve, connect, secure (TLS), send, wait (until the first
// octet of the reply), receive (from the first to the last octet of the reply) and close.
// The phases of a server are secure, wait, receive, reply (the call of Reply), send and
// close (until the peer has closed or the server stops waiting). Only the first exchange
// of a connection has the phases resolve, connect and secure.
type Phases struct {
	list [8]phase // the maximum
	n    int
}

type phase struct {
	name  string
	spent time.Duration
}

// All returns the name of each phase and the time spent in it.
func (p *Phases) All() iter.Seq2[string, time.Duration] {
	return func(yield func(string, time.Duration) bool) {
		for _, p := range p.list[:p.n] {
			if !yield(p.name, p.spent) {
				return
			}
		}
	}
}

// add adds the time to the last phase if it has this name, and to a new phase otherwise.
func (p *Phases) add(name string, spent time.Duration) {
	switch {
	case p.last() == name:
		p.list[p.n-1].spent += spent
	case p.n < len(p.list):
		p.list[p.n] = phase{name, spent}
		p.n++
	}
}

func (p *Phases) last() string {
	if p.n == 0 {
		return ""
	}
	return p.list[p.n-1].name
}

// A Timing records the time that an exchange spends in each phase. In contrast to
// [Trace.Exchanged], it includes failed exchanges and the phase close. The Trace returned
// by its method Trace fills it. Read it in, or after, that Trace's Exchanged or Done.
//
// The zero value is ready to use. A Timing is for one connection. If the connection has
// many exchanges, the Timing starts again with the first transfer of each.
type Timing struct {
	Start time.Time // the time of the call of Trace, or the start of a later exchange

	clock clock
}

// Phases returns the name of each phase that the exchange reached and the time spent in
// it. The phase in which it failed ends with the failure.
func (t *Timing) Phases() iter.Seq2[string, time.Duration] { return t.clock.phases.All() }

// Reset starts the measurement again, for another connection with the same Trace.
func (t *Timing) Reset() {
	t.clock = newClock()
	t.Start = t.clock.start
}

// Trace starts the measurement again and returns a Trace that fills t. Make it the first
// argument of [JoinTraces], so that t is up to date when the other Traces are called.
func (t *Timing) Trace() *Trace {
	t.Reset()
	follow := func(f func()) { f(); t.Start = t.clock.start }
	return &Trace{
		Resolved:  func(Resolution) { t.clock.end("resolve") },
		Connected: func(c Connection) { t.clock.connected(c) },
		Accepted:  func(Connection) { t.clock.accepted() },
		Secured:   func(Handshake) { t.clock.end("secure") },
		Received:  func(r Transfer) { follow(func() { t.clock.received(r) }) },
		Sent:      func(s Transfer) { follow(func() { t.clock.sent(s) }) },
		Exchanged: func(Exchange) { t.clock.exchanged() },
		Done:      func(error) { t.clock.done() },
	}
}

// A clock divides the time of an exchange into phases. Its methods are called for the
// events of the exchange.
type clock struct {
	start  time.Time // of the exchange
	mark   time.Time // the end of the last phase
	state  clockState
	server bool
	phases Phases
}

type clockState uint8

const (
	unconnected clockState = iota
	connected
	transferring
	replying // server only: the request is complete, no octet of the reply is sent
	exchanged
)

func newClock() clock {
	now := time.Now()
	return clock{start: now, mark: now}
}

func (c *clock) connected(conn Connection) {
	c.end("connect")
	if conn.Err == nil {
		c.state = connected
	}
}

func (c *clock) accepted() {
	c.server, c.state = true, connected
	c.mark = time.Now()
}

func (c *clock) received(t Transfer) {
	if t.Want == 0 { // read while closing
		c.endAt("close", t.End)
		return
	}
	c.begin(t)
	if c.phases.last() == "receive" {
		c.endAt("receive", t.End)
	} else {
		c.endAt("wait", t.End)
		if t.N > 0 {
			c.endAt("receive", t.End)
		}
	}
	if c.server && t.Whole() {
		c.state = replying
	}
}

func (c *clock) sent(t Transfer) {
	if c.server && c.state == connected { // there is no request
		c.state = replying
	}
	c.begin(t)
	if c.state == replying {
		c.endAt("reply", t.Start)
		c.state = transferring
	}
	c.endAt("send", t.End)
}

// begin starts an exchange with its first transfer. On a client, the exchange starts with
// this transfer. On a server, it starts with the connection or the end of the previous
// exchange, because the server has waited since then.
func (c *clock) begin(first Transfer) {
	if c.state != connected && c.state != exchanged {
		return
	}
	if !c.server {
		c.mark = first.Start
	}
	if c.state == exchanged {
		c.start, c.phases = c.mark, Phases{}
	}
	c.state = transferring
}

func (c *clock) exchanged() {
	if c.state == replying { // an empty reply
		c.end("reply")
	}
	c.state = exchanged
}

func (c *clock) done() {
	switch c.state {
	case replying:
		c.end("reply")
	case connected, transferring, exchanged:
		c.end("close")
	}
}

func (c *clock) end(name string) { c.endAt(name, time.Now()) }

// endAt ends the current phase at the given time. name is the name of that phase.
func (c *clock) endAt(name string, at time.Time) {
	c.phases.add(name, at.Sub(c.mark))
	c.mark = at
}

package bothends

import (
	"iter"
	"time"
)

// Phases is the time that an exchange spent in each of its phases, in the order in
// which it reached them.
//
// A client's phases are resolve, connect, secure (TLS), send, wait (until the first
// octet of the reply), receive (from there to the last octet) and close. A server's
// are secure, wait, receive, reply (the call of Reply), send and close (until the peer
// has closed too, or the server stops waiting for it). The later exchanges of a
// connection have no resolve, connect and secure.
type Phases struct {
	list [8]phase // no exchange has more
	n    int
}

type phase struct {
	name  string
	spent time.Duration
}

// All returns the phases with the time spent in each.
func (p *Phases) All() iter.Seq2[string, time.Duration] {
	return func(yield func(string, time.Duration) bool) {
		for _, p := range p.list[:p.n] {
			if !yield(p.name, p.spent) {
				return
			}
		}
	}
}

// add adds to the last phase if it has this name, and to a new one otherwise.
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

// A Timing records how long an exchange spent in each phase, also of an exchange that
// failed, and of closing, which [Trace.Exchanged] cannot report. Its Trace fills it;
// read it when that Trace's Exchanged or Done has been called.
//
// The zero value is ready to use. A Timing serves one connection. On a connection with
// many exchanges it starts again with the first message after an exchange.
type Timing struct {
	Start time.Time // when Trace was called; of a later exchange, when it started

	clock clock
}

// Phases returns the phases that the exchange reached. The one in which it failed lasts
// until the failure.
func (t *Timing) Phases() iter.Seq2[string, time.Duration] { return t.clock.phases.All() }

// Reset starts the clock again, for another connection with the same Trace.
func (t *Timing) Reset() {
	t.clock = newClock()
	t.Start = t.clock.start
}

// Trace starts the clock again and returns the Trace that fills t. Let it be the first
// in [JoinTraces], so that t is up to date when the others are called.
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

// A clock divides the time of an exchange into phases, as its events come.
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
	replying // a server: the request is whole, nothing is sent yet
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

// begin starts an exchange with its first transfer. A client starts it by itself; the
// time since the connection was made, or since the last exchange, is not a part of it.
// A server has waited for it all the time.
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

// endAt ends the current phase at that time, and gives it its name.
func (c *clock) endAt(name string, at time.Time) {
	c.phases.add(name, at.Sub(c.mark))
	c.mark = at
}

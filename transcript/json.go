package transcript

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/tcpinfo"
)

// ExchangeSchema names the form of an Exchange as JSON.
const ExchangeSchema = "bothends.exchange/v1"

// ListeningSchema names the form of a Listening as JSON.
const ListeningSchema = "bothends.listening/v1"

// A Listening is where a server listens, as one line of JSON before those of its
// exchanges.
type Listening struct {
	Schema string    `json:"schema"`
	Time   time.Time `json:"time"`
	Local  string    `json:"local"`          // host:port; the host is [::] or 0.0.0.0 for all interfaces
	Port   int       `json:"port,omitempty"` // of TCP
}

// An Exchange is what happened in one exchange, as one line of JSON.
type Exchange struct {
	Schema  string           `json:"schema"`
	Role    string           `json:"role"` // client or server
	Time    time.Time        `json:"time"` // when it began
	Local   string           `json:"local,omitempty"`
	Peer    string           `json:"peer,omitempty"`
	Outcome bothends.Outcome `json:"outcome"`
	Request Message          `json:"request"`
	Reply   Message          `json:"reply"`
	Surplus int              `json:"surplus,omitempty"` // octets that came after the message
	Seconds float64          `json:"seconds"`           // of all phases together
	Phases  Phases           `json:"phase_seconds"`
	Error   string           `json:"error,omitempty"`
	Events  []Event          `json:"events,omitempty"` // with JSON.Events
	Kernel  *Kernel          `json:"kernel,omitempty"` // with JSON.Events, where the system tells
}

// An Event is one step of an exchange.
type Event struct {
	At     float64 `json:"at"`    // seconds since the connection's trace began
	Event  string  `json:"event"` // resolved, connected, accepted, secured, sent, received, closed
	Asked  *int    `json:"asked,omitempty"`
	Octets *int    `json:"octets,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// A Kernel is the kernel's view of the connection before it was closed. What the
// kernel did not tell is absent.
type Kernel struct {
	tcpinfo.Info
	SRTT   *float64 `json:"srtt,omitempty"`   // smoothed round-trip time in seconds (RFC 6298)
	RTTVar *float64 `json:"rttvar,omitempty"` // its variation in seconds
}

// A Message is as many octets of a message as were moved: as text, or as hex where
// they are not UTF-8.
type Message struct {
	Text   *string `json:"text,omitempty"`
	Hex    *string `json:"hex,omitempty"`
	Octets int     `json:"octets"`
	Want   int     `json:"want"` // octets of the whole message
}

func message(octets []byte, want int) Message {
	m := Message{Octets: len(octets), Want: want}
	if utf8.Valid(octets) {
		text := string(octets)
		m.Text = &text
	} else {
		digits := hex.EncodeToString(octets)
		m.Hex = &digits
	}
	return m
}

// Phases are seconds by phase, in the order in which the phases came.
type Phases []Phase

// A Phase is a part of an exchange and the time spent in it.
type Phase struct {
	Name  string
	Spent time.Duration
}

// MarshalJSON gives an object of seconds.
func (p Phases) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, phase := range p {
		if i > 0 {
			b = append(b, ',')
		}
		name, _ := json.Marshal(phase.Name)
		seconds, err := json.Marshal(phase.Spent.Seconds())
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), seconds...)
	}
	return append(b, '}'), nil
}

// A JSON writes a Listening for a server, if asked to, and an Exchange for each exchange:
// one line in one Write. Out must be set.
type JSON struct {
	Out io.Writer
	// RequestSize and ReplySize are the octets that the messages should have, told
	// as "want" until an exchange shows its own; 0 is 0.
	RequestSize, ReplySize int
	// Persistent: a connection of the server has any number of exchanges.
	Persistent bool
	// Events puts the steps of each exchange into its line, a thousand at most,
	// and the kernel's view where the line is written as the connection is closed:
	// on a persistent one that is only an exchange that fails.
	Events bool

	mu sync.Mutex // one Write at a time
}

// Listening writes where a server listens.
func (j *JSON) Listening(addr net.Addr) {
	l := Listening{Schema: ListeningSchema, Time: time.Now(), Local: address(addr)}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		l.Port = tcp.Port
	}
	j.line(l)
}

// line writes one object.
func (j *JSON) line(object any) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if e.Encode(object) != nil { // it has no value that JSON lacks
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Out.Write(line.Bytes())
}

// Client returns the Trace for one exchange of a client.
func (j *JSON) Client() *bothends.Trace { return j.trace("client") }

// Server is for the TraceConn of a bothends.Server.
func (j *JSON) Server(net.Conn) *bothends.Trace { return j.trace("server") }

func (j *JSON) trace(role string) *bothends.Trace {
	r := &recorder{JSON: j, role: role}
	in, out := &r.reply, &r.request
	if role == "server" {
		in, out = out, in
	}
	r.begin()
	connection := func(c bothends.Connection) {
		if c.Err == nil {
			r.local, r.peer = address(c.Local), address(c.Peer)
		}
	}
	return bothends.JoinTraces(r.timing.Trace(), r.events(), &bothends.Trace{
		Connected: connection,
		Accepted:  connection,
		Received: func(t bothends.Transfer) {
			if t.Want == 0 {
				r.surplus += t.N
			} else {
				in.add(t)
			}
		},
		Sent: func(t bothends.Transfer) { out.add(t) },
		Exchanged: func(e bothends.Exchange) {
			r.request.want, r.reply.want = len(e.Request), len(e.Reply)
			r.made++
			if j.Persistent {
				r.write(nil)
				r.begin()
			}
		},
		Done: func(err error) {
			if j.Persistent && r.made > 0 && err == nil {
				return // closed between two exchanges
			}
			r.write(err)
		},
	})
}

// A recorder gathers the Exchange of one connection, again and again if it is
// persistent.
type recorder struct {
	*JSON
	role           string
	timing         bothends.Timing
	local, peer    string
	request, reply moved
	surplus        int
	steps          []Event
	kernel         *Kernel
	made           int // exchanges on this connection
}

// moved is what there is of a message.
type moved struct {
	octets []byte
	want   int
}

// add takes over the octets that this read or write has moved.
func (m *moved) add(t bothends.Transfer) {
	m.octets = append(m.octets, t.Message[len(t.Message)-t.N:]...)
	m.want = t.Want
}

func (r *recorder) begin() {
	r.request = moved{r.request.octets[:0], r.RequestSize}
	r.reply = moved{r.reply.octets[:0], r.ReplySize}
	r.steps = nil
}

func (r *recorder) write(err error) {
	x := Exchange{
		Schema: ExchangeSchema, Role: r.role, Time: r.timing.Start,
		Local: r.local, Peer: r.peer, Outcome: bothends.Classify(err),
		Request: message(r.request.octets, r.request.want), Reply: message(r.reply.octets, r.reply.want),
		Surplus: r.surplus, Events: r.steps, Kernel: r.kernel,
	}
	if err != nil {
		x.Error = ErrorText(err)
	}
	var failed *bothends.ExchangeError
	if errors.As(err, &failed) && failed.Op == "connect" {
		x.Peer = failed.Peer
	}
	var total time.Duration
	for name, spent := range r.timing.Phases() {
		x.Phases = append(x.Phases, Phase{name, spent})
		total += spent
	}
	x.Seconds = total.Seconds()
	r.line(x)
}

// mostEvents bounds what a peer that sends octet by octet can make of one line.
const mostEvents = 1000

// events returns the Trace that gathers the steps, nil when nobody wants them.
func (r *recorder) events() *bothends.Trace {
	if !r.Events {
		return nil
	}
	start := time.Now()
	open := false
	add := func(e Event, err error) {
		e.At = time.Since(start).Seconds()
		if err != nil {
			e.Error = bothends.Reason(err)
		}
		if len(r.steps) < mostEvents {
			r.steps = append(r.steps, e)
		}
	}
	transfer := func(name string) func(bothends.Transfer) {
		return func(t bothends.Transfer) { add(Event{Event: name, Asked: &t.Asked, Octets: &t.N}, t.Err) }
	}
	return &bothends.Trace{
		Resolved: func(x bothends.Resolution) { add(Event{Event: "resolved"}, x.Err) },
		Connected: func(c bothends.Connection) {
			open = c.Err == nil
			add(Event{Event: "connected"}, c.Err)
		},
		Accepted: func(bothends.Connection) {
			open = true
			add(Event{Event: "accepted"}, nil)
		},
		Secured:  func(h bothends.Handshake) { add(Event{Event: "secured"}, h.Err) },
		Sent:     transfer("sent"),
		Received: transfer("received"),
		Closing: func(conn net.Conn) {
			if info, err := tcpinfo.Read(conn); err == nil {
				r.kernel = &Kernel{info, inSeconds(info.RTT), inSeconds(info.RTTVar)}
			}
		},
		Done: func(error) {
			if open {
				add(Event{Event: "closed"}, nil)
			}
		},
	}
}

func inSeconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.Seconds()
	return &s
}

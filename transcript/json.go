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

// ExchangeSchema is the name of the JSON schema of an Exchange.
const ExchangeSchema = "bothends.exchange/v1"

// ListeningSchema is the name of the JSON schema of a Listening.
const ListeningSchema = "bothends.listening/v1"

// A Listening is the address at which a server listens. It is one line of JSON before the
// lines of the exchanges.
type Listening struct {
	Schema string    `json:"schema"`
	Time   time.Time `json:"time"`
	Local  string    `json:"local"`          // host:port, the host [::] or 0.0.0.0 means all interfaces
	Port   int       `json:"port,omitempty"` // TCP port
}

// An Exchange describes one exchange. It is one line of JSON.
type Exchange struct {
	Schema  string           `json:"schema"`
	Role    string           `json:"role"` // client or server
	Time    time.Time        `json:"time"` // start of the exchange
	Local   string           `json:"local,omitempty"`
	Peer    string           `json:"peer,omitempty"`
	Outcome bothends.Outcome `json:"outcome"`
	Request Message          `json:"request"`
	Reply   Message          `json:"reply"`
	Surplus int              `json:"surplus,omitempty"` // octets that arrived after the message
	Seconds float64          `json:"seconds"`           // total time of all phases
	Phases  Phases           `json:"phase_seconds"`
	Error   string           `json:"error,omitempty"`
	Events  []Event          `json:"events,omitempty"` // with JSON.Events
	Kernel  *Kernel          `json:"kernel,omitempty"` // with JSON.Events, if the system reports it
}

// An Event is one step of an exchange.
type Event struct {
	At     float64 `json:"at"`    // seconds since the start of the connection's trace
	Event  string  `json:"event"` // resolved, connected, accepted, secured, sent, received, closed
	Asked  *int    `json:"asked,omitempty"`
	Octets *int    `json:"octets,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// A Kernel is the kernel's view of the connection before it was closed. Values that the
// kernel did not report are absent.
type Kernel struct {
	tcpinfo.Info
	SRTT   *float64 `json:"srtt,omitempty"`   // smoothed round-trip time in seconds (RFC 6298)
	RTTVar *float64 `json:"rttvar,omitempty"` // variation of the round-trip time in seconds
}

// A Message contains the octets of a message that were transferred, as text, or as hex if
// they are not UTF-8.
type Message struct {
	Text   *string `json:"text,omitempty"`
	Hex    *string `json:"hex,omitempty"`
	Octets int     `json:"octets"`
	Want   int     `json:"want"` // length of the complete message in octets
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

// Phases contains the time of each phase, in the order of the phases.
type Phases []Phase

// A Phase is a part of an exchange and the time spent in it.
type Phase struct {
	Name  string
	Spent time.Duration
}

// MarshalJSON returns an object with the seconds of each phase.
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

// A JSON writes an Exchange for each exchange, and a Listening if its method is called.
// Each is one line in one Write. Out must be set.
type JSON struct {
	Out io.Writer
	// RequestSize and ReplySize are the expected lengths of the messages in octets. They
	// are the value of "want" until a transfer shows the actual length.
	RequestSize, ReplySize int
	// Persistent means that a connection of the server has any number of exchanges.
	Persistent bool
	// Events adds the steps of each exchange, at most 1,000, and the kernel's view of the
	// connection. The view is present only if the line is written when the connection is
	// closed. On a persistent connection, this is an exchange that has failed.
	Events bool

	mu sync.Mutex // one Write at a time
}

// Listening writes the address at which a server listens.
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
	if e.Encode(object) != nil { // all values can be encoded
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Out.Write(line.Bytes())
}

// Client returns the Trace for one exchange of a client.
func (j *JSON) Client() *bothends.Trace { return j.trace("client") }

// Server returns the Trace for a connection. Use it as TraceConn of a bothends.Server.
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

// A recorder collects the Exchange of a connection. If the connection is persistent, it
// starts again after each exchange.
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

// moved contains the octets of a message that were transferred.
type moved struct {
	octets []byte
	want   int
}

// add adds the octets of a read or write.
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

// mostEvents is the maximum number of events in one line, for a peer that sends octet by
// octet.
const mostEvents = 1000

// events returns the Trace that collects the steps, or nil if they are not requested.
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

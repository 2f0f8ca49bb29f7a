package transcript

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/bothends/bothends"
)

// ExchangeSchema names the form of an Exchange as JSON.
const ExchangeSchema = "bothends.exchange/v1"

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
	Seconds Phases           `json:"seconds"`
	Error   string           `json:"error,omitempty"`
}

// A Message is as many octets of a message as were moved.
type Message struct {
	Octets []byte
	Want   int // octets of the whole message
}

// MarshalJSON gives text, or hex where the octets are not UTF-8, and both counts.
func (m Message) MarshalJSON() ([]byte, error) {
	counts := struct {
		Text   *string `json:"text,omitempty"`
		Hex    *string `json:"hex,omitempty"`
		Octets int     `json:"octets"`
		Want   int     `json:"want"`
	}{Octets: len(m.Octets), Want: m.Want}
	if utf8.Valid(m.Octets) {
		text := string(m.Octets)
		counts.Text = &text
	} else {
		text := hex.EncodeToString(m.Octets)
		counts.Hex = &text
	}
	return marshal(counts)
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

// A JSON writes an Exchange for each exchange, one line in one Write.
type JSON struct {
	Out io.Writer
	// RequestSize and ReplySize are the octets that the messages should have.
	RequestSize, ReplySize int
	// Persistent: a connection of the server has any number of exchanges.
	Persistent bool

	mu sync.Mutex // one Write at a time
}

// Client returns the Trace for one exchange of a client.
func (j *JSON) Client() *bothends.Trace { return j.trace("client") }

// Server is for the TraceConn of a bothends.Server.
func (j *JSON) Server(net.Conn) *bothends.Trace { return j.trace("server") }

func (j *JSON) trace(role string) *bothends.Trace {
	r := &recorder{JSON: j, role: role}
	in, out := &r.now.Reply, &r.now.Request
	if role == "server" {
		in, out = out, in
	}
	r.begin()
	connection := func(c bothends.Connection) {
		if c.Err == nil {
			r.now.Local, r.now.Peer = c.Local.String(), c.Peer.String()
		}
	}
	return bothends.JoinTraces(r.timing.Trace(), &bothends.Trace{
		Connected: connection,
		Accepted:  connection,
		Received: func(t bothends.Transfer) {
			if t.Want == 0 {
				r.now.Surplus += t.N
			} else {
				in.add(t)
			}
		},
		Sent: func(t bothends.Transfer) { out.add(t) },
		Exchanged: func(e bothends.Exchange) {
			r.now.Request.Want, r.now.Reply.Want = len(e.Request), len(e.Reply)
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

// A recorder fills the Exchange of one connection, again and again if it is
// persistent.
type recorder struct {
	*JSON
	role   string
	timing bothends.Timing
	now    Exchange
	made   int // exchanges on this connection
}

func (r *recorder) begin() {
	r.now = Exchange{
		Schema: ExchangeSchema, Role: r.role, Local: r.now.Local, Peer: r.now.Peer,
		Request: Message{Octets: r.now.Request.Octets[:0], Want: r.RequestSize},
		Reply:   Message{Octets: r.now.Reply.Octets[:0], Want: r.ReplySize},
	}
}

func (r *recorder) write(err error) {
	r.now.Time = r.timing.Start
	r.now.Outcome = bothends.Classify(err)
	if err != nil {
		r.now.Error = ErrorText(err)
	}
	r.now.Seconds = r.now.Seconds[:0]
	for name, spent := range r.timing.Phases() {
		r.now.Seconds = append(r.now.Seconds, Phase{name, spent})
	}
	line, err := marshal(r.now)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Out.Write(line)
}

// add takes over the octets that this read or write has moved.
func (m *Message) add(t bothends.Transfer) {
	m.Octets = append(m.Octets, t.Message[len(t.Message)-t.N:]...)
	m.Want = t.Want
}

// marshal is json.Marshal, with < > & as they are, and a newline.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

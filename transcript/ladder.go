package transcript

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bothends/bothends"
)

// A Ladder draws a connection as rungs between its two ends, the client on the left
// and the server on the right, with the time of each. A Trace fills it with what one
// end saw, or its user with segments.
type Ladder struct {
	ASCII          bool      // without Unicode's lines and arrows
	Width          int       // maximum number of columns, 0 means no limit
	Start          time.Time // what the times are counted from
	Client, Server net.Addr
	Rungs          []Rung // in their order; the first fifty and the last, when there are more than a hundred
	more           int    // how many are left out between them
}

// A Rung is one thing that happened on a connection.
type Rung struct {
	At    time.Time
	Way   Way
	Label string
}

// A Way is where a Rung leads.
type Way uint8

// The ways.
const (
	ToServer Way = iota
	ToClient
	AtClient // something at this end alone
	AtServer
)

// mostRungs bounds the ladder of a connection that has many exchanges. Those at its
// beginning and at its end tell most.
const mostRungs = 100

// Add appends a rung.
func (l *Ladder) Add(at time.Time, way Way, label string) {
	if len(l.Rungs) == mostRungs {
		l.Rungs = slices.Delete(l.Rungs, mostRungs/2, mostRungs/2+1)
		l.more++
	}
	l.Rungs = append(l.Rungs, Rung{at, way, label})
}

// TraceClient and TraceServer return a Trace that adds what that end sees. The times
// are that end's: when it handed something to its kernel, or had something from it.
func (l *Ladder) TraceClient() *bothends.Trace { return l.trace(ToServer, ToClient, AtClient) }

// TraceServer is TraceClient for the other end.
func (l *Ladder) TraceServer() *bothends.Trace { return l.trace(ToClient, ToServer, AtServer) }

func (l *Ladder) trace(away, back, here Way) *bothends.Trace {
	halfClosed := false
	var addrs []netip.Addr
	end := func(t bothends.Transfer) {
		switch label := endOf(t.Err); {
		case label == "":
		case byFault(t.Err):
			halfClosed = true
			l.Add(t.End, away, label)
		default:
			l.Add(t.End, back, label)
		}
	}
	return &bothends.Trace{
		Resolved: func(r bothends.Resolution) { addrs = r.Addrs },
		Connected: func(c bothends.Connection) {
			l.Client, l.Server = c.Local, c.Peer
			if triedOthers(addrs, c) {
				l.Add(c.Start, here, "other addresses first") // when it came to this one's SYN is not known
			} else {
				l.Add(c.Start, away, "SYN")
			}
			if c.Err == nil {
				l.Add(time.Now(), back, "SYN, ACK")
			}
		},
		Accepted: func(c bothends.Connection) {
			l.Client, l.Server = c.Peer, c.Local
			l.Add(time.Now(), here, "accepted")
		},
		Secured: func(h bothends.Handshake) {
			label := "TLS"
			if h.Err != nil {
				label = "TLS failed"
			}
			l.Add(time.Now(), here, label)
		},
		Sent: func(t bothends.Transfer) {
			if t.N > 0 {
				l.Add(t.Start, away, octets(t.N))
			}
			end(t)
		},
		Received: func(t bothends.Transfer) {
			if t.Want == 0 && !halfClosed { // reading past the message: this end has sent its FIN
				halfClosed = true
				l.Add(t.Start, away, "FIN")
			}
			if t.N > 0 {
				l.Add(t.End, back, octets(t.N))
			}
			end(t)
		},
		Done: func(error) { l.Add(time.Now(), here, "closed") },
	}
}

// endOf is the segment that ended a connection, by what a call on it returned; "" for none.
func endOf(err error) string {
	switch {
	case err == nil:
		return ""
	case bothends.Classify(err) == bothends.Reset:
		return "RST"
	case errors.Is(err, io.EOF), byFault(err): // a fault that has closed, and not reset
		return "FIN"
	}
	return ""
}

// byFault tells whether this end's own fault has ended what it sends; such errors say
// whether all has ended.
func byFault(err error) bool {
	var fault interface{ HalfClosed() bool }
	return errors.As(err, &fault)
}

// triedOthers tells whether a name's other addresses were, or may have been, tried
// before the one that c tells of: it is not the first, or none has answered.
func triedOthers(addrs []netip.Addr, c bothends.Connection) bool {
	if len(addrs) < 2 {
		return false
	}
	tcp, ok := c.Peer.(*net.TCPAddr)
	return !ok || tcp.AddrPort().Addr().Unmap() != addrs[0]
}

// leastInside is the columns between the two ends, as long as the labels fit.
const leastInside = 44

// String is the drawing, line by line.
func (l *Ladder) String() string {
	inside := leastInside
	for _, r := range l.Rungs {
		inside = max(inside, utf8.RuneCountInString(r.Label)+len("--- ")+len(" --->"))
	}
	margin := strings.Repeat(" ", len(at(0))+1)
	if l.Width > 0 && l.Width < len(margin)+inside+2 {
		return l.list()
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%sclient%*s\n", margin, inside-len("client")+2, "server")
	left, right := address(l.Client), address(l.Server)
	if gap := inside + 2 - len(left) - len(right); gap > 0 {
		fmt.Fprintf(&out, "%s%s%s%s\n", margin, left, strings.Repeat(" ", gap), right)
	} else {
		fmt.Fprintf(&out, "%s%s\n%s%*s\n", margin, left, margin, inside+2, right)
	}
	bar := "│"
	if l.ASCII {
		bar = "|"
	}
	for i, r := range l.Rungs {
		out.WriteString(l.leftOut(i))
		fmt.Fprintf(&out, "%s %s%s%s\n", at(r.At.Sub(l.Start)), bar, l.between(r, inside), bar)
	}
	return out.String()
}

// list returns the rungs as lines of text, for a width that has no room for a drawing.
func (l *Ladder) list() string {
	ends := [...]string{ToServer: "client to server", ToClient: "server to client", AtClient: "client", AtServer: "server"}
	var out strings.Builder
	for i, r := range l.Rungs {
		out.WriteString(l.leftOut(i))
		fmt.Fprintf(&out, "%s %s: %s\n", at(r.At.Sub(l.Start)), ends[r.Way], r.Label)
	}
	return Fold(out.String(), l.Width)
}

// leftOut returns the line that stands before rung i for those that are left out there.
func (l *Ladder) leftOut(i int) string {
	if l.more == 0 || i != mostRungs/2 {
		return ""
	}
	return fmt.Sprintf("%*s... and %d more\n", len(at(0))+1, "", l.more)
}

// between is what stands between the two ends in one rung.
func (l *Ladder) between(r Rung, inside int) string {
	space := strings.Repeat(" ", max(0, inside-2-utf8.RuneCountInString(r.Label)))
	line, tipLeft, tipRight := "─", "◀", "▶"
	if l.ASCII {
		line, tipLeft, tipRight = "-", "<", ">"
	}
	foot := strings.Repeat(line, 3)
	rest := strings.Repeat(line, max(0, inside-len("--- ")-len(" >")-utf8.RuneCountInString(r.Label)))
	switch r.Way {
	case AtClient:
		return "  " + r.Label + space
	case AtServer:
		return space + r.Label + "  "
	case ToServer:
		return foot + " " + r.Label + " " + rest + tipRight
	default:
		return tipLeft + rest + " " + r.Label + " " + foot
	}
}

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

// A Ladder draws a connection as rungs between its two ends, with the client on the left
// and the server on the right, and the time of each rung. A Trace adds the calls of one
// end, or the caller adds segments.
type Ladder struct {
	ASCII          bool      // without Unicode's lines and arrows
	Width          int       // maximum number of columns, 0 means no limit
	Start          time.Time // origin of the times
	Client, Server net.Addr
	Rungs          []Rung // in their order; only the first 50 and the last 50 if there are more than 100
	more           int    // number of rungs that are left out between them
}

// A Rung is one event on a connection.
type Rung struct {
	At    time.Time
	Way   Way
	Label string
}

// A Way is the direction of a Rung.
type Way uint8

// The directions.
const (
	ToServer Way = iota
	ToClient
	AtClient // an event at one end only
	AtServer
)

// mostRungs is the maximum number of rungs of a Ladder. The first and the last ones are the
// most useful.
const mostRungs = 100

// Add appends a rung.
func (l *Ladder) Add(at time.Time, way Way, label string) {
	if len(l.Rungs) == mostRungs {
		l.Rungs = slices.Delete(l.Rungs, mostRungs/2, mostRungs/2+1)
		l.more++
	}
	l.Rungs = append(l.Rungs, Rung{at, way, label})
}

// TraceClient returns a Trace that adds the client's calls. The times are those when the
// client passed octets to its kernel or received octets from it.
func (l *Ladder) TraceClient() *bothends.Trace { return l.trace(ToServer, ToClient, AtClient) }

// TraceServer is TraceClient for the server.
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
				l.Add(c.Start, here, "other addresses first") // the time of the SYN to this address is not known
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
			if t.Want == 0 && !halfClosed { // a read after the message: this end has sent its FIN
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

// endOf returns the segment that ended a connection, from the error of a call, or "".
func endOf(err error) string {
	switch {
	case err == nil:
		return ""
	case bothends.Classify(err) == bothends.Reset:
		return "RST"
	case errors.Is(err, io.EOF), byFault(err): // a fault that closes, not one that resets
		return "FIN"
	}
	return ""
}

// byFault reports whether err is from a fault of this end that ended its output. Such
// errors have a method that reports whether both directions have ended.
func byFault(err error) bool {
	var fault interface{ HalfClosed() bool }
	return errors.As(err, &fault)
}

// triedOthers reports whether other addresses of the name were, or may have been, tried
// before the address of c: it is not the first one, or no address has answered.
func triedOthers(addrs []netip.Addr, c bothends.Connection) bool {
	if len(addrs) < 2 {
		return false
	}
	tcp, ok := c.Peer.(*net.TCPAddr)
	return !ok || tcp.AddrPort().Addr().Unmap() != addrs[0]
}

// leastInside is the minimum number of columns between the two ends.
const leastInside = 44

// String returns the drawing, one line per rung.
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

// list returns the rungs as lines of text, for a width that is too small for a drawing.
func (l *Ladder) list() string {
	ends := [...]string{ToServer: "client to server", ToClient: "server to client", AtClient: "client", AtServer: "server"}
	var out strings.Builder
	for i, r := range l.Rungs {
		out.WriteString(l.leftOut(i))
		fmt.Fprintf(&out, "%s %s: %s\n", at(r.At.Sub(l.Start)), ends[r.Way], r.Label)
	}
	return Fold(out.String(), l.Width)
}

// leftOut returns the line before rung i for the rungs that are left out there, or "".
func (l *Ladder) leftOut(i int) string {
	if l.more == 0 || i != mostRungs/2 {
		return ""
	}
	return fmt.Sprintf("%*s... and %d more\n", len(at(0))+1, "", l.more)
}

// between returns the part of a rung between the two ends.
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

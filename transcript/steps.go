package transcript

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/tcpinfo"
)

// Steps writes one entry for each step of a connection: the time since it started, the
// call, its result, and what that means. After the last entry it writes a ladder of the
// exchange and the kernel's view of the connection. Times are those of
// this end's calls: when a call returned, and how long it took. They are not the times of
// segments, which only a capture contains.
type Steps struct {
	// Out receives each line, and at the end the ladder with the view, in one Write.
	// The connections of a server call Write concurrently.
	Out io.Writer
	// ASCII draws the ladder without Unicode's lines and arrows.
	ASCII bool
	// Width is the maximum number of columns, 0 means 80.
	Width int
	// Taker is the name of the receiver of the octets that are sent. If empty, it is
	// "the kernel".
	Taker string
	// SourceChosen means that the client's port was requested and not chosen by the kernel.
	SourceChosen bool
	// Preparing, if not nil, returns the part of the time of connect that the client used
	// before, to start a capture.
	Preparing func() time.Duration
	// Segments, if not nil, returns the ladder of a client's segments after the
	// connection is closed. It replaces the ladder of its calls. If it returns nil,
	// there are no segments.
	Segments func() *Ladder
}

// Client returns the Trace for one exchange of a client.
func (s *Steps) Client() *bothends.Trace {
	c := &climb{Steps: s, taker: cmp.Or(s.Taker, "the kernel"), start: time.Now()}
	c.ladder = &Ladder{ASCII: s.ASCII, Start: c.start}
	return bothends.JoinTraces(c.ladder.TraceClient(), c.trace())
}

// Server returns the Trace for a connection. Use it as TraceConn of a bothends.Server. Each
// line names the connection.
func (s *Steps) Server(conn net.Conn) *bothends.Trace {
	c := &climb{Steps: s, taker: cmp.Or(s.Taker, "the kernel"), start: time.Now(), name: address(conn.RemoteAddr()) + " "}
	c.ladder = &Ladder{ASCII: s.ASCII, Start: c.start}
	return bothends.JoinTraces(c.ladder.TraceServer(), c.trace())
}

// A climb writes the steps of one connection.
type climb struct {
	*Steps
	name      string       // before each line of a server
	addrs     []netip.Addr // of the client's server
	start     time.Time
	ladder    *Ladder
	open      bool   // there was a connection
	exchanged bool   // at least once
	taker     string // of what is sent
	view      string // the kernel's
}

func (c *climb) trace() *bothends.Trace {
	return &bothends.Trace{
		Resolved:  c.resolved,
		Connected: c.connected,
		Accepted:  c.accepted,
		Secured:   c.secured,
		Sent:      c.sent,
		Received:  c.received,
		Exchanged: func(bothends.Exchange) { c.exchanged = true },
		Closing:   func(conn net.Conn) { c.view = kernelView(tcpinfo.Read(conn)) },
		Done:      c.done,
	}
}

func (c *climb) say(format string, args ...any) { c.sayOf(time.Now(), format, args...) }

// sayOf writes the entry for an event at a given time.
func (c *climb) sayOf(when time.Time, format string, args ...any) {
	c.print(fmt.Sprintf("%s %s%s\n", at(when.Sub(c.start)), c.name, fmt.Sprintf(format, args...)))
}

// print writes text in one Write.
func (c *climb) print(text string) { io.WriteString(c.Out, Fold(text, cmp.Or(c.Width, 80))) }

func at(d time.Duration) string { return fmt.Sprintf("%9.3f ms", float64(d)/1e6) }

func (c *climb) resolved(r bothends.Resolution) {
	if r.Err != nil {
		c.say("resolve: no address for %s: %s", r.Name, bothends.Reason(r.Err))
		return
	}
	c.addrs = r.Addrs
	addrs := make([]string, len(r.Addrs))
	for i, a := range r.Addrs {
		addrs[i] = a.String()
	}
	c.say("resolve: %s is %s, after %s", r.Name, strings.Join(addrs, " and "), spent(r.Start))
}

func (c *climb) connected(to bothends.Connection) {
	took := spent(to.Start) + c.includes(to)
	if to.Err != nil {
		switch bothends.Classify(to.Err) {
		case bothends.Refused:
			c.say("connect: refused after %s, by an RST or an ICMP message", took)
		case bothends.Timeout:
			c.say("connect: no connection within %s", took)
		default:
			c.say("%s: failed after %s: %s", connectCall(to.Err), took, bothends.Reason(to.Err))
		}
		return
	}
	c.open = true
	local := "this end is " + address(to.Local)
	if tcp, ok := to.Local.(*net.TCPAddr); ok {
		local = fmt.Sprintf("the kernel chose local port %d", tcp.Port)
		if c.SourceChosen {
			local = fmt.Sprintf("local port %d, as requested", tcp.Port)
		}
	}
	c.say("connect: returned after %s; %s", took, local)
}

// connectCall returns the name of the call that failed. With a source address it may be
// bind.
func connectCall(err error) string {
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall == "bind" {
		return "bind"
	}
	return "connect"
}

// includes returns what the time of connect contains in addition to connecting.
func (c *climb) includes(to bothends.Connection) string {
	var parts []string
	if triedOthers(c.addrs, to) {
		parts = append(parts, fmt.Sprintf("all attempts at the %d addresses together", len(c.addrs)))
	}
	if c.Preparing != nil {
		parts = append(parts, millis(c.Preparing())+" of it to set up the capture")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (c *climb) accepted(bothends.Connection) {
	c.open = true
	c.say("accept: returned a connection that was complete")
}

func (c *climb) secured(h bothends.Handshake) {
	if h.Err != nil {
		c.say("TLS: the handshake failed after %s", spent(h.Start))
		return
	}
	c.taker = "TLS"
	c.say("TLS: the handshake took %s; what follows is encrypted", spent(h.Start))
}

func (c *climb) sent(t bothends.Transfer) {
	what := fmt.Sprintf("send: %s took %d of %s", c.taker, t.N, octets(t.Asked))
	switch {
	case t.Whole():
		c.sayOf(t.End, "%s in %s, to deliver later", what, took(t))
	case t.Err != nil:
		c.sayOf(t.End, "%s%s", what, until(t.Err))
	default:
		c.sayOf(t.End, "%s; %d to send again", what, t.Want-len(t.Message))
	}
}

func (c *climb) received(t bothends.Transfer) {
	what := fmt.Sprintf("receive: got %d of %s", t.N, octets(t.Asked))
	if t.Want == 0 { // any number of octets
		what = "receive: got " + octets(t.N)
	}
	switch fin := errors.Is(t.Err, io.EOF); {
	case t.N > 0 && t.Want == 0:
		c.sayOf(t.End, "%s after the message; they are not part of it", what)
	case t.Whole():
		c.sayOf(t.End, "%s after %s; the message is whole", what, took(t))
	case t.Err == nil:
		c.sayOf(t.End, "%s after %s; %d still to come", what, took(t), t.Want-len(t.Message))
	case fin && t.Want > 0 && c.exchanged && len(t.Message) == 0:
		c.sayOf(t.End, "%s: the peer has closed its side, between two messages", what)
	case fin && t.Want > 0:
		c.sayOf(t.End, "%s: the peer has closed its side; %d missing", what, t.Want-len(t.Message))
	case fin:
		c.sayOf(t.End, "%s: the peer has closed its side too", what)
	default:
		c.sayOf(t.End, "%s%s", what, until(t.Err))
	}
}

// until returns the reason why a call failed. A stop by the user or by shutdown
// interrupts a call with a deadline too. The line for close shows which one it was.
func until(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return " until the deadline or a stop"
	case bothends.Classify(err) == bothends.Timeout:
		return ", then the kernel gave up: the peer did not answer"
	}
	return ", then " + bothends.Reason(err)
}

func (c *climb) done(err error) {
	if c.open {
		c.say("close: %s", bothends.Classify(err))
	}
	ladder, drawn := c.ladder, c.open
	if c.Segments != nil {
		if l := c.Segments(); l != nil {
			if c.open { // segments do not have the zone of an IPv6 address
				l.Client, l.Server = c.ladder.Client, c.ladder.Server
			}
			l.Start, ladder, drawn = c.start, l, true // also for a refused connection
		}
	}
	var view string
	if c.open { // without a connection there is no view
		view = fmt.Sprintf("\n%sthe kernel's view at the end:\n%s", c.name, c.view)
	}
	if drawn {
		title := ""
		if ladder == c.ladder {
			title = c.name + "this end's calls (their times, not those of segments):\n"
		}
		ladder.Width = cmp.Or(c.Width, 80)
		c.print(fmt.Sprintf("\n%s%s%s", title, ladder, view))
	}
}

func octets(n int) string { return plural(int64(n), "octet") }

func spent(since time.Time) string { return millis(time.Since(since)) }

func took(t bothends.Transfer) string { return millis(t.End.Sub(t.Start)) }

func millis(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/1e6) }

// kernelView returns the kernel's figures as text, several per line, and the names of
// those that are not available.
func kernelView(i tcpinfo.Info, err error) string {
	switch {
	case errors.Is(err, net.ErrClosed):
		return "  not asked: the connection was closed before, by a fault of this end\n"
	case err != nil:
		return "  " + err.Error() + "\n"
	}
	var b strings.Builder
	var missing []string
	for _, line := range [][]figure{
		{of("state", " %s", i.State), of("congestion control", " %s", i.CongestionControl), of("MSS", " %d", i.MSS)},
		{of("round trip", " %s smoothed", inMillis(i.RTT)), of("variance", " %s", inMillis(i.RTTVar)), of("retransmissions", " %d", i.Retransmissions)},
		{of("octets acknowledged", " %d (a client's SYN and a FIN count as one)", i.BytesAcked)},
		{of("octets received", " %d (a FIN counts as one)", i.BytesReceived)},
		{of("delivery rate", " %d octets/s", i.DeliveryRate), of("send queue", " %d", i.Unsent), of("receive queue", " %d", i.Unread)},
	} {
		var told []string
		for _, f := range line {
			if f.value == "" {
				missing = append(missing, f.name)
			} else {
				told = append(told, f.name+f.value)
			}
		}
		if len(told) > 0 {
			b.WriteString("  " + strings.Join(told, ", ") + "\n")
		}
	}
	if len(missing) > 0 {
		b.WriteString("  not available on this system: " + strings.Join(missing, ", ") + "\n")
	}
	return b.String()
}

// A figure is a value of the kernel as text. The value is empty if the kernel did not
// report it.
type figure struct{ name, value string }

func of[T any](name, format string, value *T) figure {
	if value == nil {
		return figure{name: name}
	}
	return figure{name, fmt.Sprintf(format, *value)}
}

func inMillis(d *time.Duration) *string {
	if d == nil {
		return nil
	}
	s := millis(*d)
	return &s
}

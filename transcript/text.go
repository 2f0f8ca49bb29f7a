package transcript

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends"
)

// Client returns a Trace that writes the two lines of a client's transcript to out.
func Client(out io.Writer) *bothends.Trace {
	return &bothends.Trace{
		Connected: func(c bothends.Connection) {
			if c.Err == nil {
				fmt.Fprintf(out, "Client has been assigned socket name %s\n", SocketName(c.Local))
			}
		},
		Exchanged: func(e bothends.Exchange) { fmt.Fprintf(out, "The server said %s\n", Quote(e.Reply)) },
	}
}

// Errors returns a function for the TraceConn of a bothends.Server that writes the
// line of each failed exchange to errs, as NewServer does. It writes no other lines.
// them, without the work for the other lines.
func Errors(errs io.Writer) func(net.Conn) *bothends.Trace {
	return func(net.Conn) *bothends.Trace {
		return &bothends.Trace{Done: func(err error) {
			if err != nil && bothends.Classify(err) != bothends.Closed {
				io.WriteString(errs, failure(err))
			}
		}}
	}
}

func failure(err error) string { return fmt.Sprintf("bothends: %s\n", ErrorText(err)) }

// patience is the maximum time that the lines of a connection wait until an earlier one has
// ended. A client that has its reply may connect again before the server's
// goroutine has closed the connection. Such connections do not overlap for the client.
const patience = 100 * time.Millisecond

// mostKept is the maximum number of octets in waiting lines. At this limit the waiting
// ends.
const mostKept = 1 << 20

// A Server writes the transcript of a server. NewServer creates a Server.
//
// For connections that do not overlap, the lines do not name the connection. If connections
// overlap, each of their lines names its connection, and "Listening" is written again
// when none is open. The lines of a connection that is accepted while another one is open
// wait until that one has ended, or until 100 ms have passed.
type Server struct {
	out, errs  io.Writer
	persistent bool

	mu        sync.Mutex
	listening string
	showing   map[*conversation]struct{} // open connections whose lines are written at once
	waiting   []*conversation            // connections whose lines wait, in the order of acceptance
	kept      int                        // octets of those lines
	timer     *time.Timer                // ends the waiting, nil if no connection waits
}

// A conversation is one connection in the transcript.
type conversation struct {
	name  string
	named bool // it overlaps with another
	ended bool
	since time.Time // when it was accepted
	kept  []line    // while it waits
}

type line struct {
	text   string
	names  bool // the line contains the name of its connection
	failed bool // the line is written to errs
}

// NewServer returns a Server that writes its lines to out, and those of failed
// exchanges to errs. Each Write is one complete line.
func NewServer(out, errs io.Writer, persistent bool) *Server {
	return &Server{out: out, errs: errs, persistent: persistent, showing: make(map[*conversation]struct{})}
}

// Listening writes the line "Listening at", and stores addr for its repetitions.
func (s *Server) Listening(addr net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = fmt.Sprintf("Listening at %s\n", SocketName(addr))
	io.WriteString(s.out, s.listening)
}

// Stopped must be called when the server stops listening. The line "Listening at" is
// then not repeated.
func (s *Server) Stopped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = ""
}

// Trace returns the Trace for a connection. Use it as TraceConn of a bothends.Server.
func (s *Server) Trace(conn net.Conn) *bothends.Trace {
	c := &conversation{name: SocketName(conn.RemoteAddr())}
	say := func(names bool, format string, args ...any) {
		s.say(c, line{text: fmt.Sprintf(format, args...), names: names})
	}
	return &bothends.Trace{
		Accepted: func(a bothends.Connection) {
			s.accepted(c)
			say(true, "We have accepted a connection from %s\n", c.name)
			say(true, "Socket connects %s and %s\n", SocketName(a.Local), c.name)
		},
		Received: func(r bothends.Transfer) {
			if r.Whole() {
				say(false, "The incoming %s message says %s\n", Octets(r.Want), Quote(r.Message))
			}
		},
		Exchanged: func(bothends.Exchange) {
			if s.persistent {
				say(false, "Reply sent\n")
			}
		},
		Done: func(err error) {
			s.say(c, s.lastLine(c, err))
			s.done(c)
		},
	}
}

func (s *Server) lastLine(c *conversation, err error) line {
	switch {
	case err == nil && s.persistent:
		return line{text: "Socket closed\n"}
	case err == nil:
		return line{text: "Reply sent, socket closed\n"}
	case bothends.Classify(err) == bothends.Closed: // a port probe is not an error
		return line{text: fmt.Sprintf("Socket closed by %s before the first octet\n", c.name), names: true}
	}
	return line{text: failure(err), names: true, failed: true}
}

func (s *Server) say(c *conversation, l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.showing[c]; ok {
		s.write(c, l)
		return
	}
	c.kept = append(c.kept, l)
	if s.kept += len(l.text); s.kept > mostKept {
		s.overlap()
	}
}

func (s *Server) write(c *conversation, l line) {
	if c.named && !l.names {
		l.text = c.name + ": " + l.text
	}
	if l.failed {
		io.WriteString(s.errs, l.text)
	} else {
		io.WriteString(s.out, l.text)
	}
}

func (s *Server) accepted(c *conversation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.showing) == 0 {
		s.showing[c] = struct{}{}
		return
	}
	c.since = time.Now()
	s.waiting = append(s.waiting, c)
	if s.overlapping() {
		s.overlap()
	} else if len(s.waiting) == 1 {
		s.startTimer()
	}
}

// startTimer starts the timer for the first connection that waits.
func (s *Server) startTimer() {
	s.stopTimer()
	var timer *time.Timer
	timer = time.AfterFunc(patience-time.Since(s.waiting[0].since), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.timer == timer { // it was not stopped in the meantime
			s.overlap()
		}
	})
	s.timer = timer
}

func (s *Server) overlapping() bool {
	for c := range s.showing {
		if c.named {
			return true
		}
	}
	return false
}

// overlap ends the waiting. The open connections overlap, so their lines get names.
func (s *Server) overlap() {
	for c := range s.showing {
		c.named = true
	}
	for _, c := range s.waiting {
		c.named = true
		s.show(c)
	}
	s.waiting = nil
	s.stopTimer()
}

func (s *Server) stopTimer() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// show writes the waiting lines of a conversation. Later lines are written at once.
func (s *Server) show(c *conversation) {
	for _, l := range c.kept {
		s.write(c, l)
		s.kept -= len(l.text)
	}
	c.kept = nil
	if !c.ended {
		s.showing[c] = struct{}{}
	}
}

func (s *Server) done(c *conversation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ended = true
	if _, ok := s.showing[c]; !ok {
		return // it waits for an earlier connection
	}
	delete(s.showing, c)
	for len(s.showing) == 0 {
		if s.listening != "" {
			io.WriteString(s.out, s.listening)
		}
		if len(s.waiting) == 0 {
			break
		}
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.show(next)
	}
	if len(s.waiting) == 0 {
		s.stopTimer()
	} else {
		s.startTimer()
	}
}

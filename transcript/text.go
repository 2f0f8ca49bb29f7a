package transcript

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends"
)

// Client returns a Trace that writes the chapter's two lines of a client to out.
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
// line of each failed exchange to errs, and nothing else: what NewServer does with
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

// How long the lines of a connection wait for one that was accepted earlier to
// end. A client that has its reply may well connect again before the server's
// goroutine has come round to closing: such connections came one at a time.
const patience = 100 * time.Millisecond

// So many octets of lines may be kept back; more ends the waiting.
const mostKept = 1 << 20

// A Server writes the chapter's transcript of a server. NewServer makes one.
//
// Connections that come one at a time give exactly the chapter's lines. Where they
// overlap, each line of theirs names its connection, and "Listening" comes again
// when none is left. A connection that is accepted while another one is open keeps
// its lines back until that one has ended, or 100 ms have passed.
type Server struct {
	out, errs  io.Writer
	persistent bool

	mu        sync.Mutex
	listening string
	showing   map[*conversation]struct{} // open, and their lines come out at once
	waiting   []*conversation            // their lines come out later; in the order of acceptance
	kept      int                        // octets of those lines
	timer     *time.Timer                // ends the waiting; nil when nobody waits
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
	names  bool // it says itself whose it is
	failed bool // it belongs to errs
}

// NewServer returns a transcript that writes lines to out, and those of failed
// exchanges to errs. Each Write is one whole line.
func NewServer(out, errs io.Writer, persistent bool) *Server {
	return &Server{out: out, errs: errs, persistent: persistent, showing: make(map[*conversation]struct{})}
}

// Listening writes the first line, and sets what it says when it comes again.
func (s *Server) Listening(addr net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = fmt.Sprintf("Listening at %s\n", SocketName(addr))
	io.WriteString(s.out, s.listening)
}

// Stopped says that the server listens no more: the line does not come again.
func (s *Server) Stopped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = ""
}

// Trace is for the TraceConn of a bothends.Server.
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
	case bothends.Classify(err) == bothends.Closed: // a port probe is no error
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

// startTimer gives the first of those who wait the rest of its time.
func (s *Server) startTimer() {
	s.stopTimer()
	var timer *time.Timer
	timer = time.AfterFunc(patience-time.Since(s.waiting[0].since), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.timer == timer { // it was not stopped just now
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

// overlap ends the waiting: those who are open at the same time get their names.
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

// show lets out what a conversation has kept, and what it will say.
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
		return // it still waits for one before it
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

package bothends

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/errno"
)

// A Server answers exchanges. The zero value reads sixteen octets, answers
// "Farewell, client", closes first, gives each exchange ten seconds, and holds at
// most ten thousand connections. Its fields must not be changed once it serves,
// and it does not serve again after Shutdown or Close.
type Server struct {
	// MessageSize is the octets of a request. 0 means 16; negative means none:
	// the server replies as soon as there is a connection.
	MessageSize int

	// Reply makes the answer, of any length, none included. Nil answers
	// "Farewell, client". The request is valid until Reply returns. The context
	// ends at the exchange's deadline and at Close. An error closes the
	// connection without an answer; a panic does too, and is logged. It is
	// called by many connections at the same time.
	Reply func(ctx context.Context, request []byte) ([]byte, error)

	// Persistent allows any number of exchanges on a connection; the client
	// closes it. Without it the server closes first, after its reply. It has no
	// effect where MessageSize is negative.
	Persistent bool

	// Timeout is for one whole exchange: from accept, or from the end of the
	// exchange before it, to the last octet of the reply. A peer that sends an
	// octet now and then does not extend it. 0 means 10 s; negative means none.
	Timeout time.Duration

	// MaxConns is how many connections may be served at once, over all
	// listeners. At the limit the server accepts no more: they wait in the
	// listener's queue (with several listeners each may hold one that it has
	// accepted). 0 means 10,000; negative means no limit.
	MaxConns int

	// TraceConn, if not nil, is called with each accepted connection, in the
	// connection's goroutine. It returns a Trace or nil. It may read from the
	// connection: the deadline of the exchange and Close apply to it.
	TraceConn func(net.Conn) *Trace

	// Log receives what is not part of an exchange: accept errors, panics of Reply,
	// and once that MaxConns is reached. If nil, slog.Default is used.
	Log *slog.Logger

	mu        sync.Mutex
	ready     bool
	listeners map[*net.Listener]struct{} // by pointer: a net.Listener need not be comparable
	conns     map[*serverConn]struct{}
	slots     chan struct{} // nil without a limit
	full      sync.Once     // the limit has been reached
	serving   int           // calls of Serve that have not returned

	closing chan struct{} // closed by Shutdown and Close
	idle    chan struct{} // closed when closing and no call of Serve is left
	base    context.Context
	cut     context.CancelCauseFunc // ends base, and with it every exchange
}

// Serve accepts connections from ln and answers on each, until Shutdown or Close
// or an error that ln does not recover from. It closes ln, and returns when the
// last of its connections has ended: [ErrServerClosed], or the error of ln.
//
// After a temporary accept error, such as EMFILE when the process has no descriptors
// left, Serve pauses for 5 ms to 1 s and tries again. It logs the first error, and then
// at most one every 10 s, with the number of failures since the one before.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	if !s.enter(&ln) {
		return ErrServerClosed
	}
	defer s.leave(&ln)
	var conns sync.WaitGroup
	defer conns.Wait()

	failures := acceptFailures{log: s.log()}
	defer failures.report()
	for {
		// Room first, and the slot only for a connection: a listener where nobody
		// connects takes none from the others.
		if s.takeSlot() {
			s.freeSlot()
		}
		conn, err := ln.Accept()
		if err != nil {
			if s.isClosing() {
				return ErrServerClosed
			}
			if !passes(err) {
				return err
			}
			failures.add(err)
			failures.wait(s.closing)
			continue
		}
		failures.pause = 0
		taken := s.takeSlot()
		conns.Go(func() {
			if taken {
				defer s.freeSlot() // deferred: a Reply may end its goroutine
			}
			s.serveConn(conn)
		})
	}
}

// Shutdown stops accepting, lets the exchanges that are under way finish, and
// returns nil when all of them have: then no goroutine or descriptor of the
// server is left. Persistent connections between two exchanges are closed at
// once. When ctx ends first, Shutdown returns its error, and the rest goes on;
// Close cuts it.
func (s *Server) Shutdown(ctx context.Context) error {
	idle := s.stop()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-idle: // both at once: it is done
		return nil
	default:
		return ctx.Err()
	}
}

// Close stops accepting and cuts every connection: its exchange ends as Canceled.
// It does not wait for them; Serve does. It always returns nil.
func (s *Server) Close() error {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut(ErrServerClosed)
	for c := range s.conns {
		c.conn.SetDeadline(longAgo)
	}
	return nil
}

// init makes what the zero value lacks. The caller holds mu.
func (s *Server) init() {
	if s.ready {
		return
	}
	s.ready = true
	s.listeners = make(map[*net.Listener]struct{})
	s.conns = make(map[*serverConn]struct{})
	if limit := orDefault(s.MaxConns, DefaultMaxConns); limit > 0 {
		s.slots = make(chan struct{}, limit)
	}
	s.closing = make(chan struct{})
	s.idle = make(chan struct{})
	s.base, s.cut = context.WithCancelCause(context.Background())
}

func (s *Server) enter(ln *net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if s.isClosing() {
		return false
	}
	s.listeners[ln] = struct{}{}
	s.serving++
	return true
}

func (s *Server) leave(ln *net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
	if s.serving--; s.serving == 0 && s.isClosing() {
		s.finish()
	}
}

// stop begins the end: no more accepts, and no waiting for another exchange.
func (s *Server) stop() (idle <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if s.isClosing() {
		return s.idle
	}
	close(s.closing)
	for ln := range s.listeners {
		(*ln).Close()
	}
	for c := range s.conns {
		if c.between {
			c.conn.SetReadDeadline(longAgo)
		}
	}
	if s.serving == 0 {
		s.finish()
	}
	return s.idle
}

func (s *Server) finish() {
	s.cut(ErrServerClosed) // frees base; every exchange has ended
	close(s.idle)
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// takeSlot waits for room under the limit. It returns without a slot when there is
// no limit, and when the server is closing: then there are no newcomers either.
func (s *Server) takeSlot() bool {
	if s.slots == nil {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	s.full.Do(func() {
		s.log().Warn("connection limit reached, further connections wait", "limit", cap(s.slots))
	})
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.closing:
		return false
	}
}

func (s *Server) freeSlot() { <-s.slots }

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.Default()
}

// passes reports whether a listener can still be used after Accept returned err.
func passes(err error) bool {
	var ne net.Error
	return errno.Passing.Has(err) || errors.As(err, &ne) && ne.Timeout()
}

// acceptLogInterval is the least time between two log records of accept errors.
const acceptLogInterval = 10 * time.Second

// acceptFailures are the temporary accept errors of a listener: they are counted, and
// each is followed by a pause.
type acceptFailures struct {
	log    *slog.Logger
	last   error
	count  int       // since the last record
	logged time.Time // when that was
	pause  time.Duration
}

func (f *acceptFailures) add(err error) {
	f.last = err
	f.count++
	if time.Since(f.logged) >= acceptLogInterval {
		f.report()
	}
}

// report logs the failures since the last record, if there are any.
func (f *acceptFailures) report() {
	if f.count == 0 {
		return
	}
	f.log.Warn("accept failed", "err", f.last, "failures", f.count)
	f.count, f.logged = 0, time.Now()
}

// wait pauses, each time twice as long, from 5 ms to 1 s, until stop is closed.
func (f *acceptFailures) wait(stop <-chan struct{}) {
	f.pause = min(max(2*f.pause, 5*time.Millisecond), time.Second)
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}

package bothends

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/serve"
)

// A Server answers exchanges. The zero value reads sixteen octets, answers
// "Farewell, client", closes first, gives each exchange ten seconds, and holds at
// most ten thousand connections. Its fields must not be changed once it serves,
// and it does not serve again after Shutdown or Close.
type Server struct {
	// MessageSize is the octets of a request. 0 means 16; negative means none:
	// the server replies as soon as there is a connection.
	MessageSize int

	// Admit, if not nil, is called with each accepted connection before anything is
	// read from it, in the connection's goroutine. An error closes the connection; its
	// outcome is [Denied], unless the error is of another outcome: a timeout, for
	// example, if Admit reads from the connection. The deadline of the exchange and
	// Close apply to it.
	Admit func(net.Conn) error

	// Reply returns the reply to a request. The reply may be empty. If Reply is nil,
	// the server sends "Farewell, client". The request is valid until Reply returns.
	// The context ends at the deadline of the exchange and at Close. If Reply returns
	// an error or panics, the connection is closed without a reply. Panics are logged.
	// Reply is called from several goroutines concurrently.
	Reply func(ctx context.Context, r *Request) ([]byte, error)

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

	once sync.Once
	loop serve.Loop
	base context.Context
	cut  context.CancelCauseFunc // ends base, and with it every exchange

	mu    sync.Mutex
	conns map[*serverConn]struct{}
	stats Stats
}

// Serve accepts connections from ln and answers on each, until Shutdown or Close
// or an error that ln does not recover from. It closes ln, and returns when the
// last of its connections has ended: [ErrServerClosed], or the error of ln.
//
// After a temporary accept error, such as EMFILE when the process has no descriptors
// left, Serve pauses for 5 ms to 1 s and tries again. It logs the first error, and then
// at most one every 10 s, with the number of failures since the one before.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	if err := s.loop.Serve(ln); err != serve.ErrStopped {
		return err
	}
	return ErrServerClosed
}

// Shutdown stops accepting, lets the exchanges that are under way finish, and
// returns nil when all of them have: then no goroutine or descriptor of the
// server is left. Persistent connections between two exchanges are closed at
// once. When ctx ends first, Shutdown returns its error, and the rest goes on;
// Close cuts it.
func (s *Server) Shutdown(ctx context.Context) error { return serve.Await(ctx, s.stop()) }

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

// init makes what the zero value lacks.
func (s *Server) init() {
	s.once.Do(func() {
		s.loop = serve.Loop{Handle: s.serveConn, Limit: max(0, orDefault(s.MaxConns, DefaultMaxConns)), Log: s.Log}
		s.base, s.cut = context.WithCancelCause(context.Background())
		s.conns = make(map[*serverConn]struct{})
	})
}

// stop stops accepting, and closes the connections that wait for another exchange.
func (s *Server) stop() (idle <-chan struct{}) {
	s.init()
	idle = s.loop.Stop() // first: after this no connection starts to wait
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.between {
			c.conn.SetReadDeadline(longAgo)
		}
	}
	return idle
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.Default()
}

package bothends

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/serve"
)

// A Server answers exchanges. The zero value is ready to use: it reads 16 octets,
// sends "Farewell, client", and closes the connection. Do not change the fields
// after calling Serve. A Server cannot be reused after Shutdown or Close.
type Server struct {
	// MessageSize is the length of a request in octets. If 0, it is 16. If
	// negative, there is no request and the server replies at once.
	MessageSize int

	// Admit, if not nil, is called with each accepted connection before the server
	// reads from it, in the connection's goroutine. If Admit returns an error, the
	// connection is closed. The outcome is [Denied], unless [Classify] knows another
	// one for the error, such as Timeout if Admit reads from the connection. The
	// deadline of the exchange and Close apply to Admit.
	Admit func(net.Conn) error

	// Reply returns the reply to a request. The reply may be empty. If Reply is nil,
	// the server sends "Farewell, client". The request is valid until Reply returns.
	// The context ends at the deadline of the exchange and at Close. If Reply returns
	// an error or panics, the connection is closed without a reply. Panics are logged.
	// Reply is called from several goroutines concurrently.
	Reply func(ctx context.Context, r *Request) ([]byte, error)

	// Persistent allows many exchanges per connection. The client closes it. If
	// false, the server closes it after the reply. Persistent has no effect if
	// MessageSize is negative.
	Persistent bool

	// Timeout is the time limit for one exchange, from accept, or from the end of
	// the previous exchange, to the last octet of the reply. Octets that arrive do
	// not extend it. If 0, it is 10 seconds. If negative, there is no limit.
	Timeout time.Duration

	// MaxConns is the maximum number of connections served concurrently, over all
	// listeners. Further connections wait in the listener's queue. With several
	// listeners, each may also hold one accepted connection. If 0, it is 10,000.
	// If negative, there is no limit.
	MaxConns int

	// TraceConn, if not nil, is called with each accepted connection, in the
	// connection's goroutine. It returns a Trace or nil. It may read from the
	// connection. The deadline of the exchange and Close apply to it.
	TraceConn func(net.Conn) *Trace

	// Log receives accept errors and panics of Reply. It also receives one message
	// when MaxConns is reached for the first time. If nil, slog.Default is used.
	Log *slog.Logger

	once sync.Once
	loop serve.Loop
	base context.Context
	cut  context.CancelCauseFunc // cancels base, which ends every exchange

	mu    sync.Mutex
	conns map[*serverConn]struct{}
	stats Stats
}

// Serve accepts connections from ln and answers exchanges on them until Shutdown or
// Close is called, or until ln fails permanently. Then it closes ln, waits until all its
// connections have ended, and returns [ErrServerClosed] or the error of ln.
//
// Serve logs temporary accept errors, such as EMFILE, and retries after 5 ms to 1 s. It
// logs the first error, and then at most one every 10 s, with the number of errors since
// the last message.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	if err := s.loop.Serve(ln); err != serve.ErrStopped {
		return err
	}
	return ErrServerClosed
}

// Shutdown stops accepting connections and waits for the open exchanges. It closes
// persistent connections that are between two exchanges. It returns nil when all
// connections have ended. Then no goroutine or descriptor of the server is left.
//
// If ctx ends first, Shutdown returns its error and the open exchanges continue. Use
// Close to end them.
func (s *Server) Shutdown(ctx context.Context) error { return serve.Await(ctx, s.stop()) }

// Close stops accepting connections and ends the open exchanges with the outcome
// Canceled. It does not wait until they have ended, but Serve does. It always returns
// nil.
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

// init initializes the unexported fields. It has an effect only the first time.
func (s *Server) init() {
	s.once.Do(func() {
		s.loop = serve.Loop{Handle: s.serveConn, Limit: max(0, orDefault(s.MaxConns, DefaultMaxConns)), Log: s.Log}
		s.base, s.cut = context.WithCancelCause(context.Background())
		s.conns = make(map[*serverConn]struct{})
	})
}

// stop stops accepting connections and wakes those that are between two exchanges. The
// channel is closed when all connections have ended.
func (s *Server) stop() (idle <-chan struct{}) {
	s.init()
	idle = s.loop.Stop() // first, so that no connection starts to wait after it
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

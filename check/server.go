package check

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"time"

	"github.com/bothends/bothends"
)

// A Server is a server to test. Set Addr, or Dial. The other fields are for servers other
// than the zero [bothends.Server]. Do not change the fields while a run is under way.
type Server struct {
	// Addr is the address of the server: host:port, or the path of a unix socket. If
	// host is a name with several addresses, each connection may try all of them, and
	// an address that does not answer costs each connection some time.
	Addr string

	// Network is the network of Addr: "tcp", "tcp4", "tcp6" or "unix". If empty, it is
	// "tcp".
	Network string

	// Dial, if not nil, opens all connections. Its arguments are Network and Addr. For
	// TLS, use the DialContext method of a tls.Dialer.
	//
	// A case that sends FIN or RST does so on the connection below all NetConn methods.
	// It needs the method CloseWrite there for FIN, and SetLinger or Reset for RST. A
	// case that the connection does not support is skipped, with the reason. Over TLS,
	// the handshake is made before a case starts, and octets are counted above TLS.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Request is the request of a normal exchange. If nil, it is
	// bothends.DefaultRequest. If empty, the server sends first.
	Request []byte

	// ReplySize is the length of the reply in octets. If 0, it is the length of Expect,
	// or 16 if Expect is nil.
	ReplySize int

	// Expect is the expected reply. If nil, the content of the reply is not checked.
	Expect []byte

	// Limit is the time limit for a normal exchange. If 0, it is 5 s.
	Limit time.Duration

	// Silence is how long the case "silence" waits until the server closes a silent
	// connection. If 0, it is 15 s. If negative, it does not wait.
	Silence time.Duration

	// Many is the number of concurrent clients in the case "many". If 0, it is 100.
	Many int

	// Times is the number of connections in the case "connect-close". If 0, it is 1000.
	Times int

	// Restart, if not nil, starts the server. It is called before the first case, and
	// again after a case that ended the server.
	Restart func(context.Context) error
}

// A ServerCase is one test of a server. [ServerCases] returns all of them.
type ServerCase struct {
	Name  string
	Title string // what the case does
	Why   string // why it matters, in one sentence

	run func(context.Context, *suite) finding
}

// A suite is one run of the cases of a Server, with the defaults filled in.
type suite struct {
	Server
	client   bothends.Client
	worked   bool   // a normal exchange has worked, or Restart has seen one
	killed   string // the case that ended the server
	gone     bool   // the server did not work when it was last tried
	hopeless bool   // it does not work after Restart either
	unable   error  // why no case can be run
}

// Run runs the cases in their order. Before and after each case it makes a normal
// exchange, which decides whether the server has survived. Half a second after the last
// case it makes another one. Run stops when the caller leaves the loop, or when ctx ends.
// A case that ctx has stopped has no result.
func (s *Server) Run(ctx context.Context, cases []ServerCase) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		if len(cases) == 0 || ctx.Err() != nil {
			return
		}
		run := newSuite(ctx, *s)
		for n, c := range cases {
			start := time.Now()
			f := run.judge(ctx, c)
			took := time.Since(start)
			if n == len(cases)-1 && f.verdict != Fail {
				if err := run.later(ctx); err != nil {
					f = fail("%v (this case or an earlier one ended the server)", err)
				}
			}
			if ctx.Err() != nil || !yield(f.result(c.Name, c.Title, took)) {
				return
			}
		}
	}
}

func newSuite(ctx context.Context, server Server) *suite {
	s := &suite{Server: server}
	if s.Request == nil {
		s.Request = []byte(bothends.DefaultRequest)
	}
	setDefault(&s.ReplySize, len(s.Expect))
	setDefault(&s.ReplySize, bothends.DefaultMessageSize)
	setDefault(&s.Limit, 5*time.Second)
	setDefault(&s.Silence, 15*time.Second)
	setDefault(&s.Many, 100)
	setDefault(&s.Times, 1000)
	setDefault(&s.Network, "tcp")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx, 0) }
	s.client = bothends.Client{Dial: dial, ReplySize: s.ReplySize, Expect: s.Expect, Timeout: s.Limit}
	if s.Restart != nil {
		if err := s.Restart(ctx); err != nil {
			s.unable = fmt.Errorf("the server could not be started: %w", err)
		}
		s.worked = s.unable == nil
	}
	return s
}

// judge runs a case against a server that works before it, and finds out whether the
// server works after it.
func (s *suite) judge(ctx context.Context, c ServerCase) finding {
	if f, ok := s.ready(ctx, c); !ok {
		return f
	}
	f := c.run(ctx, s)
	if reason := unsupportedError(""); errors.As(f.err, &reason) {
		f = skip("%s", string(reason))
	}
	err := s.normal(ctx)
	switch {
	case err == nil || isLocal(err) && f.verdict == Fail:
		return f
	case isLocal(err):
		return fail("the next exchange did not work: %v", err)
	}
	s.killed = c.Name
	if f.verdict == Fail && !isLocal(f.err) {
		return f
	}
	if f.why != "" {
		return fail("the next exchange did not work: %v (before: %s)", err, f.why)
	}
	return fail("the next exchange did not work: %v", err)
}

// ready reports whether a normal exchange works, so that the case can be run. If not, it
// returns the finding of the case.
func (s *suite) ready(ctx context.Context, c ServerCase) (f finding, ok bool) {
	if s.unable != nil {
		return unable(s.unable), false
	}
	err := s.revive(ctx)
	switch {
	case err == nil:
		s.worked = true
		return f, true
	case isLocal(err):
		return unable(err), false
	case s.killed != "":
		return skip("no normal exchange has worked since case %s: %v", s.killed, err), false
	case isUnreached(err) && !s.worked:
		s.unable = err
		return unable(err), false
	case c.Name == wholeCase: // which is that exchange
		s.killed = c.Name
		return fail("a normal exchange does not work: %v", err), false
	case s.worked:
		s.killed = c.Name
		return fail("not run: a normal exchange no longer works: %v", err), false
	}
	return skip("not run: a normal exchange does not work: %v", err), false
}

// isUnreached reports whether err is that of an exchange without a connection.
func isUnreached(err error) bool {
	var e *bothends.ExchangeError
	return errors.As(err, &e) && (e.Op == "resolve" || e.Op == "connect")
}

// settle is the time for a server to end after a case that has ended it.
const settle = 500 * time.Millisecond

// later makes a normal exchange after all cases, and returns an error if the server has
// ended since the last case.
func (s *suite) later(ctx context.Context) error {
	if !s.worked || s.hopeless || s.killed != "" && s.Restart == nil || wait(ctx, settle) != nil {
		return nil
	}
	if err := s.normal(ctx); err != nil {
		return fmt.Errorf("%v after the last case, a normal exchange no longer worked: %w", settle, err)
	}
	return nil
}

// revive makes a normal exchange. If it fails, revive restarts the server and tries again,
// except if that has already failed.
func (s *suite) revive(ctx context.Context) error {
	client := s.client
	if s.gone { // it has already had the whole time limit
		client.Timeout = min(client.Timeout, settle)
	}
	err := s.exchange(ctx, &client)
	again := s.Restart != nil && !s.hopeless
	s.gone = err != nil && !again
	if err == nil || !again || isLocal(err) || ctx.Err() != nil {
		return err
	}
	if err = s.Restart(ctx); err == nil {
		err = s.normal(ctx)
	}
	s.hopeless = err != nil
	return err
}

// normal makes an exchange without misbehavior.
func (s *suite) normal(ctx context.Context) error { return s.exchange(ctx, &s.client) }

func (s *suite) exchange(ctx context.Context, client *bothends.Client) error {
	_, err := client.Exchange(ctx, s.Addr, s.Request)
	return err
}

package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"time"

	"github.com/bothends/bothends"
)

// A Server is somebody's server, and how to judge it. Its zero value but for Addr is
// the chapter's exchange.
type Server struct {
	// Addr is where it listens, as host:port. If host is a name, each connection may
	// try all of its addresses; an address that does not answer then costs each some
	// time.
	Addr string
	// Request is what a plain exchange sends; nil is bothends.DefaultRequest, and
	// empty nothing: a server that speaks first.
	Request []byte
	// ReplySize is the octets of its reply; 0 is those of Expect, or else 16.
	ReplySize int
	// Expect, if not nil, is the only reply that is right.
	Expect []byte
	// Limit is how long a plain exchange may take; 0 is 5 s.
	Limit time.Duration
	// Silence is how long to wait for the server to give up on a silent client; 0
	// is 15 s, negative does not wait.
	Silence time.Duration
	// Many is how many clients there are at once; 0 is 100.
	Many int
	// Times is how often a client connects and closes at once; 0 is 1000.
	Times int
	// Network is that of a net.Dialer: "tcp", "tcp4" or "tcp6"; "" is "tcp".
	Network string
	// Restart, if not nil, is called before the first case, and again when a case
	// has killed the server.
	Restart func(context.Context) error
}

// A ServerCase is one thing that a client, or the network, may do to a server. They
// come from ServerCases.
type ServerCase struct {
	Name  string
	Title string
	Why   string // why it matters, in a sentence

	run func(context.Context, *battery) finding
}

// A battery is a Server under check: its settings, with the defaults filled in.
type battery struct {
	Server
	client   bothends.Client
	worked   bool   // a plain exchange has worked, or Restart has seen one
	killed   string // the case after which the server was gone
	gone     bool   // it still was at the last look
	hopeless bool   // it does not work after Restart either
	unable   error  // why no case can be run
}

// Run runs the cases in their order, each followed by a plain exchange, which decides
// whether the server has survived; after the last there is another one, a moment
// later. Leaving the loop, or the end of ctx, stops it. A case that ctx has stopped has
// no result.
func (s *Server) Run(ctx context.Context, cases []ServerCase) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		b := newBattery(*s)
		if b.Restart != nil && len(cases) > 0 && ctx.Err() == nil {
			if err := b.Restart(ctx); err != nil {
				b.unable = fmt.Errorf("the server could not be started: %w", err)
			}
			b.worked = b.unable == nil
		}
		for n, c := range cases {
			if ctx.Err() != nil {
				return
			}
			began := time.Now()
			f := b.judge(ctx, c)
			took := time.Since(began)
			if n == len(cases)-1 {
				f = b.later(ctx, f)
			}
			if ctx.Err() != nil {
				return
			}
			r := f.result(c.Name, c.Title)
			r.Took = took
			if !yield(r) {
				return
			}
		}
	}
}

func newBattery(s Server) *battery {
	if s.Request == nil {
		s.Request = []byte(bothends.DefaultRequest)
	}
	if s.ReplySize == 0 {
		s.ReplySize = len(s.Expect)
	}
	setDefault(&s.ReplySize, bothends.DefaultMessageSize)
	setDefault(&s.Limit, 5*time.Second)
	setDefault(&s.Silence, 15*time.Second)
	setDefault(&s.Many, 100)
	setDefault(&s.Times, 1000)
	if s.Network == "" {
		s.Network = "tcp"
	}
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, s.Network, addr)
	}
	client := bothends.Client{Dial: dial, ReplySize: s.ReplySize, Expect: s.Expect, Timeout: s.Limit}
	return &battery{Server: s, client: client}
}

func setDefault[T int | time.Duration](setting *T, def T) {
	if *setting == 0 {
		*setting = def
	}
}

// judge runs a case against a server that works before it, and sees whether it works
// after it.
func (b *battery) judge(ctx context.Context, c ServerCase) finding {
	if f, ok := b.ready(ctx, c); !ok {
		return f
	}
	f := c.run(ctx, b)
	err := b.plain(ctx)
	switch {
	case err == nil || isLocal(err) && f.verdict == Fail:
		return f
	case isLocal(err):
		return fail("the next exchange did not work: %v", err)
	}
	b.killed = c.Name
	if f.verdict == Fail && !isLocal(f.err) {
		return f
	}
	if f.why != "" {
		return fail("the next exchange did not work: %v (before: %s)", err, f.why)
	}
	return fail("the next exchange did not work: %v", err)
}

// ready reports whether a plain exchange works, so that a case can be run, and otherwise
// what there is to say of the case.
func (b *battery) ready(ctx context.Context, c ServerCase) (f finding, ok bool) {
	if b.unable != nil {
		return unable(b.unable), false
	}
	err := b.revive(ctx)
	switch {
	case err == nil:
		b.worked = true
		return f, true
	case isLocal(err):
		return unable(err), false
	case b.killed != "":
		return skip("no plain exchange has worked since case %s: %v", b.killed, err), false
	case isUnreached(err) && !b.worked:
		b.unable = err
		return unable(err), false
	case c.Name == "whole": // which is that exchange
		b.killed = c.Name
		return fail("a plain exchange does not work: %v", err), false
	case b.worked:
		b.killed = c.Name
		return fail("not run: a plain exchange does not work any more: %v", err), false
	}
	return skip("not run: a plain exchange does not work: %v", err), false
}

// isUnreached reports whether err is that of an exchange which did not get as far as a
// connection.
func isUnreached(err error) bool {
	var e *bothends.ExchangeError
	return errors.As(err, &e) && (e.Op == "resolve" || e.Op == "connect")
}

// settle is for a server that ends some time after what has killed it.
const settle = 500 * time.Millisecond

// later looks once more whether the server has survived all that was done to it.
func (b *battery) later(ctx context.Context, f finding) finding {
	if !b.worked || b.hopeless || b.killed != "" && b.Restart == nil || f.verdict == Fail || wait(ctx, settle) != nil {
		return f
	}
	if err := b.plain(ctx); err != nil {
		return fail("%v after it, or after a case before it, a plain exchange did not work any more: %v", settle, err)
	}
	return f
}

// revive makes a plain exchange, if need be after starting the server again: but not one
// that does not work then either.
func (b *battery) revive(ctx context.Context) error {
	client := b.client
	if b.gone { // once is enough waiting
		client.Timeout = min(client.Timeout, settle)
	}
	_, err := client.Exchange(ctx, b.Addr, b.Request)
	again := b.Restart != nil && !b.hopeless
	b.gone = err != nil && !again
	if err == nil || !again || isLocal(err) || ctx.Err() != nil {
		return err
	}
	if err = b.Restart(ctx); err == nil {
		err = b.plain(ctx)
	}
	b.hopeless = err != nil
	return err
}

// plain makes an exchange as it should be.
func (b *battery) plain(ctx context.Context) error {
	_, err := b.client.Exchange(ctx, b.Addr, b.Request)
	return err
}

// open connects; the connection has Limit for all that is done with it.
func (b *battery) open(ctx context.Context) (net.Conn, error) {
	return b.dial(ctx, net.Dialer{KeepAlive: -1})
}

// openNarrow connects with a receive buffer of about that size, or the smallest that
// there is: what the peer sends has soon no room.
func (b *battery) openNarrow(ctx context.Context, octets int) (net.Conn, error) {
	return b.dial(ctx, net.Dialer{KeepAlive: -1, Control: receiveBuffer(octets)})
}

func (b *battery) dial(ctx context.Context, dialer net.Dialer) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, b.Limit)
	defer cancel()
	conn, err := dialer.DialContext(limited, b.Network, b.Addr)
	if err != nil {
		return nil, &stepError{"connect", err}
	}
	conn.SetDeadline(time.Now().Add(b.Limit))
	return &stoppable{conn, context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })}, nil
}

// stoppable is a connection that the end of a context wakes.
type stoppable struct {
	net.Conn
	stop func() bool
}

func (c *stoppable) NetConn() net.Conn { return c.Conn }

func (c *stoppable) Close() error {
	c.stop()
	return c.Conn.Close()
}

// reply reads the reply, and says what is wrong with it.
func (b *battery) reply(conn net.Conn) error {
	p := make([]byte, b.ReplySize)
	if err := bothends.ReadMessage(conn, p); err != nil {
		return err
	}
	if b.Expect != nil && !bytes.Equal(p, b.Expect) {
		return &bothends.MismatchError{Got: p, Want: b.Expect}
	}
	return nil
}

// pieces sends the request cut at the places, with a pause before each piece but the
// first, and reads the reply.
func (b *battery) pieces(ctx context.Context, pause time.Duration, cuts ...int) error {
	conn, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	done := 0
	for _, end := range append(cuts, len(b.Request)) {
		if done > 0 {
			if err := wait(ctx, pause); err != nil {
				return err
			}
		}
		if end == len(b.Request) && done > 0 {
			if err := b.early(ctx, conn, done); err != nil {
				return err
			}
		}
		if _, err := conn.Write(b.Request[done:end]); err != nil {
			return &stepError{fmt.Sprintf("after %d octets of the request", done), err}
		}
		done = end
	}
	return b.reply(conn)
}

// early looks whether the server has answered, or left, before it has the last piece.
func (b *battery) early(ctx context.Context, conn net.Conn, sent int) error {
	deadline := time.Now().Add(b.Limit)
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, err := conn.Read(make([]byte, 1))
	var none net.Error
	switch {
	case n > 0:
		return fmt.Errorf("it answered when it had %d octets of %d", sent, len(b.Request))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &none) && none.Timeout():
		return conn.SetReadDeadline(deadline)
	}
	return &stepError{fmt.Sprintf("after %d octets of the request", sent), err}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// abandon sends so many octets of the request, and then breaks off with RST.
func (b *battery) abandon(ctx context.Context, octets int) error {
	conn, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(b.Request[:octets])
	if tcp := tcpOf(conn); tcp != nil {
		tcp.SetLinger(0)
	}
	return err
}

func tcpOf(conn net.Conn) *net.TCPConn {
	for {
		if tcp, ok := conn.(*net.TCPConn); ok {
			return tcp
		}
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = wrapped.NetConn()
	}
}

// closeWrite sends the FIN.
func closeWrite(conn net.Conn) error {
	tcp := tcpOf(conn)
	if tcp == nil {
		return errors.New("the connection cannot be half-closed")
	}
	return tcp.CloseWrite()
}

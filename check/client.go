package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/tcpinfo"
)

// A Client is a client to test: a command, or a function. It makes one exchange with the
// server that a case starts, and reports whether the exchange succeeded.
type Client struct {
	// Command is a program and its arguments. It exits with status 0 if and only if the
	// exchange succeeded. In the arguments, {addr} is replaced by the address of the
	// server, and {host} and {port} by its parts. The environment contains them as
	// BOTHENDS_ADDR, BOTHENDS_HOST and BOTHENDS_PORT. For a unix socket, addr and host
	// are its path, and port is empty.
	Command []string

	// Exchange, if not nil, is called in place of Command. It returns an error if and
	// only if the exchange failed. The context has no deadline: the time limit is a part
	// of what is tested. Exchange must return after the context ends or its connection
	// is closed, because Run waits for it.
	Exchange func(ctx context.Context, addr string) error

	// MessageSize is the length of the request in octets. If 0, it is 16. If negative,
	// there is no request.
	MessageSize int

	// Reply is the correct reply. If nil, it is bothends.DefaultReply.
	Reply []byte

	// Limit is the time limit for Command or Exchange. If 0, it is 15 s. A command that
	// runs longer is killed.
	Limit time.Duration

	// Adopt ends processes that the command leaves behind in sessions of their own too.
	// On Linux, this process becomes the parent of its descendants whose parent ends,
	// and kills all of them: it must start no other commands. On other systems Adopt
	// has no effect.
	Adopt bool

	// Host is the loopback address to listen on. If empty, it is 127.0.0.1, or ::1 if
	// there is no IPv4.
	Host string

	// Listen, if not nil, opens the listener of each case; Host is then not used. The
	// cases that need TCP are skipped if the listener has another network.
	Listen func() (net.Listener, error)

	// TLS, if not nil, is the configuration of a server that uses TLS, with its
	// certificate. The cases "refused" and "hang" act before the handshake. In all other
	// cases the faults are in the octets above TLS, and RST ends the connection below
	// it. The client is then not tested for leaving octets of the reply unread.
	TLS *tls.Config
}

// A ClientCase is one test of a client. [ClientCases] returns all of them.
type ClientCase struct {
	Name  string
	Title string // what the case does
	Why   string // why it matters, in one sentence

	least int // octets that the reply must have
	fault func(reply int) fault.Fault
	reply func([]byte) []byte
	wants wants
	needs needs
}

// wants is what a client should make of a case.
type wants uint8

const (
	success wants = iota
	failure
	either // the client may choose, but it has to end
)

// needs is what a case does that not every connection can do.
type needs uint8

const (
	stream  needs = iota // nothing else
	rst                  // RST, which TCP has
	noReply              // RST or no answer while the client connects
)

// Run runs the client once for each case, in their order. Run stops when the caller
// leaves the loop, or when ctx ends. A case that ctx has stopped has no result.
//
// If the client does not work in the case "whole", all other cases are skipped, because
// the failure that they expect would mean nothing. Run first runs "whole" even if it is
// not among the cases.
func (c *Client) Run(ctx context.Context, cases []ClientCase) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		run := newClientSuite(*c)
		for _, of := range cases {
			if ctx.Err() != nil {
				return
			}
			r := timed(of.Name, of.Title, func() (finding, string) { return run.judge(ctx, of) })
			if ctx.Err() != nil || !yield(r) {
				return
			}
		}
	}
}

// wholeCase is the case without which the others mean nothing.
const wholeCase = "whole"

// A clientSuite is one run of the cases of a Client, with the defaults filled in.
type clientSuite struct {
	Client
	tried   bool     // the case whole
	useless *finding // the finding of all other cases; nil if they can be run
}

func newClientSuite(c Client) *clientSuite {
	if c.Reply == nil {
		c.Reply = []byte(bothends.DefaultReply)
	}
	setDefault(&c.Limit, 15*time.Second)
	return &clientSuite{Client: c}
}

// judge runs a case, and the case whole before it if need be.
func (s *clientSuite) judge(ctx context.Context, of ClientCase) (f finding, output string) {
	if of.Name == wholeCase {
		f, output = s.try(ctx, of)
		s.tried, s.useless = true, f.without()
		return f, output
	}
	if !s.tried {
		s.judge(ctx, ClientCases()[0])
	}
	if s.useless != nil {
		return *s.useless, ""
	}
	return s.try(ctx, of)
}

// without returns the finding of the other cases if f is that of whole. It returns nil if
// they can be run.
func (f finding) without() *finding {
	switch {
	case f.err != nil:
	case f.verdict == Fail:
		f = skip("not run: the client does not work with a correct reply (case %s): %s", wholeCase, f.why)
	default:
		return nil
	}
	return &f
}

// try runs the client with a server that has the fault of the case.
func (s *clientSuite) try(ctx context.Context, of ClientCase) (_ finding, output string) {
	if len(s.Reply) < of.least {
		return skip("a reply of %s cannot be cut", octets(len(s.Reply))), ""
	}
	ln, err := s.listen()
	if err != nil {
		return unable(fmt.Errorf("no server for the client: %w", err)), ""
	}
	if network := ln.Addr().Network(); of.needs != stream && network != "tcp" {
		ln.Close()
		return skip("the case needs TCP, and the network is %q", network), ""
	}
	reply := s.Reply
	if of.reply != nil {
		reply = of.reply(reply)
	}
	var seen exchanges
	server := &bothends.Server{
		MessageSize: s.MessageSize,
		Timeout:     -1, // the client has to give up, not the server
		Reply: func(context.Context, *bothends.Request) ([]byte, error) {
			seen.asked.Add(1)
			return reply, nil
		},
		TraceConn: func(net.Conn) *bothends.Trace { return seen.trace(len(reply)) },
	}
	faulty := s.faulty(ln, of)
	served := make(chan error, 1)
	go func() { served <- server.Serve(faulty) }()
	client := s.start(ctx, ln.Addr())
	defer func() {
		server.Close()
		faulty.Close()
		<-served
		client.wait()
	}()
	e, err := client.end()
	if err != nil {
		return unable(err), ""
	}
	if of.wants != failure { // the client may be faster than the server's last event
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		server.Shutdown(soon)
	}
	f := of.verdict(e, &seen)
	if e.left != nil && f.verdict == Pass {
		f = warn("%s, and %s", f.why, e.left.Error())
	}
	return f, e.output
}

// faulty returns the listener with the fault of the case, and with TLS. A fault on
// connecting is below TLS, and any other above it.
func (s *clientSuite) faulty(ln net.Listener, of ClientCase) net.Listener {
	f := of.fault(len(s.Reply))
	switch {
	case s.TLS == nil:
		return fault.Listen(ln, f)
	case of.needs == noReply:
		return tls.NewListener(fault.Listen(ln, f), s.TLS)
	}
	return fault.Listen(tls.NewListener(ln, s.TLS), f)
}

func (s *clientSuite) listen() (net.Listener, error) {
	if s.Listen != nil {
		return s.Listen()
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	if s.Host != "" {
		return config.Listen(context.Background(), "tcp", net.JoinHostPort(s.Host, "0"))
	}
	ln, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		if ln6, err6 := config.Listen(context.Background(), "tcp", "[::1]:0"); err6 == nil {
			return ln6, nil
		}
	}
	return ln, err
}

// exchanges is what the server has seen of the client.
type exchanges struct {
	asked atomic.Int64 // whole requests
	made  atomic.Int64 // with the whole reply, and the client was there for it
	reset atomic.Int64 // of them, those that the client ended with RST
}

// trace counts one connection. Over TLS the kernel counts other octets than the server,
// and a client that does not read the server's close_notify ends with RST, so there only
// what the server has sent counts.
func (e *exchanges) trace(reply int) *bothends.Trace {
	sent, fin, reset, got := false, false, false, uint64(0)
	return &bothends.Trace{
		Exchanged: func(bothends.Exchange) { sent = true },
		Received: func(t bothends.Transfer) {
			got += uint64(t.N)
			fin = fin || errors.Is(t.Err, io.EOF)
			reset = reset || bothends.Classify(t.Err) == bothends.Reset
		},
		Closing: func(conn net.Conn) {
			if tlsConn(conn) != nil {
				if sent {
					e.made.Add(1)
				}
				return
			}
			info, _ := tcpinfo.Read(conn)
			fin = fin || info.BytesReceived != nil && *info.BytesReceived > got // it counts as one
			if !sent || fin && info.BytesAcked != nil && *info.BytesAcked < uint64(reply) {
				return // the client has never acknowledged what came after its FIN
			}
			e.made.Add(1)
			if reset || !fin && info.State != nil && *info.State == "CLOSE" { // no read returned the RST
				e.reset.Add(1)
			}
		},
	}
}

// verdict judges how the client ended.
func (of ClientCase) verdict(e ending, seen *exchanges) finding {
	took := rounded(e.took)
	switch {
	case e.late:
		return fail("it had not ended after %v", took)
	case e.crashed:
		return fail("a signal ended it after %v: it crashed", took)
	case of.wants != failure && seen.asked.Load() == 0:
		return fail("%s after %v, and it never sent a whole request", e.how, took)
	case of.wants == success && e.failed:
		return fail("%s after %v, although the reply was complete and correct", e.how, took)
	case of.wants == success && seen.made.Load() == 0:
		return fail("%s after %v, and it closed the connection before the whole reply had arrived", e.how, took)
	case of.wants == success && seen.reset.Load() > 0:
		return warn("%s after %v, and it ended with RST: it left octets of the reply unread, or it sets SO_LINGER to 0", e.how, took)
	case of.wants == failure && !e.failed:
		return fail("%s after %v: it took this for a success", e.how, took)
	}
	return pass("%s", strings.TrimSpace(e.how))
}

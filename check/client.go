package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/procgroup"
	"github.com/bothends/bothends/internal/tcpinfo"
)

// A Client is somebody's client, and how to judge it: a command that makes one
// exchange with the server that it is told, and exits with 0 when that went well.
type Client struct {
	// Command is the program and its arguments. {host} and {port} in them are the
	// server's; the environment has them as BOTHENDS_HOST and BOTHENDS_PORT.
	Command []string
	// MessageSize is the octets of the request to read; 0 is 16, negative none.
	MessageSize int
	// Reply is the right one; nil is bothends.DefaultReply.
	Reply []byte
	// Limit is how long the command may run; 0 is 15 s. What runs longer is killed.
	Limit time.Duration
	// Adopt ends processes that the command leaves behind, in sessions of their own
	// too. On Linux, this process becomes the parent of its descendants whose parent
	// ends, and kills all that it has: it must start no other commands. On other
	// systems Adopt has no effect.
	Adopt bool
	// Host is the loopback address to listen at; "" is 127.0.0.1, or ::1 where
	// there is no IPv4.
	Host string
}

// A ClientCase is one thing that a server, or the network, may do to a client. They
// come from ClientCases.
type ClientCase struct {
	Name  string
	Title string
	Why   string // why it matters, in a sentence

	least int // octets that the reply must have
	fault func(reply int) fault.Fault
	reply func([]byte) []byte
	wants wants
}

// wants is what a client should make of a case.
type wants uint8

const (
	success wants = iota
	failure
	either // it is the client's choice, but it has to end
)

// Run runs the command once for each case, in their order. Leaving the loop, or the
// end of ctx, stops it. A case that ctx has stopped has no result.
//
// If the command does not work in the case "whole", which is made first even if it is
// not among the cases, all others are skipped: that it fails, as it should in them,
// would mean nothing.
func (c *Client) Run(ctx context.Context, cases []ClientCase) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		var useless *finding // of all cases but whole; nil if they can be run
		if len(cases) > 0 && cases[0].Name != wholeCase && ctx.Err() == nil {
			f, _ := c.try(ctx, ClientCases()[0])
			useless = f.without()
		}
		for _, of := range cases {
			if ctx.Err() != nil {
				return
			}
			began := time.Now()
			f, output := finding{}, ""
			if useless != nil && of.Name != wholeCase {
				f = *useless
			} else {
				f, output = c.try(ctx, of)
			}
			if ctx.Err() != nil {
				return
			}
			if of.Name == wholeCase {
				useless = f.without()
			}
			r := f.result(of.Name, of.Title)
			r.Output, r.Took = output, time.Since(began)
			if !yield(r) {
				return
			}
		}
	}
}

// wholeCase is the case without which the others mean nothing.
const wholeCase = "whole"

// without returns the finding of the other cases, if f is that of whole; nil if they can
// be run.
func (f finding) without() *finding {
	switch {
	case f.err != nil:
	case f.verdict == Fail:
		f = skip("not run: it does not work with a good reply (case %s): %s", wholeCase, f.why)
	default:
		return nil
	}
	return &f
}

// try runs the command against a server with the case's fault.
func (c *Client) try(ctx context.Context, of ClientCase) (_ finding, output string) {
	reply := c.Reply
	if reply == nil {
		reply = []byte(bothends.DefaultReply)
	}
	size := len(reply)
	if size < of.least {
		return skip("a reply of %d octets cannot be cut", size), ""
	}
	ln, err := c.listen()
	if err != nil {
		return unable(fmt.Errorf("no server for the command: %w", err)), ""
	}
	if of.reply != nil {
		reply = of.reply(reply)
	}
	var seen exchanges
	server := &bothends.Server{
		MessageSize: c.MessageSize,
		Timeout:     -1, // the client has to give up, and not we
		Reply: func(context.Context, *bothends.Request) ([]byte, error) {
			seen.asked.Add(1)
			return reply, nil
		},
		TraceConn: func(net.Conn) *bothends.Trace { return seen.trace(len(reply)) },
	}
	faulty := fault.Listen(ln, of.fault(size))
	served := make(chan error, 1)
	go func() { served <- server.Serve(faulty) }()
	defer func() {
		server.Close()
		faulty.Close()
		<-served
	}()
	e, err := c.command(ctx, ln.Addr())
	if err != nil {
		return unable(err), ""
	}
	if of.wants != failure { // the command may be faster than the server's last event
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

// exchanges is what the server has seen of the client.
type exchanges struct {
	asked atomic.Int64 // whole requests
	made  atomic.Int64 // with the whole reply, and the client was there for it
	reset atomic.Int64 // of them, those that the client ended with RST
}

// trace counts one connection.
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
			info, _ := tcpinfo.Read(conn)
			fin = fin || info.BytesReceived != nil && *info.BytesReceived > got // it counts as one
			if !sent || fin && info.BytesAcked != nil && *info.BytesAcked < uint64(reply) {
				return // it has never acknowledged what came behind its FIN
			}
			e.made.Add(1)
			if reset || !fin && info.State != nil && *info.State == "CLOSE" { // what told of the RST was no receive
				e.reset.Add(1)
			}
		},
	}
}

func (c *Client) listen() (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	if c.Host != "" {
		return config.Listen(context.Background(), "tcp", net.JoinHostPort(c.Host, "0"))
	}
	ln, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		if ln6, err6 := config.Listen(context.Background(), "tcp", "[::1]:0"); err6 == nil {
			return ln6, nil
		}
	}
	return ln, err
}

// An ending is how a command has ended.
type ending struct {
	status int  // the exit status; -1 if a signal ended it
	killed bool // at the limit
	took   time.Duration
	output string
	left   error // processes that could not be ended
}

// command runs the command.
func (c *Client) command(ctx context.Context, addr net.Addr) (e ending, err error) {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return e, err
	}
	args := make([]string, len(c.Command))
	for i, a := range c.Command {
		args[i] = strings.NewReplacer("{host}", host, "{port}", port).Replace(a)
	}
	limit := c.Limit
	setDefault(&limit, 15*time.Second)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "BOTHENDS_HOST="+host, "BOTHENDS_PORT="+port)
	group := procgroup.Group{Adopt: c.Adopt}
	began := time.Now()
	if err := group.Start(cmd); err != nil {
		return e, fmt.Errorf("the command could not be started: %w", err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-group.Exited():
	case <-timer.C:
		e.killed = true
	case <-ctx.Done():
	}
	e.took = time.Since(began)
	e.left = group.End() // and what it has left behind
	e.output = group.Output()
	e.status = -1
	select {
	case <-group.Exited():
		e.status = cmd.ProcessState.ExitCode()
	default: // it could not be ended
	}
	return e, nil
}

// verdict judges how the command ended.
func (of ClientCase) verdict(e ending, seen *exchanges) finding {
	took := rounded(e.took)
	switch {
	case e.killed:
		return fail("it had not ended after %v", took)
	case e.status == -1:
		return fail("a signal ended it, after %v: it crashed", took)
	case of.wants != failure && seen.asked.Load() == 0:
		return fail("exit %d after %v, and it never sent a whole request", e.status, took)
	case of.wants == success && e.status != 0:
		return fail("exit %d after %v, though the reply was whole and right", e.status, took)
	case of.wants == success && seen.made.Load() == 0:
		return fail("exit 0 after %v, and it left before the whole reply had come", took)
	case of.wants == success && seen.reset.Load() > 0:
		return warn("exit 0 after %v, and it ended with RST: it left octets of the reply unread, or it closes so (SO_LINGER 0)", took)
	case of.wants == failure && e.status == 0:
		return fail("exit 0 after %v: it took this for a success", took)
	}
	return pass("exit %d", e.status)
}

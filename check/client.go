package check

import (
	"bytes"
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
// end of ctx, stops it.
func (c *Client) Run(ctx context.Context, cases []ClientCase) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		for _, of := range cases {
			if ctx.Err() != nil {
				return
			}
			r := Result{Case: of.Name, Title: of.Title}
			began := time.Now()
			f, output := c.try(ctx, of)
			if ctx.Err() != nil {
				return
			}
			r.Verdict, r.Why, r.Output, r.Took = f.verdict, f.why, output, time.Since(began)
			if !yield(r) {
				return
			}
		}
	}
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
		return skip("no server: %v", err), ""
	}
	if of.reply != nil {
		reply = of.reply(reply)
	}
	var seen exchanges
	server := &bothends.Server{
		MessageSize: c.MessageSize,
		Timeout:     -1, // the client has to give up, and not we
		Reply: func(context.Context, []byte) ([]byte, error) {
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
	status, took, output, err := c.command(ctx, ln.Addr())
	if err != nil {
		return fail("%v", err), output
	}
	if of.wants != failure { // the command may be faster than the server's last event
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		server.Shutdown(soon)
	}
	return of.verdict(status, took, &seen), output
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

// killed is the status of a command that was stopped at the limit.
const killed = -2

// command runs the command, and returns its exit status, -1 for one that a signal
// ended.
func (c *Client) command(ctx context.Context, addr net.Addr) (status int, took time.Duration, output string, err error) {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return 0, 0, "", err
	}
	args := make([]string, len(c.Command))
	for i, a := range c.Command {
		args[i] = strings.NewReplacer("{host}", host, "{port}", port).Replace(a)
	}
	limit := c.Limit
	setDefault(&limit, 15*time.Second)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "BOTHENDS_HOST="+host, "BOTHENDS_PORT="+port)
	tail := &tail{most: 2000}
	cmd.Stdout, cmd.Stderr = tail, tail
	cmd.WaitDelay = 100 * time.Millisecond // for what its children still hold open
	procgroup.Lead(cmd)
	overdue := false
	cmd.Cancel = func() error {
		overdue = true
		return procgroup.Kill(cmd)
	}
	began := time.Now()
	err = cmd.Run()
	took = time.Since(began)
	if cmd.Process != nil {
		procgroup.Kill(cmd) // what it has left behind
	}
	var exit *exec.ExitError
	switch {
	case overdue && ctx.Err() == nil:
		return killed, took, tail.String(), nil
	case errors.As(err, &exit):
		return exit.ExitCode(), took, tail.String(), nil
	case errors.Is(err, exec.ErrWaitDelay):
		return 0, took, tail.String(), nil
	case err != nil:
		return 0, took, "", fmt.Errorf("the command could not be run: %w", err)
	}
	return 0, took, tail.String(), nil
}

// verdict judges how the command ended.
func (of ClientCase) verdict(status int, took time.Duration, seen *exchanges) finding {
	rounded := took.Round(time.Millisecond)
	switch {
	case status == killed:
		return fail("it had not ended after %v", rounded)
	case status == -1 && of.wants != success:
		return fail("a signal ended it, after %v: it crashed", rounded)
	case of.wants != failure && seen.asked.Load() == 0:
		return fail("exit %d after %v, and it never sent a whole request", status, rounded)
	case of.wants == success && status != 0:
		return fail("exit %d after %v, though the reply was whole and right", status, rounded)
	case of.wants == success && seen.made.Load() == 0:
		return fail("exit 0 after %v, and it left before the whole reply had come", rounded)
	case of.wants == success && seen.reset.Load() > 0:
		return warn("exit 0 after %v, and it ended with RST: it left octets of the reply unread, or it closes so (SO_LINGER 0)", rounded)
	case of.wants == failure && status == 0:
		return fail("exit 0 after %v: it took this for a success", rounded)
	}
	return pass("exit %d after %v", status, rounded)
}

// tail keeps the end of what is written.
type tail struct {
	most int
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.most; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.ToValidUTF8(t.kept, []byte("?"))) }

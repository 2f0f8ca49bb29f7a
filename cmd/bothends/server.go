package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/transcript"
)

type serverFlags struct {
	exchangeFlags
	messageSize sizeFlag
	reply       textFlag
	persistent  bool
	maxConns    countFlag
	drain       timeoutFlag
}

const serverHelp = `server listens on HOST and answers many clients at the same time. For each
client it reads one request of a fixed length, sends a reply, and closes the
connection first. It prints what happens at each step.

HOST is a name, an IP address, HOST:PORT or [IPv6]:PORT. Without HOST, the
server listens on all interfaces, IPv4 and IPv6. Port 0 means a free port. The
first line of output shows the port. With -o json, it is an object
(bothends.listening/v1) with the properties "local", which is the address, and
"port". Then the server prints an object for each exchange
(bothends.exchange/v1).

If connections overlap, each line names its connection. A failed exchange is
reported on standard error and does not stop the server. If the output is not
read, the server drops lines and counts them. When --max-conns is reached, the
server reports this once, and further connections wait.

@FILE means the content of FILE. To start TEXT with @, write \x40. TEXT may
contain these escapes:

    \n \r \t \\ \' \" \0 \xNN \uNNNN

--fault injects faults into what the server sends and into the connections that
it accepts. See "bothends help faults".

SIGINT stops the server at once. SIGTERM or SIGHUP stops it when the open
exchanges have ended, or after --drain. Meanwhile it prints how many connections
are open. All print a summary of connections and exchanges. A second signal ends
the program at once. SIGUSR1 prints a summary and the server continues.

Exit status:

    0  stopped by a signal, no connection was cut
    1  connections were still open after --drain
    2  invalid command line
    3  cannot listen on HOST
    129, 130, 143  ended by a second SIGHUP, SIGINT or SIGTERM`

func newServer() *cobra.Command {
	f := serverFlags{
		messageSize: bothends.DefaultMessageSize,
		reply:       textFlag{octets: []byte(bothends.DefaultReply), shown: bothends.DefaultReply},
		maxConns:    bothends.DefaultMaxConns,
		drain:       timeoutFlag(10 * time.Second),
	}
	cmd := &cobra.Command{
		Use:   "server [HOST]",
		Short: "Answer exchanges until stopped",
		Annotations: map[string]string{flagGroups: "What to do: message-size reply persistent fault seed\n" +
			"How much: timeout max-conns drain\n" +
			"Output: output trace quiet\n" +
			"Network: port ipv4 ipv6"},
		Long: serverHelp,
		Example: `  bothends server
  bothends server 127.0.0.1 -o json
  bothends server --message-size 6 --reply '+PONG\r\n' --persistent`,
		Args: oneHost,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.Var(&f.messageSize, "message-size", "length of a request in octets")
	flags.Var(&f.reply, "reply", "reply, may be empty")
	flags.BoolVar(&f.persistent, "persistent", false, "many exchanges per connection, the client closes")
	flags.Var(&f.maxConns, "max-conns", "maximum open connections, 0 means no limit")
	flags.Var(&f.drain, "drain", "time limit for open exchanges after SIGTERM, 0 means close at once")
	return cmd
}

func (f *serverFlags) run(cmd *cobra.Command, args []string) error {
	host, port, err := hostPort(args, f.port)
	if err != nil {
		return usageError(cmd, err)
	}
	network, err := f.network(host)
	if err != nil {
		return usageError(cmd, err)
	}
	ln, err := f.listen(network, net.JoinHostPort(host, port.String()), args)
	if err != nil {
		return err
	}
	if f.fault.String() != "" {
		ln = fault.New(f.fault.Fault, f.seed).Listen(ln)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, append(stopSignals(), signalFigures...)...)
	defer signal.Stop(signals)
	print := newPrinter(cmd.OutOrStdout(), cmd.ErrOrStderr(), f.quiet)
	defer print.close()

	r := &running{print: print, drain: time.Duration(f.drain)}
	r.server = f.server(r, ln.Addr())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ln) }()
	return r.wait(served, signals)
}

// running is a server that runs until a signal stops it.
type running struct {
	server  *bothends.Server
	print   *printer
	stopped func() // informs the transcript that the server has stopped listening
	drain   time.Duration

	draining bool  // the server waits for open connections
	waitsFor int64 // their number when it was last printed
}

func (r *running) wait(served <-chan error, signals <-chan os.Signal) error {
	var result error
	var drained <-chan time.Time
	stopping := false
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var same deliveries
	for {
		select {
		case err := <-served:
			if !stopping {
				return &failure{code: exitNetwork, err: err}
			}
			r.summary()
			return result
		case <-drained:
			if open := r.server.Stats().Open; open > 0 {
				result = &failure{code: exitFailure, err: fmt.Errorf("closed %s still open after --drain %v", connections(open), r.drain)}
			}
			r.server.Close()
		case <-tick.C:
			r.waiting()
			tick.Reset(time.Second)
		case sig := <-signals:
			switch {
			case slices.Contains(signalFigures, sig):
				r.summary()
			case same.repeated(sig, time.Now()):
			case stopping: // a second signal ends the program at once
				return &failure{code: exitCode(sig)}
			default:
				stopping = true
				drained = r.stop(sig)
				tick.Reset(atOnce)
			}
		}
	}
}

// summary prints the numbers of connections and exchanges by outcome.
func (r *running) summary() {
	stats := r.server.Stats()
	r.print.note("%s", transcript.Connections(stats))
	r.print.note("%s", transcript.Exchanges(stats))
}

// atOnce is the time before the number of open connections is printed. It is enough for
// connections that end at once.
const atOnce = 100 * time.Millisecond

// waiting prints the number of connections that a drain waits for, if it has changed.
func (r *running) waiting() {
	open := r.server.Stats().Open
	if !r.draining || open == r.waitsFor || open == 0 {
		return
	}
	r.waitsFor = open
	r.print.note("waiting for %s, at most --drain %v", connections(open), r.drain)
}

func connections(n int64) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// stop stops the server: at once for SIGINT, and with a drain for other signals. The
// channel receives a value when the drain has reached its time limit.
func (r *running) stop(sig os.Signal) (drained <-chan time.Time) {
	r.stopped()
	if sig == syscall.SIGINT {
		r.server.Close()
		return nil
	}
	now, cancel := context.WithCancel(context.Background())
	cancel() // Shutdown only starts to stop the server; Serve returns when that is done
	r.server.Shutdown(now)
	r.draining = r.drain > 0
	return time.After(r.drain)
}

// server returns the Server for the flags, with its Traces.
func (f *serverFlags) server(r *running, addr net.Addr) *bothends.Server {
	var trace func(net.Conn) *bothends.Trace
	r.stopped = func() {}
	switch {
	case f.quiet:
		trace = transcript.Errors(r.print.errs)
	case f.output.value == "json":
		j := &transcript.JSON{
			Out: r.print.out, Persistent: f.persistent,
			RequestSize: int(f.messageSize), ReplySize: len(f.reply.octets), Events: f.trace,
		}
		j.Listening(addr)
		trace = j.Server
		r.print.note("listening at %v", addr)
	default:
		text := transcript.NewServer(r.print.out, r.print.errs, f.persistent)
		text.Listening(addr)
		trace, r.stopped = text.Trace, text.Stopped
	}
	steps := func(net.Conn) *bothends.Trace { return nil }
	if f.trace && f.output.value == "text" {
		steps = (&transcript.Steps{Out: r.print.errs, ASCII: asciiOnly(), Width: r.print.errColumns, Taker: f.taker()}).Server
	}
	return &bothends.Server{
		MessageSize: int(f.messageSize),
		Persistent:  f.persistent,
		Timeout:     f.timeout.orNone(),
		MaxConns:    f.maxConns.orNone(),
		Reply:       func(context.Context, *bothends.Request) ([]byte, error) { return f.reply.octets, nil },
		TraceConn: func(c net.Conn) *bothends.Trace {
			return bothends.JoinTraces(trace(c), steps(c))
		},
		Log: newLogger(r.print.errs),
	}
}

func (f *serverFlags) listen(network, addr string, args []string) (net.Listener, error) {
	config := net.ListenConfig{}
	if f.timeout > 0 {
		config.KeepAlive = -1 // deadlines detect dead peers; this saves four system calls per connection
	}
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), network, addr)
	if err == nil {
		return ln, nil
	}
	failed := &bothends.ExchangeError{Op: "listen at", Peer: addr, Err: err}
	hint := addressHint(args)
	if hint == "" {
		hint = listenHint(err, addr)
	}
	return nil, &failure{code: exitNetwork, err: failed, hint: hint}
}

// listenHint returns the hint for an error of listening at addr.
func listenHint(err error, addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	var dns *net.DNSError
	switch {
	case errno.AddrInUse.Has(err):
		return fmt.Sprintf("use another port, or stop the program that uses this one (ss -ltnp 'sport = :%s' shows it)", port)
	case errno.AddrNotAvail.Has(err):
		return "use an address of this machine, or no HOST to listen on all interfaces"
	case errno.NotPermitted.Has(err):
		return "use a port above 1023, because the lower ones need a privilege"
	case errors.As(err, &dns):
		return "check the name, or use an address of this machine"
	}
	return ""
}

// printBuffer is the maximum number of octets in the queue of an output.
const printBuffer = 1 << 20

// A printer writes to standard output and standard error through queues.
type printer struct {
	out, errs  io.Writer
	errColumns int // the maximum width of lines for errs
	quiet      bool
	queues     []*transcript.Queue
}

func newPrinter(stdout, stderr io.Writer, quiet bool) *printer {
	p := &printer{quiet: quiet, errColumns: columns(stderr)}
	stdout, stderr = under(stdout), under(stderr) // the queues have their own time limit
	errs := transcript.NewQueue(stderr, printBuffer, p.unread("standard error"))
	p.errs, p.queues = errs, []*transcript.Queue{errs}
	switch {
	case quiet:
		p.out = io.Discard
	case sameFile(stdout, stderr):
		p.out = errs // one queue keeps the lines in their order
	default:
		out := transcript.NewQueue(stdout, printBuffer, p.unread("standard output"))
		p.out, p.queues = out, []*transcript.Queue{out, errs}
	}
	return p
}

// unread returns a function that reports lost lines and errors of a stream.
func (p *printer) unread(stream string) func(int, error) {
	return func(lines int, err error) {
		if err != nil {
			fmt.Fprintf(p.errs, "bothends: %s: %v; lines are lost\n", stream, reasonOf(err))
		} else {
			fmt.Fprintf(p.errs, "bothends: %s: %d lines were not printed\n", stream, lines)
		}
	}
}

// note prints a line on standard error, unless the flag --quiet is set.
func (p *printer) note(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.errs, "bothends: "+format+"\n", args...)
	}
}

// closePatience is the time limit for each of two queues. Together they take less than the
// second in which a signal ends the program.
const closePatience = 400 * time.Millisecond

// close writes the lines in the queues. If the output is not read, it returns after
// closePatience.
func (p *printer) close() {
	for i, q := range p.queues { // standard error is last, because lost lines are reported there
		ctx, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		if lost := q.Close(ctx); lost > 0 && i == 0 {
			p.unread("standard output")(lost, nil)
		}
	}
}

func sameFile(a, b io.Writer) bool {
	fa, ok1 := fileOf(a)
	fb, ok2 := fileOf(b)
	if !ok1 || !ok2 {
		return false
	}
	ia, err1 := fa.Stat()
	ib, err2 := fb.Stat()
	return err1 == nil && err2 == nil && os.SameFile(ia, ib)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/load/exchange"
	"github.com/bothends/bothends/report"
	"github.com/bothends/bothends/transcript"
)

type loadFlags struct {
	port    portFlag
	v4, v6  bool
	timeout timeoutFlag
	output  choiceFlag
	color   choiceFlag
	quiet   bool

	connections   manyFlag
	duration      timeoutFlag
	count         countFlag
	rate          float64
	arrival       choiceFlag
	seed          uint64
	ramp, warmup  timeoutFlag
	perConnection countFlag
	persistent    bool
	hold          countFlag
	source        sourceFlag
	fault         faultFlag
	faultShare    shareFlag

	message   textFlag
	replySize sizeFlag
	expect    textFlag

	failIf  []string
	startAt string
	label   string
	save    string
	html    string
}

// newLoadFlags returns the flags with their defaults.
func newLoadFlags() *loadFlags {
	return &loadFlags{
		port:        bothends.DefaultPort,
		timeout:     timeoutFlag(bothends.DefaultTimeout),
		output:      choiceFlag{value: "text", name: "text|json", choices: []string{"text", "json"}},
		color:       choiceFlag{value: "auto", name: "auto|always|never", choices: []string{"auto", "always", "never"}},
		connections: 10,
		duration:    timeoutFlag(10 * time.Second),
		arrival:     choiceFlag{value: "constant", name: "constant|poisson", choices: []string{"constant", "poisson"}},
		faultShare:  1,
		message:     textFlag{octets: []byte(bothends.DefaultRequest), shown: bothends.DefaultRequest},
		replySize:   bothends.DefaultMessageSize,
	}
}

func newLoad() *cobra.Command {
	f := newLoadFlags()
	cmd := &cobra.Command{
		Use:   "load [HOST]",
		Short: "Measure a server under load",
		Long: `load sends exchanges to HOST and measures the rate, the outcomes and the
latency.

With --rate, the loop is open. The time when each exchange is due is known in
advance. Latency is measured from that time, even if all connections were busy.
If the server stalls for one second, the stall counts for every exchange that
was due in that second.

Without --rate, the loop is closed. Each connection starts its next exchange
when the previous one ends. A stall counts for one exchange per connection.
After a failure that came at once, such as a refused connection, a connection
waits 1 ms, then 2 ms, and so on up to 100 ms.

After --duration, load starts no more exchanges. It waits for those under way,
at most --timeout. If exchanges are due and wait for a connection, it starts
them for 10 s more. What is left then is counted as unsent.

HOST is a name, an IP address, HOST:PORT or [IPv6]:PORT. Without HOST, load
measures a server in its own process, over loopback.

Latency covers exchanges with the outcome ok or timeout. Other failures are
counted, but not timed. Exchanges that fail because of a limit of this machine,
such as its ports or open files, have the outcome local. They are not the
server's errors.

The rate is the exchanges per second over the time of the schedule. The
throughput is those that succeeded per second, over this time and the wait for
the last replies.

--fail-if takes METRIC>VALUE or METRIC<VALUE. METRIC is p50, p99.9 or another
percentile, mean or max of the latency, or of the service time (service.p99);
errors or unsent, as a number or a percentage; rate or throughput, per second.
rate includes failures, throughput does not.

The exit status is 0, 1 when an exchange failed, or was due and never sent, or a
--fail-if condition is true, 2 when the command line is invalid, 3 when HOST
cannot be resolved, and 129, 130 or 143 when SIGHUP, SIGINT or SIGTERM stopped
it, after the summary. It is also 1 if the output or a file could not be
written.

A run is saved before its summary is printed. If the reader of the output has
left, the run stops, and what was measured is saved.`,
		Example: `  bothends load
  bothends load server.example -c 50 -r 1000 -d 30s --fail-if 'p99>5ms'
  bothends load :6379 --persistent --message 'PING\r\n' --expect '+PONG\r\n'`,
		Args: oneHost,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.add(cmd)
	return cmd
}

func (f *loadFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.VarP(&f.connections, "connections", "c", "maximum number of concurrent exchanges")
	flags.VarP(&f.duration, "duration", "d", "length of the run with --warmup, 0 means until -n")
	flags.VarP(&f.count, "count", "n", "number of exchanges, 0 means until -d")
	flags.VarP(rateFlag{&f.rate}, "rate", "r", "exchanges per second, 0 means as fast as possible")
	flags.Var(&f.arrival, "arrival", "spacing of the exchanges")
	flags.Uint64Var(&f.seed, "seed", 0, "random seed `N` for --arrival poisson and --fault")
	flags.Var(&f.ramp, "ramp", "time to reach --rate or -c")
	flags.Var(&f.warmup, "warmup", "first part of -d, not measured")
	flags.Var(&f.perConnection, "per-connection", "exchanges per connection, 0 means one")
	flags.BoolVar(&f.persistent, "persistent", false, "all exchanges on the same -c connections")
	flags.Var(&f.hold, "hold", "additional idle connections to keep open")
	flags.Var(&f.source, "source", "local addresses: ADDR, ADDR-ADDR, :PORT-PORT")
	flags.Var(&f.fault, "fault", "faults to inject, such as reset:10")
	flags.Var(&f.faultShare, "fault-share", "share of connections with --fault")
	flags.StringArrayVar(&f.failIf, "fail-if", nil, "`COND` for exit status 1, such as 'p99>5ms'")
	flags.StringVar(&f.save, "save", "", "`FILE` for the record of the run")
	flags.StringVar(&f.html, "html", "", "`FILE` for an HTML report")
	flags.StringVar(&f.label, "label", "", "`NAME` of the run in reports")
	flags.StringVar(&f.startAt, "start-at", "", "start `TIME`, 15:04:05 or RFC 3339")
	flags.Var(&f.message, "message", "request")
	flags.Var(&f.replySize, "reply-size", "length of the reply in octets")
	flags.Var(&f.expect, "expect", "expected reply, also sets --reply-size")
	flags.Var(&f.timeout, "timeout", "time limit per exchange, 0 means none")
	flags.VarP(&f.port, "port", "p", "TCP port if HOST has none")
	flags.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 only")
	flags.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 only")
	flags.VarP(&f.output, "output", "o", "format, json prints one object per second")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "errors only")
	flags.Var(&f.color, "color", "auto obeys NO_COLOR")
}

func (f *loadFlags) run(cmd *cobra.Command, args []string) error {
	limits, startAt, err := f.check(cmd, args)
	if err != nil {
		return usageError(cmd, err)
	}
	ctx, stop := withSignals(cmd.Context()) // first: create leaves nothing if it is stopped
	defer stop()
	save, err := create("--save", f.save)
	if err != nil {
		return err
	}
	defer save.discard()
	page, err := create("--html", f.html)
	if err != nil {
		return err
	}
	defer page.discard()
	if save.isSame(page) {
		return usageError(cmd, errors.New("--save and --html would go to the same file"))
	}
	ctx, cancel := whileRead(ctx, cmd.OutOrStdout())
	defer cancel()
	addr, closeServer, err := f.target(ctx, cmd, args)
	if err != nil {
		return err
	}
	defer closeServer()
	idle, err := holdIdle(ctx, f.dialer(), addr, int(f.hold))
	if err != nil {
		if sig := signalOf(ctx); sig != nil {
			return &failure{code: exitCode(sig)}
		}
		return &failure{code: exitFailure, err: err, hint: cmp.Or(localHint(err), "these are the connections of --hold")}
	}
	defer idle.close()
	if err := f.waitUntil(ctx, cmd, startAt); err != nil {
		return err
	}
	x := f.exchanges(addr)
	defer hold(ctx)() // a run would be lost
	record, err := f.measure(ctx, x, targetName(args, addr), f.progress(cmd))
	if err != nil {
		return &failure{code: exitFailure, err: err}
	}
	total := load.Total(record.Intervals)
	if sig := signalOf(ctx); sig != nil && total.Operations() == 0 && total.Unsent == 0 {
		return &failure{code: exitCode(sig), err: errors.New("stopped before anything was measured")}
	}
	if err := f.report(ctx, cmd, record, save, page); err != nil {
		return err
	}
	stats := x.Stats()
	f.notes(cmd.ErrOrStderr(), &stats, idle)
	if sig := signalOf(ctx); sig != nil {
		return &failure{code: exitCode(sig)}
	}
	return f.verdict(total, limits, &stats)
}

// notes prints what the summary does not say about the connections.
func (f *loadFlags) notes(errs io.Writer, stats *exchange.Stats, idle *idleConns) {
	if lost := idle.lost(); lost > 0 {
		fmt.Fprintf(errs, "bothends: the server closed %d of the %d idle connections\n", lost, int(f.hold))
	}
	if stats.Surplus > 0 {
		fmt.Fprintf(errs, "bothends: on %d of %d connections octets followed the %d of the last reply\n", stats.Surplus, stats.Kernel.Connections, int(f.replySize))
		fmt.Fprintln(errs, "hint: with --expect, load compares each reply")
	}
	if s := stats.Stale; s.Count > 0 {
		after, hint := exchangeCount(int64(s.Most)), "use --per-connection "+strconv.Itoa(s.Most)
		if s.Least < s.Most {
			after, hint = fmt.Sprintf("%d to %s", s.Least, after), "use --per-connection with a smaller number"
		}
		fmt.Fprintf(errs, "bothends: %s failed because the server had closed the connection after %s\n", exchangeCount(int64(s.Count)), after)
		fmt.Fprintf(errs, "hint: %s, so that load opens a new connection earlier\n", hint)
	}
}

// waitUntil waits for --start-at. If it is stopped before that, there is no run to report.
func (f *loadFlags) waitUntil(ctx context.Context, cmd *cobra.Command, startAt time.Time) error {
	if wait := time.Until(startAt); wait > 0 {
		if !f.quiet {
			fmt.Fprintf(cmd.ErrOrStderr(), "bothends: starts at %s, in %v\n", startAt.Format(time.RFC3339), wait.Round(time.Second))
		}
		sleepUnless(ctx, wait)
	}
	if sig := signalOf(ctx); sig != nil {
		return &failure{code: exitCode(sig)}
	}
	return nil
}

// mostPoisson is more than can be sent. When a run ends, it goes through each operation of
// such a schedule that was due and not sent.
const mostPoisson = 1_000_000

// check returns an error for flags that cannot be used together, and reads the rest.
func (f *loadFlags) check(cmd *cobra.Command, args []string) (limits []limit, startAt time.Time, err error) {
	if f.expect.given && !cmd.Flags().Changed("reply-size") {
		f.replySize = sizeFlag(len(f.expect.octets))
	}
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	if f.count > 0 && !given("duration") {
		f.duration = 0
	}
	switch {
	case f.expect.given && len(f.expect.octets) != int(f.replySize):
		return nil, startAt, fmt.Errorf("--expect has %d octets, and --reply-size is %d", len(f.expect.octets), f.replySize)
	case f.v4 && f.v6:
		return nil, startAt, errors.New("-4 and -6 cannot be used together")
	case f.duration == 0 && f.count == 0:
		return nil, startAt, errors.New("--duration 0 requires --count")
	case f.persistent && f.perConnection > 0:
		return nil, startAt, errors.New("--persistent and --per-connection cannot be used together")
	case f.rate == 0 && (given("arrival")):
		return nil, startAt, errors.New("--arrival requires --rate")
	case given("fault-share") && !given("fault"):
		return nil, startAt, errors.New("--fault-share requires --fault")
	case f.duration > 0 && f.warmup >= f.duration:
		return nil, startAt, errors.New("--warmup must be shorter than --duration")
	case f.arrival.value == "poisson" && f.rate > mostPoisson:
		return nil, startAt, fmt.Errorf("--arrival poisson needs a --rate of at most %d", mostPoisson)
	case f.arrival.value == "poisson" && f.ramp > 0:
		return nil, startAt, errors.New("--ramp cannot be used with --arrival poisson")
	}
	for _, text := range f.failIf {
		l, err := parseLimit(text)
		if err != nil {
			return nil, startAt, err
		}
		limits = append(limits, l)
	}
	if f.startAt != "" {
		if startAt, err = parseTime(f.startAt, time.Now()); err != nil {
			return nil, startAt, err
		}
	}
	return limits, startAt, nil
}

// target returns the address to connect to. A name is looked up once, and not for each
// exchange. Without HOST it is a server in this process.
func (f *loadFlags) target(ctx context.Context, cmd *cobra.Command, args []string) (addr string, closeServer func(), err error) {
	if len(args) == 0 {
		return f.ownServer()
	}
	host, port, err := hostPort(args, f.port)
	if err != nil {
		return "", nil, usageError(cmd, err)
	}
	network, err := (&exchangeFlags{v4: f.v4, v6: f.v6}).network(host)
	if err != nil {
		return "", nil, usageError(cmd, err)
	}
	if port == 0 {
		return "", nil, usageError(cmd, errors.New("cannot connect to port 0"))
	}
	addrs, err := addressesOf(ctx, network, host, port.String())
	if err != nil {
		return "", nil, err
	}
	return answering(ctx, addrs, func(ctx context.Context, addr string) error {
		conn, err := f.dialer()(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	}), func() {}, nil
}

// ownServer starts a server in this process, on loopback.
func (f *loadFlags) ownServer() (addr string, closeServer func(), err error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	config.KeepAlive = -1
	host := "127.0.0.1:0"
	if f.v6 {
		host = "[::1]:0"
	}
	ln, err := config.Listen(context.Background(), "tcp", host)
	if err != nil {
		return "", nil, &failure{code: exitNetwork, err: err}
	}
	reply := make([]byte, f.replySize)
	copy(reply, bothends.DefaultReply)
	if f.expect.given {
		reply = f.expect.octets
	}
	s := &bothends.Server{
		MessageSize: noneIfZero(len(f.message.octets)), Persistent: f.keeps(), MaxConns: -1, Timeout: -1,
		Reply: func(context.Context, *bothends.Request) ([]byte, error) { return reply, nil },
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	return ln.Addr().String(), func() { s.Close(); <-served }, nil
}

// keeps reports whether a connection has more than one exchange.
func (f *loadFlags) keeps() bool { return f.persistent || f.perConnection > 1 }

func targetName(args []string, addr string) string {
	if len(args) == 0 {
		return "a server in the same process"
	}
	return addr
}

// measure makes the exchanges, and shows how they go.
func (f *loadFlags) measure(ctx context.Context, x *exchange.Exchanges, target string, progress *progress) (*load.Record, error) {
	r, m := f.runner(x), x.Meta()
	m.Label, m.Target, m.Hold = f.label, target, int(f.hold)
	if text := f.fault.String(); text != "" {
		m.Fault, m.FaultShare = text, float64(f.faultShare)
	}
	r.Progress = progress.tell
	progress.begin(r.Warmup)
	defer progress.end()
	return r.Record(ctx, m)
}

func (f *loadFlags) runner(x *exchange.Exchanges) *load.Runner {
	r := x.Runner()
	r.Pacer, r.Workers, r.Count = f.pacer(), int(f.connections), int64(f.count)
	r.Duration, r.Warmup, r.Ramp = time.Duration(f.duration), time.Duration(f.warmup), time.Duration(f.ramp)
	return &r
}

func (f *loadFlags) pacer() load.Pacer {
	switch {
	case f.rate == 0:
		return nil
	case f.arrival.value == "poisson":
		return load.Poisson(f.rate, f.seed)
	case f.ramp > 0:
		return load.Ramp(0, f.rate, time.Duration(f.ramp))
	}
	return load.Constant(f.rate)
}

// exchanges returns the exchanges of the flags.
func (f *loadFlags) exchanges(addr string) *exchange.Exchanges {
	x := &exchange.Exchanges{Addr: addr, Request: f.message.octets, PerConnection: int(f.perConnection)}
	if f.persistent {
		x.PerConnection = -1
	}
	x.Client = bothends.Client{ReplySize: noneIfZero(int(f.replySize)), Timeout: f.timeout.orNone()}
	if f.expect.given {
		x.Client.Expect = f.expect.octets
	}
	dialer := f.dialer()
	faults := fault.New(fault.Sometimes(float64(f.faultShare), f.fault.Fault), f.seed)
	x.Client.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return faults.Conn(conn), nil
	}
	return x
}

// dialer connects, from the addresses of --source in turn.
func (f *loadFlags) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if len(f.source.addrs) == 0 && f.source.low == 0 {
		dialer := net.Dialer{KeepAlive: -1}
		return dialer.DialContext
	}
	return f.source.dial
}

// report prints the run, and writes it where the user wants it.
func (f *loadFlags) report(ctx context.Context, cmd *cobra.Command, record *load.Record, save, page *outFile) error {
	var failed, printErr error
	if save != nil {
		if err := save.write(ctx, record.Write); err != nil {
			failed = fmt.Errorf("--save: %w", err)
		}
	}
	if page != nil {
		run := report.Run{Name: cmp.Or(f.label, record.Config.Target), Record: record}
		if err := page.write(ctx, func(w io.Writer) error { return report.HTML(w, []report.Run{run}) }); err != nil {
			failed = errors.Join(failed, fmt.Errorf("--html: %w", err))
		}
	}
	if !f.quiet {
		printErr = f.print(cmd.OutOrStdout(), record)
	}
	switch {
	case failed != nil:
		return &failure{code: exitFailure, err: failed}
	case printErr != nil:
		return outputFailure(printErr)
	}
	return nil
}

// verdict is how the command ends: errors and --fail-if make it fail.
func (f *loadFlags) verdict(total *load.Interval, limits []limit, stats *exchange.Stats) error {
	hint := localHint(stats.Local)
	onThisMachine := ""
	if n := total.Outcomes[load.Local]; n > 0 {
		onThisMachine = fmt.Sprintf("; %d failed on this machine%s", n, theFirst(stats.Local))
	}
	for _, l := range limits {
		if broken, instead := l.brokenBy(total); broken {
			if stats.First != nil {
				instead += "; the first error: " + transcript.ErrorText(stats.First)
			}
			return &failure{code: exitFailure, err: fmt.Errorf("--fail-if '%s': %s%s", l.text, instead, onThisMachine), hint: hint}
		}
	}
	switch failed := total.Errors(); {
	case failed > 0 && !limited(limits, "errors"):
		err := fmt.Errorf("%d of %d exchanges failed%s%s", failed, total.Operations(), theFirst(stats.First), onThisMachine)
		return &failure{code: exitFailure, err: err, hint: hint}
	case total.Outcomes[load.Local] > 0:
		err := fmt.Errorf("%d of %d exchanges failed on this machine%s", total.Outcomes[load.Local], total.Operations(), theFirst(stats.Local))
		return &failure{code: exitFailure, err: err, hint: hint}
	case total.Unsent > 0 && !limited(limits, "unsent"):
		return &failure{code: exitFailure, err: fmt.Errorf("%d of %d exchanges were due and never sent", total.Unsent, total.Unsent+total.Operations())}
	case total.Operations() == 0:
		return &failure{code: exitFailure, err: errors.New("no exchange was made")}
	}
	return nil
}

// theFirst returns the part of a sentence that names the first error. It is empty without
// one: the error may have come at the moment when the warm-up ended.
func theFirst(err error) string {
	if err == nil {
		return ""
	}
	return "; the first: " + transcript.ErrorText(err)
}

// localHint returns what to do about an error for which exchange.IsLocal is true.
func localHint(err error) string {
	var call *os.SyscallError
	switch {
	case errno.Exhausted.Has(err):
		return "raise the limit of open files (ulimit -n), or use fewer connections"
	case errno.AddrInUse.Has(err):
		return "the ports of --source are in use: give more ports, or more addresses"
	case errno.AddrNotAvail.Has(err) && errors.As(err, &call) && call.Syscall == "bind":
		return "use addresses of this machine with --source (ip address lists them)"
	case errno.AddrNotAvail.Has(err):
		return "this address has no free port: use more addresses (--source 127.0.0.1-127.0.0.64), or more exchanges per connection (--per-connection 10)"
	}
	return ""
}

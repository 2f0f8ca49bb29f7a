package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/docs"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/procgroup"
)

// checkFlags are the flags of both check and check client.
type checkFlags struct {
	suite      string // "server" or "client"
	only, skip []string
	list       bool
	explain    string
	output     choiceFlag
	color      choiceFlag
	limit      timeoutFlag
}

func (f *checkFlags) add(cmd *cobra.Command) {
	f.output = choiceFlag{value: "text", name: "FORMAT", choices: []string{"text", "json", "tap", "junit"}}
	f.color = choiceFlag{value: "auto", name: "auto|always|never", choices: []string{"auto", "always", "never"}}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.only, "only", nil, "`CASES` to run, separated by commas")
	flags.StringSliceVar(&f.skip, "skip", nil, "`CASES` not to run, separated by commas")
	flags.BoolVar(&f.list, "list", false, "list the cases, do not run them")
	flags.StringVar(&f.explain, "explain", "", "print the page about a `CASE`, do not run it")
	flags.VarP(&f.output, "output", "o", "output format: text, json, tap or junit")
	flags.Var(&f.color, "color", "color, auto obeys NO_COLOR")
}

type checkServerFlags struct {
	checkFlags
	port      portFlag
	v4, v6    bool
	message   textFlag
	replySize sizeFlag
	expect    textFlag
	silence   timeoutFlag
	many      manyFlag
	times     manyFlag
}

func newCheck() *cobra.Command {
	f := checkServerFlags{
		checkFlags: checkFlags{suite: "server"},
		port:       bothends.DefaultPort,
		message:    textFlag{octets: []byte(bothends.DefaultRequest), shown: bothends.DefaultRequest},
		replySize:  bothends.DefaultMessageSize,
		silence:    timeoutFlag(15 * time.Second),
		many:       100,
		times:      1000,
	}
	f.limit = timeoutFlag(5 * time.Second)
	cmd := &cobra.Command{
		Use:   "check HOST [-- COMMAND ARGS...]",
		Short: "Test a server or client against misbehaving peers",
		Long: `check tests a server with fixed-length messages. It sends the request in
pieces, closes or resets in the middle, stays silent, does not read the reply,
and opens 100 connections at once. After each case, a normal exchange must work
within --limit. If it does not, the case fails.

HOST is a name, an IP address, HOST:PORT or [IPv6]:PORT. If a name has several
addresses, check uses the first one that answers.

With COMMAND, check starts the server, waits up to 30 s until it listens, and
restarts it after a case that ended it. Without COMMAND, check then skips the
remaining cases. When check ends, it also ends COMMAND and the processes that
COMMAND has started. For a server that sends first, use --message ''.

"bothends help check" also lists the cases. --explain CASE prints the page about
a case, which shows the bug in code.

Exit status:
  0                   no case failed
  1                   a case failed, or could not be run
  2                   invalid command line, or COMMAND cannot be started
  3                   no server listens at HOST
  4                   timeout while connecting
  129, 130, 131, 143  stopped by a signal`,
		Example: `  bothends check 127.0.0.1
  bothends check localhost:6379 --message 'PING\r\n' --expect '+PONG\r\n'
  bothends check 127.0.0.1:1060 -- python3 server.py
  bothends check client -- ./client {host} {port}`,
		Args: func(cmd *cobra.Command, args []string) error { return f.oneServer(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.VarP(&f.port, "port", "p", "TCP port if HOST has none")
	flags.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 only")
	flags.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 only")
	flags.Var(&f.message, "message", "request, may be empty")
	flags.Var(&f.replySize, "reply-size", "length of the reply in octets")
	flags.Var(&f.expect, "expect", "expected reply, also sets --reply-size")
	flags.Var(&f.limit, "limit", "time limit for a normal exchange")
	flags.Var(&f.silence, "silence", "wait for the end of a silent client, 0 means none")
	flags.Var(&f.many, "many", "concurrent clients in case many")
	flags.Var(&f.times, "times", "connections in case connect-close")
	cmd.AddCommand(newCheckClient())
	return cmd
}

// oneServer returns an error if the arguments are not one HOST and perhaps a COMMAND.
func (f *checkServerFlags) oneServer(cmd *cobra.Command, args []string) error {
	hosts := args
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		hosts = args[:at]
	}
	if len(hosts) != 1 && !f.list && f.explain == "" {
		return usageError(cmd, fmt.Errorf("expected one HOST, got %d", len(hosts)))
	}
	return nil
}

func (f *checkServerFlags) run(cmd *cobra.Command, args []string) error {
	cases, err := chosenCases(cmd, &f.checkFlags, check.ServerCases(), serverCase)
	if err != nil || cases == nil {
		return err
	}
	s, host, port, err := f.server(cmd, args[0])
	if err != nil {
		return usageError(cmd, err)
	}
	ctx, stop := withSignals(cmd.Context(), signalsQuit...)
	defer stop()
	defer beforeExit(ctx, procgroup.EndDescendants)()
	addrs, err := addressesOf(ctx, s.Network, host, port.String())
	if err != nil {
		return err
	}
	if len(args) > 1 {
		p := newProcess(s, addrs, args[1:])
		defer p.endWith(ctx, cmd.ErrOrStderr())()
		addr, err := p.first(ctx, cmd)
		if err != nil && signalOf(ctx) == nil { // one that was stopped has a report
			return err
		}
		s.Addr = cmp.Or(addr, addrs[0])
		s.Restart = p.restart
	} else {
		s.Addr = answering(ctx, addrs, reaches(s))
	}
	return f.report(ctx, cmd, suite{
		name: s.Addr, cases: named(cases, serverCase), results: s.Run(ctx, cases),
		notRun: func(err error) *failure { return f.unreached(ctx, args[:1], err) },
	})
}

func serverCase(c check.ServerCase) (name, title string) { return c.Name, c.Title }

// reaches returns a function that makes an exchange with a server. Its error is nil if
// the connection was made, even if the exchange failed.
func reaches(s *check.Server) func(context.Context, string) error {
	client := exchangesWith(s)
	return func(ctx context.Context, addr string) error {
		if _, err := client.Exchange(ctx, addr, s.Request); isUnreached(err) {
			return err
		}
		return nil
	}
}

// isUnreached reports whether err is that of an exchange without a connection.
func isUnreached(err error) bool {
	var e *bothends.ExchangeError
	return errors.As(err, &e) && e.Op == "connect"
}

func exchangesWith(s *check.Server) *bothends.Client {
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, s.Network, addr)
	}
	return &bothends.Client{Dial: dial, ReplySize: s.ReplySize, Timeout: s.Limit}
}

// unreached returns the failure of the client command for a server that cannot be reached.
func (f *checkServerFlags) unreached(ctx context.Context, args []string, err error) *failure {
	c := clientFlags{message: f.message}
	c.timeout = f.limit
	failed := c.failed(ctx, args, err)
	failed.hint = cmp.Or(checkHint(err), failed.hint)
	return failed
}

// checkHint returns the hint for an error that has its cause on this machine.
func checkHint(err error) string {
	switch {
	case errno.Exhausted.Has(err):
		return "raise the limit of open files (ulimit -n), or use fewer clients (--many 50)"
	case errno.AddrNotAvail.Has(err), errno.AddrInUse.Has(err):
		return "the ports of this machine are used up: wait for a minute, or use --times 100"
	}
	return ""
}

// server returns the server of the flags, without Addr.
func (f *checkServerFlags) server(cmd *cobra.Command, arg string) (s *check.Server, host string, port portFlag, err error) {
	host, port, err = hostPort([]string{arg}, f.port)
	if err != nil {
		return nil, "", 0, err
	}
	network, err := (&exchangeFlags{v4: f.v4, v6: f.v6}).network(host)
	if err != nil {
		return nil, "", 0, err
	}
	switch {
	case port == 0:
		return nil, "", 0, errors.New("cannot connect to port 0")
	case f.limit == 0:
		return nil, "", 0, errNoLimit
	}
	s = &check.Server{
		Request: f.message.octets, ReplySize: int(f.replySize),
		Network: network, Limit: time.Duration(f.limit), Silence: f.silence.orNone(), Many: int(f.many), Times: int(f.times),
	}
	if s.Request == nil {
		s.Request = []byte{} // --message '' means that the server sends first
	}
	if f.expect.given {
		s.Expect = f.expect.octets
		if !cmd.Flags().Changed("reply-size") {
			s.ReplySize = len(s.Expect)
		}
		if s.ReplySize != len(s.Expect) {
			return nil, "", 0, fmt.Errorf("--expect has %d octets, but --reply-size is %d", len(s.Expect), s.ReplySize)
		}
	}
	return s, host, port, nil
}

type checkClientFlags struct {
	checkFlags
	messageSize sizeFlag
	reply       textFlag
}

func newCheckClient() *cobra.Command {
	f := checkClientFlags{
		checkFlags:  checkFlags{suite: "client"},
		messageSize: bothends.DefaultMessageSize,
		reply:       textFlag{octets: []byte(bothends.DefaultReply), shown: bothends.DefaultReply},
	}
	f.limit = timeoutFlag(15 * time.Second)
	cmd := &cobra.Command{
		Use:   "client -- COMMAND ARGS...",
		Short: "Test a client against misbehaving servers",
		Long: `check client runs COMMAND once for each case, with a server that the case
starts: one that sends its reply in pieces or late, one that ends its reply in
the middle with FIN, RST or silence, one that sends a wrong reply, and one that
refuses the connection or does not answer.

In ARGS, {host} and {port} are replaced by the host and port of the server, and
{addr} by both. The environment contains them as BOTHENDS_HOST, BOTHENDS_PORT
and BOTHENDS_ADDR. COMMAND should make one exchange, and exit with status 0 if
it succeeded. For a correct reply, status 0 passes. In the other cases any other
status passes. COMMAND must end within --limit. If it does not work with a
correct reply, the other cases are skipped.

Exit status:
  0                   no case failed
  1                   a case failed, or could not be run
  2                   invalid command line, or COMMAND cannot be started
  129, 130, 131, 143  stopped by a signal`,
		Example: `  bothends check client -- ./client {host} {port}
  bothends check client -- sh -c 'nc -N {host} {port} <request'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !f.list && f.explain == "" {
				return usageError(cmd, errors.New("expected a COMMAND after --"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.Var(&f.messageSize, "message-size", "length of the request in octets")
	flags.Var(&f.reply, "reply", "correct reply")
	flags.Var(&f.limit, "limit", "time limit for each run of COMMAND")
	return cmd
}

func (f *checkClientFlags) run(cmd *cobra.Command, args []string) error {
	cases, err := chosenCases(cmd, &f.checkFlags, check.ClientCases(), clientCase)
	if err != nil || cases == nil {
		return err
	}
	if len(f.reply.octets) == 0 {
		return usageError(cmd, errors.New("--reply must not be empty"))
	}
	if f.limit == 0 {
		return usageError(cmd, errNoLimit)
	}
	if err := isProgram(args[0]); err != nil {
		return usageError(cmd, err)
	}
	ctx, stop := withSignals(cmd.Context(), signalsQuit...)
	defer stop()
	defer beforeExit(ctx, procgroup.EndDescendants)()
	c := &check.Client{
		Command: args, MessageSize: int(f.messageSize), Reply: f.reply.octets, Limit: time.Duration(f.limit),
		Adopt: true, // this process starts no other commands
	}
	return f.report(ctx, cmd, suite{
		name: strings.Join(args, " "), cases: named(cases, clientCase), results: c.Run(ctx, cases),
		notRun: func(err error) *failure {
			if hint := checkHint(err); hint != "" {
				return &failure{code: exitFailure, err: err, hint: hint}
			}
			return &failure{code: exitUsage, err: err}
		},
	})
}

func clientCase(c check.ClientCase) (name, title string) { return c.Name, c.Title }

// errNoLimit is returned because a server or client that hangs is only found by a limit.
var errNoLimit = errors.New("--limit must be greater than 0")

// chosenCases returns the cases of --only and --skip. With --list or --explain it prints
// what they ask for, and returns none.
func chosenCases[C any](cmd *cobra.Command, f *checkFlags, all []C, of func(C) (name, title string)) ([]C, error) {
	var names []string
	for _, c := range all {
		name, title := of(c)
		names = append(names, name)
		if f.list {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-14s %s\n", name, title); err != nil {
				return nil, outputFailure(err)
			}
		}
	}
	if f.list {
		return nil, nil
	}
	for _, name := range slices.Concat(f.only, f.skip) {
		if !slices.Contains(names, name) {
			return nil, noCase(cmd, name, names)
		}
	}
	if f.explain != "" {
		return nil, f.printPage(cmd, names)
	}
	chosen := slices.DeleteFunc(all, func(c C) bool {
		name, _ := of(c)
		return slices.Contains(f.skip, name) || len(f.only) > 0 && !slices.Contains(f.only, name)
	})
	if len(chosen) == 0 {
		return nil, usageError(cmd, errors.New("--only and --skip exclude all cases"))
	}
	return chosen, nil
}

func noCase(cmd *cobra.Command, name string, names []string) *failure {
	failed := usageError(cmd, fmt.Errorf("there is no case %q", name))
	failed.hint = "the cases are: " + strings.Join(names, " ")
	return failed
}

// printPage prints the page of docs/check about the case of --explain.
func (f *checkFlags) printPage(cmd *cobra.Command, names []string) error {
	page := docs.CheckCase(f.suite, f.explain)
	if page == "" {
		return noCase(cmd, f.explain, names)
	}
	return printPage(cmd.OutOrStdout(), page, true)
}

// A suite is what check runs.
type suite struct {
	name    string   // the server or the client
	cases   []string // "name: title"
	results iter.Seq[check.Result]
	notRun  func(error) *failure // if not even the first case could be started
}

// named returns "name: title" for each case.
func named[C any](cases []C, of func(C) (name, title string)) (all []string) {
	for _, c := range cases {
		name, title := of(c)
		all = append(all, name+": "+title)
	}
	return all
}

// report prints the results one by one.
func (f *checkFlags) report(ctx context.Context, cmd *cobra.Command, s suite) error {
	out := cmd.OutOrStdout()
	color := wantsColor(out, f.color.value)
	if f.output.value == "text" {
		out = folding(out)
	}
	reporter := check.NewReporter(f.output.value, out, s.name, len(s.cases), color)
	status := newCaseStatus(cmd.ErrOrStderr(), s.cases)
	closeStatus := sync.OnceFunc(status.close)
	defer closeStatus()
	var tally check.Tally
	var unable error
	for r := range s.results {
		if notRun := (*check.NotRunError)(nil); tally.Total() == 0 && errors.As(r.Err, &notRun) {
			return s.notRun(notRun.Err)
		}
		tally.Add(r)
		if unable == nil && r.Err != nil {
			unable = fmt.Errorf("case %s could not be run: %w", r.Case, r.Err)
		}
		if err := status.ended(func() error { return reporter.Add(r) }); err != nil {
			return outputFailure(err)
		}
	}
	closeStatus()
	if err := reporter.End(); err != nil {
		return outputFailure(err)
	}
	if sig := signalOf(ctx); sig != nil {
		return &failure{code: exitCode(sig)}
	}
	if !tally.OK() {
		return &failure{code: exitFailure, err: unable, hint: checkHint(unable)}
	}
	return nil
}

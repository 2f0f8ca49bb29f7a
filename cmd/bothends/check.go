package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/internal/procgroup"
)

// checkFlags are those that both batteries share.
type checkFlags struct {
	only, skip []string
	list       bool
	output     choiceFlag
	color      choiceFlag
	limit      timeoutFlag
}

func (f *checkFlags) add(cmd *cobra.Command) {
	f.output = choiceFlag{value: "text", name: "FORMAT", choices: []string{"text", "json", "tap", "junit"}}
	f.color = choiceFlag{value: "auto", name: "auto|always|never", choices: []string{"auto", "always", "never"}}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.only, "only", nil, "these `CASES` alone, comma-separated")
	flags.StringSliceVar(&f.skip, "skip", nil, "all but these `CASES`")
	flags.BoolVar(&f.list, "list", false, "list the cases, and run none")
	flags.VarP(&f.output, "output", "o", "text, json, tap or junit")
	flags.Var(&f.color, "color", "auto obeys NO_COLOR")
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
		port:      bothends.DefaultPort,
		message:   textFlag{octets: []byte(bothends.DefaultRequest), shown: bothends.DefaultRequest},
		replySize: bothends.DefaultMessageSize,
		silence:   timeoutFlag(15 * time.Second),
		many:      100,
		times:     1000,
	}
	f.limit = timeoutFlag(5 * time.Second)
	cmd := &cobra.Command{
		Use:   "check HOST [-- COMMAND ARGS...]",
		Short: "Try somebody's server, or client, with awkward peers",
		Long: `check does to a server of fixed-length messages what clients and networks do:
it cuts the request at every place, closes and resets in the middle of it, says
nothing, reads nothing, comes a hundred times at once. After each case a plain
exchange must work within --limit: that decides whether the server survived.

HOST is a name, an address, HOST:PORT or [IPv6]:PORT. With COMMAND, check starts
the server itself, and again after a case that killed it; otherwise the cases
behind that one are skipped. A server that speaks first is checked with
--message ''.

The exit status is 0, 1 when a case failed or all were skipped, 2 when the
command line is wrong, and 129, 130 or 143 when a signal stopped it. docs/check
has a page for each case, with what such bugs look like in code.`,
		Example: `  bothends check 127.0.0.1
  bothends check localhost:6379 --message 'PING\r\n' --expect '+PONG\r\n'
  bothends check 127.0.0.1:1060 -- python3 server.py
  bothends check client -- ./client {host} {port}`,
		Args: func(cmd *cobra.Command, args []string) error {
			hosts := args
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				hosts = args[:at]
			}
			if len(hosts) != 1 && !f.list {
				return usageError(cmd, fmt.Errorf("one HOST, please, not %d", len(hosts)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.VarP(&f.port, "port", "p", "TCP port, unless HOST has one")
	flags.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 only")
	flags.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 only")
	flags.Var(&f.message, "message", "the request, if any")
	flags.Var(&f.replySize, "reply-size", "octets of the reply")
	flags.Var(&f.expect, "expect", "the only right reply; --reply-size follows it")
	flags.Var(&f.limit, "limit", "for a plain exchange")
	flags.Var(&f.silence, "silence", "wait for a silent client's end")
	flags.Var(&f.many, "many", "clients at once in case many")
	flags.Var(&f.times, "times", "how often in case connect-close")
	cmd.AddCommand(newCheckClient())
	return cmd
}

func (f *checkServerFlags) run(cmd *cobra.Command, args []string) error {
	cases, err := chosenCases(cmd, &f.checkFlags, check.ServerCases(), func(c check.ServerCase) (string, string) { return c.Name, c.Title })
	if err != nil || cases == nil {
		return err
	}
	s, err := f.server(cmd, args[0])
	if err != nil {
		return usageError(cmd, err)
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	if len(args) > 1 {
		p, err := newProcess(ctx, s, args[1:])
		if err != nil {
			return usageError(cmd, err)
		}
		defer p.stop()
		s.Restart = p.restart
	}
	return f.report(ctx, cmd, s.Addr, len(cases), func(yield func(check.Result) bool) { s.Run(ctx, cases)(yield) })
}

func (f *checkServerFlags) server(cmd *cobra.Command, arg string) (*check.Server, error) {
	host, port, err := hostPort([]string{arg}, f.port)
	if err != nil {
		return nil, err
	}
	network, err := (&exchangeFlags{v4: f.v4, v6: f.v6}).network(host)
	if err != nil {
		return nil, err
	}
	if f.limit == 0 {
		return nil, errors.New("--limit 0 is no limit to judge by")
	}
	s := &check.Server{
		Addr: net.JoinHostPort(host, port.String()), Request: f.message.octets, ReplySize: int(f.replySize),
		Network: network, Limit: time.Duration(f.limit), Silence: f.silence.orNone(), Many: int(f.many), Times: int(f.times),
	}
	if s.Request == nil {
		s.Request = []byte{} // --message '' is a server that speaks first
	}
	if f.expect.given {
		s.Expect = f.expect.octets
		if !cmd.Flags().Changed("reply-size") {
			s.ReplySize = len(s.Expect)
		}
		if s.ReplySize != len(s.Expect) {
			return nil, fmt.Errorf("--expect has %d octets, and --reply-size is %d", len(s.Expect), s.ReplySize)
		}
	}
	return s, nil
}

type checkClientFlags struct {
	checkFlags
	messageSize sizeFlag
	reply       textFlag
}

func newCheckClient() *cobra.Command {
	f := checkClientFlags{
		messageSize: bothends.DefaultMessageSize,
		reply:       textFlag{octets: []byte(bothends.DefaultReply), shown: bothends.DefaultReply},
	}
	f.limit = timeoutFlag(15 * time.Second)
	cmd := &cobra.Command{
		Use:   "client -- COMMAND ARGS...",
		Short: "Try somebody's client with awkward servers",
		Long: `check client runs COMMAND once for each case, and is the server that it meets:
a good one, a slow one, one that breaks off in the middle of its reply with FIN,
RST or silence, one that answers something else, and one that nobody can reach.

{host} and {port} in ARGS are replaced by where to connect; the environment has
them too, as BOTHENDS_HOST and BOTHENDS_PORT. COMMAND should make one exchange,
and exit with 0 when it went well. It passes if it does that for a good reply,
and exits with anything else, within --limit, for all others.

The exit status is 0, 1 when a case failed or all were skipped, 2 when the
command line is wrong, and 129, 130 or 143 when a signal stopped it.`,
		Example: `  bothends check client -- ./client {host} {port}
  bothends check client -- sh -c 'nc -N {host} {port} <request'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !f.list {
				return usageError(cmd, errors.New("no COMMAND given"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.Var(&f.messageSize, "message-size", "octets of a request")
	flags.Var(&f.reply, "reply", "the right reply")
	flags.Var(&f.limit, "limit", "for each run of COMMAND")
	return cmd
}

func (f *checkClientFlags) run(cmd *cobra.Command, args []string) error {
	cases, err := chosenCases(cmd, &f.checkFlags, check.ClientCases(), func(c check.ClientCase) (string, string) { return c.Name, c.Title })
	if err != nil || cases == nil {
		return err
	}
	if len(f.reply.octets) == 0 {
		return usageError(cmd, errors.New("--reply has no octets"))
	}
	if f.limit == 0 {
		return usageError(cmd, errors.New("--limit 0 is no limit to judge by"))
	}
	if err := isProgram(args[0]); err != nil {
		return usageError(cmd, err)
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	c := &check.Client{Command: args, MessageSize: int(f.messageSize), Reply: f.reply.octets, Limit: time.Duration(f.limit)}
	return f.report(ctx, cmd, strings.Join(args, " "), len(cases), func(yield func(check.Result) bool) { c.Run(ctx, cases)(yield) })
}

// chosenCases are those of --only and --skip; none, with --list, which it obeys.
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
			failed := usageError(cmd, fmt.Errorf("no case %q", name))
			failed.hint = "there are: " + strings.Join(names, " ")
			return nil, failed
		}
	}
	chosen := slices.DeleteFunc(all, func(c C) bool {
		name, _ := of(c)
		return slices.Contains(f.skip, name) || len(f.only) > 0 && !slices.Contains(f.only, name)
	})
	if len(chosen) == 0 {
		return nil, usageError(cmd, errors.New("--only and --skip leave no case"))
	}
	return chosen, nil
}

// report prints the results as they come.
func (f *checkFlags) report(ctx context.Context, cmd *cobra.Command, suite string, cases int, results func(func(check.Result) bool)) error {
	out := cmd.OutOrStdout()
	reporter := check.NewReporter(f.output.value, out, suite, cases, wantsColor(out, f.color.value))
	var tally check.Tally
	for r := range results {
		tally.Add(r)
		if err := reporter.Add(r); err != nil {
			return outputFailure(err)
		}
	}
	if err := reporter.End(); err != nil {
		return outputFailure(err)
	}
	if sig := signalOf(ctx); sig != nil {
		return &failure{code: exitCode(sig)}
	}
	if !tally.OK() {
		return &failure{code: exitFailure}
	}
	return nil
}

// A process is a server that check starts, and starts again.
type process struct {
	args    []string
	answers func(context.Context) error // nil when it does

	cmd    *exec.Cmd
	exited chan error
}

// newProcess refuses what cannot be a server of the user's.
func newProcess(ctx context.Context, s *check.Server, args []string) (*process, error) {
	if err := isProgram(args[0]); err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, s.Network, addr)
	}
	limited, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	if conn, err := dial(limited, "", s.Addr); err == nil {
		conn.Close()
		return nil, fmt.Errorf("somebody listens at %s already, where COMMAND should", s.Addr)
	}
	c := bothends.Client{Dial: dial, ReplySize: s.ReplySize, Timeout: s.Limit}
	return &process{args: args, answers: func(ctx context.Context) error {
		_, err := c.Exchange(ctx, s.Addr, s.Request)
		return err
	}}, nil
}

// isProgram tells what is wrong with a COMMAND that cannot be run.
func isProgram(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("COMMAND %s: %w", printable(name), reasonOf(errors.Unwrap(err)))
	}
	return nil
}

// startLimit is how long a server may take until it answers.
const startLimit = 30 * time.Second

// restart ends the process that there is, starts another, and waits until it answers.
func (p *process) restart(ctx context.Context) error {
	p.stop()
	if p.answers(ctx) == nil {
		return errors.New("somebody else answers there already")
	}
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	procgroup.Lead(p.cmd)
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	p.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan<- error) { exited <- cmd.Wait() }(p.cmd, p.exited)
	until := time.NewTimer(startLimit)
	defer until.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case exit := <-p.exited:
			p.cmd = nil
			return fmt.Errorf("%s ended: %v", p.args[0], exitText(exit))
		case <-until.C:
			return fmt.Errorf("%s does not answer: %w", p.args[0], err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func exitText(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return "exit " + strconv.Itoa(exit.ExitCode())
	}
	if err != nil {
		return err.Error()
	}
	return "exit 0"
}

func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	procgroup.Kill(p.cmd)
	<-p.exited
	p.cmd = nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/proxy"
)

type proxyFlags struct {
	spec        proxy.Spec
	rules       string
	admin       string
	adminHosts  []string
	dialTimeout timeoutFlag
	drain       timeoutFlag
	quiet       bool
}

const proxyHelp = `proxy listens, and passes each connection on to TARGET, with faults on what it
sends to the target (--fault-requests), on what it sends to the client
(--fault-replies), and on who can connect (--fault-connect). FIN and RST of
either side are passed on as what they are.

    delay:20ms    20 ms later, in order       close:8       8 octets, then FIN
    drip:3/5ms    pieces of 3 octets          halfclose:8   FIN, and it goes on
    rate:1000     1000 octets a second        reset:10      10 octets, then RST
    stall:4       4 octets, then nothing      corrupt:7     octet 7 is changed
    refuse        for --fault-connect         first:2(...)  the first 2 of them
    hang          for --fault-connect         20%(...)      one in five
    a+b           both                        for:5s(...)   those of 5 seconds

Each connection is a line of JSON on standard output: when, who, how many octets
each way, how it ended (fin, client-reset, target-reset, fault, no-target,
stopped, error), and the faults that struck it.

--rules takes many proxies from a file, in YAML:

    proxies:
      - name: redis              # the listen address, if left out
        listen: 127.0.0.1:7000
        target: 127.0.0.1:6379
        requests: drip:1/1ms
        replies: reset:10
        connect: first:2(refuse)
        seed: 7
        unreachable: fin

SIGHUP reads the file again; it may have 1 MiB. A file with a mistake is refused
whole, and the old rules stay. A change is for the connections that start later.
A proxy that is gone from the file stops accepting; its open connections go on.

--admin lists, adds, changes and removes proxies over HTTP, while they run: see
"bothends help proxy-api". Every change is a line on standard error. Any program
that can reach that address may make changes; web pages may not.

If TARGET cannot be connected to, a client's connection is made and then closed,
with RST or, with --unreachable fin, with FIN. It is closed when the client has
sent something, or after 250 ms. A target that leads back to the proxy is an
error. A proxy has 10,000 open connections at most; further clients wait.

SIGINT stops at once, SIGTERM lets open connections end within --drain, and a
second one ends the program at once. SIGHUP without --rules is like SIGTERM. The
exit status is 0, 1 when connections were cut because --drain was over, 2 when
the command line or the rules are wrong, 3 when an address cannot be bound, and
after a second signal, or one before all names have been looked up, 129, 130 or
143.`

func newProxy() *cobra.Command {
	f := proxyFlags{
		dialTimeout: timeoutFlag(proxy.DefaultDialTimeout),
		drain:       timeoutFlag(10 * time.Second),
	}
	cmd := &cobra.Command{
		Use:   "proxy [TARGET]",
		Short: "Stand between clients and a server, and misbehave on purpose",
		Long:  proxyHelp,
		Example: `  bothends proxy 127.0.0.1:6379 --listen 127.0.0.1:7000 --fault-replies reset:10
  bothends proxy db:5432 --listen :5432 --fault-connect 'first:2(refuse)'
  bothends proxy --rules proxies.yaml --admin 127.0.0.1:8474`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.spec.Listen, "listen", "", "listen at `ADDR`, a HOST:PORT")
	flags.StringVar(&f.spec.Requests, "fault-requests", "", "`FAULT` on what is sent to the target")
	flags.StringVar(&f.spec.Replies, "fault-replies", "", "`FAULT` on what is sent to the client")
	flags.StringVar(&f.spec.Connect, "fault-connect", "", "`FAULT` on connecting: refuse, hang, delay")
	flags.Var(closingFlag{&f.spec.Unreachable}, "unreachable", "`HOW` clients end if TARGET is down: reset, fin")
	flags.Uint64Var(&f.spec.Seed, "seed", 0, "`N` decides what is under a percentage")
	flags.StringVar(&f.rules, "rules", "", "many proxies from `FILE`; SIGHUP reads it again")
	flags.StringVar(&f.admin, "admin", "", "answer HTTP at `ADDR`: a port, or HOST:PORT")
	flags.StringSliceVar(&f.adminHosts, "admin-host", nil, "--admin answers to `NAME` too")
	flags.Var(&f.dialTimeout, "dial-timeout", "to reach TARGET; 0 for no limit")
	flags.Var(&f.drain, "drain", "SIGTERM waits so long for the open")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

// check tells which of the ways to say what to do was meant.
func (f *proxyFlags) check(args []string) error {
	one := f.spec.Listen != "" || f.spec.Requests != "" || f.spec.Replies != "" || f.spec.Connect != "" || f.spec.Seed != 0 || f.spec.Unreachable != ""
	switch {
	case len(args) > 1:
		return fmt.Errorf("expected one TARGET, got %d", len(args))
	case f.rules != "" && (len(args) > 0 || one):
		return errors.New("--rules has the targets, and what goes with each")
	case len(args) == 0 && one:
		return errors.New("no TARGET given")
	case len(args) == 0 && f.rules == "" && f.admin == "":
		return errors.New("want a TARGET with --listen, or --rules, or --admin")
	case len(args) == 1 && f.spec.Listen == "":
		return errors.New("--listen ADDR is missing: where clients connect")
	case f.admin == "" && len(f.adminHosts) > 0:
		return errors.New("--admin-host requires --admin")
	case f.admin != "":
		if _, port, err := net.SplitHostPort(f.adminAddress()); err != nil || !isPort(port) {
			return fmt.Errorf("--admin %q: must be a port or HOST:PORT", f.admin)
		}
	}
	return nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// adminAddress returns the address of the API, on loopback unless --admin has a host.
func (f *proxyFlags) adminAddress() string {
	host, port, err := net.SplitHostPort(f.admin)
	switch {
	case err != nil && !strings.Contains(f.admin, ":"):
		return net.JoinHostPort("127.0.0.1", f.admin)
	case err == nil && host == "":
		return net.JoinHostPort("127.0.0.1", port)
	}
	return f.admin
}

func (f *proxyFlags) run(cmd *cobra.Command, args []string) error {
	if err := f.check(args); err != nil {
		return usageError(cmd, err)
	}
	var rules *proxy.Rules
	if f.rules != "" { // before the signals are caught: reading may block, in a FIFO, say
		var err error
		if rules, err = proxy.ReadRules(f.rules); err != nil {
			return f.failed(cmd, err)
		}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, stopSignals()...)
	defer signal.Stop(signals)
	if f.rules != "" {
		signal.Notify(signals, syscall.SIGHUP)
	}
	print := newPrinter(cmd.OutOrStdout(), cmd.ErrOrStderr(), f.quiet)
	defer print.close()

	r := &proxying{flags: f, print: print, set: proxy.Set{
		DialTimeout: f.dialTimeout.orNone(),
		Log:         newLogger(print.errs),
		Done:        func(c proxy.Connection) { json.NewEncoder(print.out).Encode(c) },
	}}
	defer r.set.Close()
	defer r.stopAdmin()
	var starting sync.WaitGroup
	defer starting.Wait()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	started := make(chan error, 1)
	starting.Go(func() { started <- r.start(ctx, cmd, args, rules) }) // it may look up names
	return r.wait(started, signals)
}

// proxying is proxies that run, until signals stop them.
type proxying struct {
	flags *proxyFlags
	print *printer
	set   proxy.Set
	admin *http.Server // nil without --admin

	adminDone chan struct{} // closed when admin does not accept any more
}

// start makes the proxies of the command line or of the rules, and the API.
func (r *proxying) start(ctx context.Context, cmd *cobra.Command, args []string, rules *proxy.Rules) error {
	if len(args) == 1 {
		r.flags.spec.Target = args[0]
		if _, err := r.set.Add(ctx, r.flags.spec); err != nil {
			return r.flags.failed(cmd, err)
		}
	}
	if rules != nil {
		if err := r.set.Apply(ctx, rules); err != nil {
			return r.flags.failed(cmd, err)
		}
	}
	r.tell()
	if r.flags.admin == "" {
		return nil
	}
	var network *net.OpError
	err := r.listenAdmin(ctx)
	if errors.As(err, &network) {
		return listenFailure(network, r.flags.adminAddress())
	}
	return err
}

func (r *proxying) tell() {
	for _, p := range r.set.Proxies() {
		r.print.note("listening at %s, for %s", p.Listen, p.Target)
	}
}

// adminSpare is how many descriptors the API has when the proxies have used up the rest.
const adminSpare = 8

// listenAdmin serves the API.
func (r *proxying) listenAdmin(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", r.flags.adminAddress())
	if err != nil {
		return err
	}
	ln = proxy.Spare(ln, adminSpare)
	r.print.note("the API answers at http://%s/v1/proxies", ln.Addr())
	r.admin = &http.Server{
		Handler:        &proxy.Admin{Set: &r.set, Hosts: r.flags.adminHosts, Changed: r.changed},
		MaxHeaderBytes: 16 << 10, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(newLogger(r.print.errs).Handler(), slog.LevelWarn),
	}
	r.adminDone = make(chan struct{})
	go func() {
		defer close(r.adminDone)
		r.admin.Serve(ln) // until it is closed
	}()
	return nil
}

// changed logs a change by the API.
func (r *proxying) changed(c proxy.AdminChange) {
	r.print.note("API: %s: %s", c.Client, c.What)
}

// closingFlag is a proxy.Closing.
type closingFlag struct{ to *proxy.Closing }

func (f closingFlag) String() string {
	if f.to == nil {
		return ""
	}
	return string(*f.to)
}

func (f closingFlag) Set(s string) error {
	if s != string(proxy.ClosingReset) && s != string(proxy.ClosingFIN) {
		return errors.New("must be reset or fin")
	}
	*f.to = proxy.Closing(s)
	return nil
}

func (closingFlag) Type() string { return "HOW" }

// failed is why the program could not begin.
func (f *proxyFlags) failed(cmd *cobra.Command, err error) error {
	var network *net.OpError
	var spec *proxy.SpecError
	var rule *proxy.RuleError
	switch {
	case errors.As(err, &rule) && errors.As(err, &network):
		return &failure{code: exitNetwork, err: err}
	case errors.As(err, &network):
		return listenFailure(network, f.spec.Listen)
	case errors.As(err, &spec) && !errors.As(err, &rule):
		return usageError(cmd, fmt.Errorf("%s: %w", f.option(spec.Field), spec.Err))
	case errors.As(err, new(*fs.PathError)):
		return usageError(cmd, fmt.Errorf("--rules: %w", err))
	}
	return usageError(cmd, err)
}

// option is what the command line calls a field of a Spec.
func (f *proxyFlags) option(field string) string {
	switch field {
	case "target":
		return "TARGET"
	case "requests", "replies", "connect":
		return "--fault-" + field
	case "name": // which is the listen address here
		return "--listen"
	}
	return "--" + field
}

func listenFailure(err *net.OpError, asked string) *failure {
	address := asked
	if err.Addr != nil {
		address = err.Addr.String()
	}
	failed := &failure{code: exitNetwork, err: &bothends.ExchangeError{Op: "listen at", Peer: address, Err: err}}
	host, port, _ := net.SplitHostPort(address)
	switch {
	case errno.AddrInUse.Has(err):
		failed.hint = fmt.Sprintf("another program listens there (who: ss -ltnp 'sport = :%s')", port)
	case errno.AddrNotAvail.Has(err):
		failed.hint = host + " is no address of this machine"
	case errno.NotPermitted.Has(err):
		failed.hint = "a port below 1024 needs a privilege"
	}
	return failed
}

// wait returns when signals have stopped the proxies, or they cannot start.
func (r *proxying) wait(started <-chan error, signals <-chan os.Signal) error {
	var result error
	var drained chan error
	var reload reloading
	var same deliveries
	for {
		select {
		case err := <-started:
			if err != nil {
				return err
			}
			started = nil
			if reload.again {
				reload.begin(r)
			}
		case err := <-drained:
			if open := r.set.Open(); err != nil && open > 0 {
				result = &failure{code: exitFailure, err: fmt.Errorf("%d open after --drain %v, cut", open, time.Duration(r.flags.drain))}
			}
			return result
		case <-reload.done:
			reload.ended(r)
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && r.flags.rules != "":
				switch {
				case started != nil:
					reload.again = true
				case drained == nil: // else it is too late
					reload.begin(r)
				}
			case same.repeated(sig, time.Now()):
			case started != nil, drained != nil: // nothing to drain yet, or a second request
				return &failure{code: exitCode(sig)}
			default:
				drained = r.stop(sig)
			}
		}
	}
}

// reloading reads the rules file again, in its own goroutine: to read a FIFO may block,
// which only the end of the program ends. Looking up names ends with the next SIGHUP.
type reloading struct {
	done   chan struct{} // nil when no file is read
	again  bool          // it may have changed since it was read
	cancel context.CancelFunc
}

func (l *reloading) begin(r *proxying) {
	if l.again = l.done != nil; l.again {
		l.cancel()
		return
	}
	done := make(chan struct{})
	l.done = done
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() {
		defer close(done)
		defer cancel()
		r.reload(ctx)
	}()
}

func (l *reloading) ended(r *proxying) {
	l.done = nil
	if l.again {
		l.begin(r)
	}
}

// reload reads the rules again. The old ones stay if they are wrong.
func (r *proxying) reload(ctx context.Context) {
	rules, err := proxy.ReadRules(r.flags.rules)
	if err == nil {
		err = r.set.Apply(ctx, rules)
	}
	switch {
	case errors.Is(err, proxy.ErrClosed), ctx.Err() != nil: // the program ends, or the file is read again
	case err != nil:
		fmt.Fprintf(r.print.errs, "bothends: %v; the old rules stay\n", err)
	default:
		r.print.note("%s was read again", r.flags.rules)
		r.tell()
	}
}

func (r *proxying) stopAdmin() {
	if r.admin != nil {
		r.admin.Close()
		<-r.adminDone
	}
}

// stop ends the proxies as the signal asks. The channel tells when they have ended, or
// --drain is over.
func (r *proxying) stop(sig os.Signal) chan error {
	r.stopAdmin()
	ended := make(chan error, 1)
	go func() { // all of it, for the set may be busy
		if sig == syscall.SIGINT {
			ended <- r.set.Close()
			return
		}
		if open := r.set.Open(); open > 0 {
			r.print.note("%d open, waiting for their end, %v at most", open, time.Duration(r.flags.drain))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.flags.drain))
		defer cancel()
		ended <- r.set.Shutdown(ctx)
	}()
	return ended
}

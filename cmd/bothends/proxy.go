package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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
	"github.com/bothends/bothends/internal/adminhttp"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/proxy"
	"github.com/bothends/bothends/proxy/admin"
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

const proxyHelp = `proxy listens and passes each connection on to TARGET, with faults on what it
sends to the target (--fault-requests), on what it sends to the client
(--fault-replies), and on who can connect (--fault-connect). FIN and RST of one
side are passed on to the other.

    delay:20ms    20 ms later, in order       close:8       8 octets, then FIN
    drip:3/5ms    pieces of 3 octets          halfclose:8   the same, and it reads on
    rate:1000     1000 octets per second      reset:10      10 octets, then RST
    stall:4       4 octets, then nothing      corrupt:7     octet 7 is changed
    refuse        for --fault-connect         first:2(...)  first 2 connections
    hang          for --fault-connect         20%(...)      20 % of connections
    a+b           both                        for:5s(...)   connections of 5 s

TARGET and --listen are HOST:PORT, [IPv6]:PORT or unix:PATH. A unix socket has
no RST: where TCP sends one, the connection is closed.

When a connection has ended, proxy prints one JSON object: the time, the client,
the octets each way, how it ended (fin, client-reset, target-reset, fault,
no-target, stopped, error), and the faults that struck it.

--rules reads many proxies from a YAML file:

    proxies:
      - name: redis              # optional
        listen: 127.0.0.1:7000
        target: 127.0.0.1:6379
        requests: drip:1/1ms
        replies: reset:10
        connect: first:2(refuse)
        seed: 7
        unreachable: fin

SIGHUP reads the file again; its maximum size is 1 MiB. If the file has an
error, nothing changes. A fault that differs also acts on open connections; a
new target is for new connections. A proxy that is not in the file any more
stops accepting, and its open connections go on.

--admin lists, adds, changes and removes proxies over HTTP while they run: see
"bothends help proxy-api". Every change is reported on standard error. Every
program that can reach the address can make changes. Web pages cannot.

If TARGET cannot be connected to, the connection of the client is made and then
closed with RST, or with FIN (--unreachable fin): when the client has sent
something, or after 250 ms. A target that leads back to the proxy is an error. A
proxy has at most 10,000 open connections; further clients wait.

SIGINT stops at once. SIGTERM stops when the open connections have ended, or
after --drain. SIGHUP without --rules is like SIGTERM. A second signal ends the
program at once.

The exit status is 0, 1 if connections were still open after --drain, 2 if the
command line or the rules are not valid, 3 if an address cannot be bound, and
129, 130 or 143 after a second signal, or after one before all names have been
looked up.`

func newProxy() *cobra.Command {
	f := proxyFlags{
		dialTimeout: timeoutFlag(proxy.DefaultDialTimeout),
		drain:       timeoutFlag(10 * time.Second),
	}
	cmd := &cobra.Command{
		Use:   "proxy [TARGET]",
		Short: "Pass connections on to a server, with faults",
		Long:  proxyHelp,
		Example: `  bothends proxy 127.0.0.1:6379 --listen 127.0.0.1:7000 --fault-replies reset:10
  bothends proxy db:5432 --listen :5432 --fault-connect 'first:2(refuse)'
  bothends proxy unix:/run/redis.sock --listen unix:/tmp/redis.sock
  bothends proxy --rules proxies.yaml --admin 127.0.0.1:8474`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.spec.Listen, "listen", "", "`ADDR` where clients connect, HOST:PORT or unix:PATH")
	flags.StringVar(&f.spec.Requests, "fault-requests", "", "`FAULT` on what is sent to the target")
	flags.StringVar(&f.spec.Replies, "fault-replies", "", "`FAULT` on what is sent to the client")
	flags.StringVar(&f.spec.Connect, "fault-connect", "", "`FAULT` on connecting: refuse, hang or delay")
	flags.Var(closingFlag{&f.spec.Unreachable}, "unreachable", "`HOW` to close if TARGET is down: reset, fin")
	flags.Uint64Var(&f.spec.Seed, "seed", 0, "random seed `N` for the percentages in faults")
	flags.StringVar(&f.rules, "rules", "", "`FILE` with many proxies, in YAML")
	flags.StringVar(&f.admin, "admin", "", "`ADDR` of the HTTP API: a port or HOST:PORT")
	flags.StringSliceVar(&f.adminHosts, "admin-host", nil, "further host `NAME` of the HTTP API")
	flags.Var(&f.dialTimeout, "dial-timeout", "time limit to reach TARGET, 0 means none")
	flags.Var(&f.drain, "drain", "time limit for open connections after SIGTERM")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "errors only")
	return cmd
}

// check returns an error if the arguments do not go together.
func (f *proxyFlags) check(args []string) error {
	one := f.spec.Listen != "" || f.spec.Requests != "" || f.spec.Replies != "" || f.spec.Connect != "" || f.spec.Seed != 0 || f.spec.Unreachable != ""
	switch {
	case len(args) > 1:
		return fmt.Errorf("expected one TARGET, got %d", len(args))
	case f.rules != "" && (len(args) > 0 || one):
		return errors.New("--rules cannot be used with TARGET or the flags of one proxy")
	case len(args) == 0 && one:
		return errors.New("no TARGET given")
	case len(args) == 0 && f.rules == "" && f.admin == "":
		return errors.New("expected TARGET with --listen, --rules or --admin")
	case len(args) == 1 && f.spec.Listen == "":
		return errors.New("--listen ADDR is missing")
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
	var rules *admin.Rules
	if f.rules != "" { // before the signals are caught: reading may block, for example in a FIFO
		var err error
		if rules, err = admin.ReadRules(f.rules); err != nil {
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

// proxying is the proxies of the command, until signals stop them.
type proxying struct {
	flags *proxyFlags
	print *printer
	set   proxy.Set
	admin *http.Server // nil without --admin

	adminDone chan struct{} // closed when admin has stopped accepting
}

// start starts the proxies of the command line or of the rules, and the API.
func (r *proxying) start(ctx context.Context, cmd *cobra.Command, args []string, rules *admin.Rules) error {
	if len(args) == 1 {
		r.flags.spec.Target = args[0]
		if _, err := r.set.Add(ctx, r.flags.spec); err != nil {
			return r.flags.failed(cmd, err)
		}
	}
	if rules != nil {
		if err := rules.Apply(ctx, &r.set); err != nil {
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

// adminSpare is the number of descriptors of the API when the proxies have used up the
// rest.
const adminSpare = 8

// listenAdmin serves the API.
func (r *proxying) listenAdmin(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", adminhttp.Address(r.flags.admin))
	if err != nil {
		return err
	}
	ln = admin.Spare(ln, adminSpare)
	r.print.note("the API answers at http://%s/v1/proxies", ln.Addr())
	handler := &admin.Handler{Set: &r.set, Hosts: r.flags.adminHosts, Changed: r.changed}
	r.admin = adminhttp.Server(handler, newLogger(r.print.errs))
	r.adminDone = make(chan struct{})
	go func() {
		defer close(r.adminDone)
		r.admin.Serve(ln) // until it is closed
	}()
	return nil
}

// changed logs a change by the API.
func (r *proxying) changed(c admin.Change) {
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

// failed returns the error of a program that could not start.
func (f *proxyFlags) failed(cmd *cobra.Command, err error) error {
	var network *net.OpError
	var spec *proxy.SpecError
	var rule *admin.RuleError
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

// option returns the name of a field of a Spec on the command line.
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
	_, port, _ := net.SplitHostPort(address)
	switch {
	case err.Net == "unix":
	case errno.AddrInUse.Has(err):
		failed.hint = fmt.Sprintf("another program listens there (to find it: ss -ltnp 'sport = :%s')", port)
	case errno.AddrNotAvail.Has(err):
		failed.hint = "use an address of this machine, or no HOST to listen on all interfaces"
	case errno.NotPermitted.Has(err):
		failed.hint = "a port below 1024 needs a privilege"
	}
	return failed
}

// wait returns when signals have stopped the proxies, or when they cannot start.
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
				result = &failure{code: exitFailure, err: fmt.Errorf("closed %s still open after --drain %v", connections(int64(open)), time.Duration(r.flags.drain))}
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

// reloading reads the rules file again, in its own goroutine: reading a FIFO may block
// until the program ends. Looking up names ends with the next SIGHUP.
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

// reload reads the rules again. If they are not valid, nothing changes.
func (r *proxying) reload(ctx context.Context) {
	rules, err := admin.ReadRules(r.flags.rules)
	if err == nil {
		err = rules.Apply(ctx, &r.set)
	}
	switch {
	case errors.Is(err, proxy.ErrClosed), ctx.Err() != nil: // the program ends, or the file is read again
	case err != nil:
		fmt.Fprintf(r.print.errs, "bothends: %v; the rules have not changed\n", err)
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

// stop ends the proxies as the signal asks. The channel receives when they have ended, or
// after --drain.
func (r *proxying) stop(sig os.Signal) chan error {
	r.stopAdmin()
	ended := make(chan error, 1)
	go func() { // all of it, for the set may be busy
		if sig == syscall.SIGINT {
			ended <- r.set.Close()
			return
		}
		if open := r.set.Open(); open > 0 {
			r.print.note("waiting for %s, until --drain %v has passed", connections(int64(open)), time.Duration(r.flags.drain))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.flags.drain))
		defer cancel()
		ended <- r.set.Shutdown(ctx)
	}()
	return ended
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/capture"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/transcript"
)

type clientFlags struct {
	exchangeFlags
	message   textFlag
	replySize sizeFlag
	expect    textFlag
	source    string
	pcap      string
}

func newClient() *cobra.Command {
	f := clientFlags{
		message:   textFlag{octets: []byte(bothends.DefaultRequest), shown: bothends.DefaultRequest},
		replySize: bothends.DefaultMessageSize,
	}
	cmd := &cobra.Command{
		Use:   "client [HOST]",
		Short: "Make one exchange",
		Annotations: map[string]string{flagGroups: "What to do: message reply-size expect fault seed\n" +
			"How much: timeout\n" +
			"Output: output trace pcap quiet\n" +
			"Network: source port ipv4 ipv6"},
		Long: `client connects to HOST, sends one request, reads one reply of a fixed length,
and closes the connection. It prints its own address and the reply.

HOST is a name, an IP address, HOST:PORT or [IPv6]:PORT. Without HOST, the
client connects to localhost. With -o json, it prints an object for the exchange
(bothends.exchange/v1).

@FILE means the content of FILE. To start TEXT with @, write \x40. TEXT may
contain these escapes:

    \n \r \t \\ \' \" \0 \xNN \uNNNN

--fault injects faults into what the client sends. See "bothends help faults".

The exit status shows how the exchange ended:

    0  ok: the complete reply arrived
    1  mismatch: the reply is not the one in --expect; or the output could not
       be written, --fault ended the exchange, or --pcap failed
    2  invalid command line
    3  refused or unreachable: no route, no such host
    4  timeout
    5  short, closed or reset: the server ended the connection early
    129, 130, 143  stopped by SIGHUP, SIGINT or SIGTERM`,
		Example: `  bothends client
  bothends client server.example:1060 --timeout 2s
  bothends client localhost:6379 --message 'PING\r\n' --expect '+PONG\r\n'`,
		Args: oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args)
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.Var(&f.message, "message", "request, may be empty")
	flags.Var(&f.replySize, "reply-size", "length of the reply in octets")
	flags.Var(&f.expect, "expect", "expected reply, also sets --reply-size")
	flags.StringVar(&f.source, "source", "", "local address: `ADDR`, ADDR:PORT or :PORT")
	flags.StringVar(&f.pcap, "pcap", "", "`FILE` for the packets of the connection (pcapng)")
	return cmd
}

func (f *clientFlags) run(cmd *cobra.Command, args []string) error {
	if f.expect.given && !cmd.Flags().Changed("reply-size") {
		f.replySize = sizeFlag(len(f.expect.octets))
	}
	addr, dialer, client, err := f.client(args)
	if err != nil {
		return usageError(cmd, err)
	}
	if !f.quiet { // with --quiet there is no text, so the packets may go to standard output
		if err := refuseSameFile(cmd, f.pcap); err != nil {
			return err
		}
	}
	captured, err := f.capture(dialer)
	if err != nil {
		return err
	}
	var writeErr, traceErr error
	keep := func(last *error) func(int, error) { // keeps the error even if a later line is written
		return func(_ int, err error) { *last = cmp.Or(err, *last) }
	}
	// The exchange does not wait until the output has been read, but the command does:
	// nothing is dropped.
	out := transcript.NewQueue(cmd.OutOrStdout(), math.MaxInt, keep(&writeErr))
	errs := out // in one file the lines keep their order
	if !sameFile(cmd.OutOrStdout(), cmd.ErrOrStderr()) {
		errs = transcript.NewQueue(cmd.ErrOrStderr(), math.MaxInt, keep(&traceErr))
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	trace := bothends.JoinTraces(f.results(out), f.steps(errs, columns(cmd.ErrOrStderr()), captured))
	_, err = client.Exchange(bothends.WithTrace(ctx, trace), addr, f.message.octets)
	var pcapErr error
	if captured != nil { // before the command waits for the reader of its output
		pcapErr = captured.commit(ctx, captured.save(ctx, errs), errs)
	}
	out.Close(context.Background()) // after a signal its writes do not block
	errs.Close(context.Background())
	switch {
	case err != nil:
		return f.failed(ctx, args, err)
	case pcapErr != nil:
		return pcapErr
	case writeErr != nil:
		return outputFailure(writeErr)
	case traceErr != nil:
		return &failure{code: exitFailure, err: fmt.Errorf("standard error: %w", reasonOf(traceErr))}
	case captured != nil && captured.incomplete:
		return &failure{code: exitFailure} // save has reported what is missing
	}
	return nil
}

// client checks the flags and returns the Client for them, and its Dialer.
func (f *clientFlags) client(args []string) (addr string, _ *net.Dialer, _ *bothends.Client, err error) {
	host, port, err := hostPort(args, f.port)
	if err != nil {
		return "", nil, nil, err
	}
	if port == 0 {
		return "", nil, nil, errors.New("cannot connect to port 0")
	}
	if host == "" {
		host = "localhost"
	}
	network, err := f.network(host)
	if err != nil {
		return "", nil, nil, err
	}
	if f.expect.given && len(f.expect.octets) != int(f.replySize) {
		return "", nil, nil, fmt.Errorf("--expect has %d octets, and --reply-size is %d", len(f.expect.octets), f.replySize)
	}
	dialer := &net.Dialer{KeepAlive: -1} // an exchange has a deadline
	if f.source != "" {
		source, err := sourceAddr(f.source)
		if err != nil {
			return "", nil, nil, err
		}
		dialer.LocalAddr = source
	}
	faults := fault.New(f.fault.Fault, f.seed)
	client := &bothends.Client{
		ReplySize: noneIfZero(int(f.replySize)),
		Timeout:   f.timeout.orNone(),
		Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
			conn, err := bothends.Dial(ctx, dialer, network, addr)
			if err != nil {
				return nil, err
			}
			return faults.Conn(conn), nil
		},
	}
	if f.expect.given {
		client.Expect = f.expect.octets
	}
	return net.JoinHostPort(host, port.String()), dialer, client, nil
}

// results returns the Trace that writes to standard output. It returns nil with --quiet.
func (f *clientFlags) results(out io.Writer) *bothends.Trace {
	switch {
	case f.quiet:
		return nil
	case f.output.value == "json":
		j := &transcript.JSON{Out: out, RequestSize: len(f.message.octets), ReplySize: int(f.replySize), Events: f.trace}
		return j.Client()
	}
	return transcript.Client(out)
}

// capture starts the capture of --pcap and sets the dialer's Control, which then binds the
// socket. It returns nil without --pcap.
func (f *clientFlags) capture(dialer *net.Dialer) (*pcap, error) {
	var options capture.Options
	if source, ok := dialer.LocalAddr.(*net.TCPAddr); ok {
		options.Source = source.AddrPort()
	}
	p, err := newPcap(f.pcap, options)
	if p != nil {
		dialer.LocalAddr, dialer.Control = nil, p.Control
	}
	return p, err
}

// steps returns the Trace of --trace. It returns nil with -o json, because the object
// contains the events.
func (f *clientFlags) steps(errs io.Writer, width int, captured *pcap) *bothends.Trace {
	if !f.trace || f.output.value == "json" {
		return nil
	}
	source, err := sourceAddr(f.source)
	s := &transcript.Steps{Out: errs, ASCII: asciiOnly(), Width: width, Taker: f.taker(), SourceChosen: err == nil && source.Port != 0}
	if captured != nil {
		s.Preparing = captured.prepared
		s.Segments = func() *transcript.Ladder { return captured.ladder(asciiOnly()) }
	}
	return s.Client()
}

// failed returns the failure for the error of an exchange.
func (f *clientFlags) failed(ctx context.Context, args []string, err error) *failure {
	outcome := bothends.Classify(err)
	code := map[bothends.Outcome]int{
		bothends.Mismatch: 1, bothends.Refused: exitNetwork, bothends.Unreachable: exitNetwork, bothends.Timeout: 4,
		bothends.Short: 5, bothends.Closed: 5, bothends.Reset: 5, bothends.TLS: 6, bothends.Canceled: 130,
	}[outcome]
	var own *fault.Error
	switch sig := signalOf(ctx); {
	case outcome == bothends.Canceled && sig != nil:
		code = exitCode(sig)
	case errors.As(err, &own), outcome == bothends.Canceled, code == 0: // caused by --fault, or an outcome without a code
		code = exitFailure
	}
	return &failure{code: code, err: errors.New(transcript.ErrorText(err)), hint: f.hint(outcome, args, err)}
}

func (f *clientFlags) hint(outcome bothends.Outcome, args []string, err error) string {
	var at bothends.ExchangeError
	if e := (*bothends.ExchangeError)(nil); errors.As(err, &e) {
		at = *e
	}
	var short bothends.ShortError
	if e := (*bothends.ShortError)(nil); errors.As(err, &e) {
		short = *e
	}
	switch {
	case at.Op == "bind":
		return bindHint(err)
	case at.Op == "connect" && (outcome == bothends.Unreachable || outcome == bothends.Timeout) && addressHint(args) != "":
		return addressHint(args)
	case f.source != "" && errors.As(err, new(*net.AddrError)):
		return "--source must have the same family, IPv4 or IPv6, as the server's address"
	case errors.Is(err, net.ErrClosed) && at.Op == "receive":
		return "the --fault of this client has closed the connection"
	case outcome == bothends.Refused:
		return "nothing listens there, or a firewall rejects connections; start a server with: " + startServer(at.Peer)
	case at.Op == "resolve" && outcome != bothends.Canceled:
		return "check the name, or use an IP address"
	case outcome == bothends.Timeout && at.Op == "connect":
		return fmt.Sprintf("no answer within %v: a firewall may drop packets, or the server's queue may be full", &f.timeout)
	case outcome == bothends.Timeout && at.Op == "receive" && short.Done == 0:
		return fmt.Sprintf("the server sent nothing; it may expect more than the %d octets that were sent", len(f.message.octets))
	case outcome == bothends.Short && at.Op == "receive":
		return fmt.Sprintf("if the reply has %d octets, use --reply-size %d", short.Done, short.Done)
	case outcome == bothends.Closed:
		return fmt.Sprintf("the server may expect a request with a length other than %d octets", len(f.message.octets))
	}
	return ""
}

// bindHint returns the hint for a --source that cannot be bound.
func bindHint(err error) string {
	switch {
	case errno.AddrNotAvail.Has(err):
		return "--source must be an address of this machine; ip address lists them"
	case errno.NotPermitted.Has(err):
		return "use a port above 1023 for --source, because the lower ones need a privilege"
	case errno.AddrInUse.Has(err):
		return "use another port for --source: this one is in use, or was used in the last minute"
	}
	return ""
}

// addressHint returns the hint for a HOST that is an IP address but probably not the
// intended one. It returns "" if there is none.
func addressHint(args []string) string {
	if len(args) == 0 {
		return ""
	}
	host := strings.TrimSuffix(strings.TrimPrefix(args[0], "["), "]")
	if h, _, err := net.SplitHostPort(args[0]); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	if (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast()) && ip.Is6() && ip.Zone() == "" {
		return fmt.Sprintf("a link-local address needs the name of an interface, as in %s%%eth0; ip link lists them", ip)
	}
	colon := strings.LastIndexByte(args[0], ':')
	if !ip.Is6() || host != args[0] {
		return ""
	}
	address, port := args[0][:colon], args[0][colon+1:]
	if _, err := netip.ParseAddr(address); err != nil {
		return ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return ""
	}
	return fmt.Sprintf("%s is an IPv6 address; if %s is the port, use [%s]:%s", args[0], port, address, port)
}

// startServer returns the command that starts a server at peer.
func startServer(peer string) string {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		return "bothends server"
	}
	command := "bothends server " + host
	if port != "1060" {
		command += " -p " + port
	}
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
		command += ", on that machine"
	}
	return command
}

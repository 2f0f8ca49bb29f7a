package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"

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
		Long: `client connects to HOST, sends one message, reads one reply of an agreed length,
and closes. It says which address it was given and what the server said.

HOST is a name, an address, HOST:PORT or [IPv6]:PORT; without one the client
goes to localhost.

@FILE takes the octets of a file as they are. TEXT may have these escapes; one
that begins with @ is written with \x40:

    \n \r \t \\ \' \" \0 \xNN \uNNNN

--fault makes this end misbehave in what it sends; see docs/faults.md.

The exit status tells how the exchange ended:

    0  ok: the whole reply came
    1  mismatch: the reply is not the one that --expect names; or it could not
       be printed, or --fault ended the exchange
    2  the command line is wrong
    3  refused, or unreachable: no route, no such host
    4  timeout
    5  short, closed or reset: the server ended the connection early
    6  tls: the handshake failed
    129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM`,
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
	flags.Var(&f.message, "message", "what to send, if anything")
	flags.Var(&f.replySize, "reply-size", "octets of the reply")
	flags.Var(&f.expect, "expect", "the only right reply; --reply-size follows it")
	flags.StringVar(&f.source, "source", "", "`ADDR`, ADDR:PORT or :PORT to connect from")
	flags.StringVar(&f.pcap, "pcap", "", "write the connection's packets to `FILE` (pcapng)")
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
	if !f.quiet { // else the packets may well go there
		if err := refuseSameFile(cmd, f.pcap); err != nil {
			return err
		}
	}
	captured, err := f.capture(dialer, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	var writeErr error
	// The exchange does not wait for who reads the output, but the command does:
	// nothing is dropped.
	out := transcript.NewQueue(cmd.OutOrStdout(), math.MaxInt, func(_ int, err error) {
		if err != nil { // lines that come through later do not bring back the lost ones
			writeErr = err
		}
	})
	errs := out // in one file the lines keep their order
	if !sameFile(cmd.OutOrStdout(), cmd.ErrOrStderr()) {
		errs = transcript.NewQueue(cmd.ErrOrStderr(), math.MaxInt, func(int, error) {})
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	trace := bothends.JoinTraces(f.results(out), f.steps(errs, captured))
	_, err = client.Exchange(bothends.WithTrace(ctx, trace), addr, f.message.octets)
	var pcapErr error
	if captured != nil { // before anything waits for who reads the output
		pcapErr = captured.commit(ctx, captured.save(ctx, errs), errs)
	}
	out.Close(context.Background()) // after a signal its writes do not block
	errs.Close(context.Background())
	if err != nil {
		return f.failed(ctx, err)
	}
	if pcapErr != nil {
		return pcapErr
	}
	if writeErr != nil {
		return outputFailure(writeErr)
	}
	return nil
}

// client checks the flags and makes the Client of them, with its Dialer.
func (f *clientFlags) client(args []string) (addr string, _ *net.Dialer, _ *bothends.Client, err error) {
	host, port, err := hostPort(args, f.port)
	if err != nil {
		return "", nil, nil, err
	}
	if port == 0 {
		return "", nil, nil, errors.New("port 0 is no port to connect to")
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
			conn, err := dialer.DialContext(ctx, network, addr)
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

// results is the listener for standard output.
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

// capture begins the capture of --pcap. It binds the socket in the dialer's place.
func (f *clientFlags) capture(dialer *net.Dialer, errs io.Writer) (*pcap, error) {
	var options capture.Options
	if source, ok := dialer.LocalAddr.(*net.TCPAddr); ok {
		options.Source = source.AddrPort()
	}
	p, err := newPcap(f.pcap, options, errs)
	if p != nil {
		dialer.LocalAddr, dialer.Control = nil, p.Control
	}
	return p, err
}

// steps is the listener of --trace; with -o json the events are in the object.
func (f *clientFlags) steps(errs io.Writer, captured *pcap) *bothends.Trace {
	if !f.trace || f.output.value == "json" {
		return nil
	}
	source, err := sourceAddr(f.source)
	s := &transcript.Steps{Out: errs, ASCII: asciiOnly(), SourceChosen: err == nil && source.Port != 0}
	if captured != nil {
		s.Preparing = captured.prepared
		s.Segments = func() *transcript.Ladder { return captured.ladder(asciiOnly()) }
	}
	return s.Client()
}

// failed turns the error of an exchange into what the user gets.
func (f *clientFlags) failed(ctx context.Context, err error) *failure {
	outcome := bothends.Classify(err)
	code := map[bothends.Outcome]int{
		bothends.Mismatch: 1, bothends.Refused: exitNetwork, bothends.Unreachable: exitNetwork, bothends.Timeout: 4,
		bothends.Short: 5, bothends.Closed: 5, bothends.Reset: 5, bothends.TLS: 6, bothends.Canceled: 130,
	}[outcome]
	var own *fault.Error
	switch sig := signalOf(ctx); {
	case outcome == bothends.Canceled && sig != nil:
		code = exitCode(sig)
	case errors.As(err, &own), outcome == bothends.Canceled: // by this end's own --fault
		code = exitFailure
	}
	return &failure{code: code, err: errors.New(transcript.ErrorText(err)), hint: f.hint(outcome, err)}
}

func (f *clientFlags) hint(outcome bothends.Outcome, err error) string {
	var at bothends.ExchangeError
	if e := (*bothends.ExchangeError)(nil); errors.As(err, &e) {
		at = *e
	}
	var short bothends.ShortError
	if e := (*bothends.ShortError)(nil); errors.As(err, &e) {
		short = *e
	}
	switch {
	case errors.Is(err, net.ErrClosed) && at.Op == "receive":
		return "this end's own --fault has closed the connection"
	case outcome == bothends.Refused:
		return "nothing listens there, or a firewall refuses; start a server with: " + startServer(at.Peer)
	case at.Op == "resolve":
		return "check the name, or give an address"
	case errno.AddrNotAvail.Has(err) && f.source != "":
		return "--source takes an address of this machine; ip address lists them"
	case outcome == bothends.Timeout && at.Op == "connect":
		return fmt.Sprintf("no answer within %v: a firewall may drop it, or the server's queue is full", &f.timeout)
	case outcome == bothends.Timeout && at.Op == "receive" && short.Done == 0:
		return fmt.Sprintf("the server was silent; it may wait for more than the %d octets that were sent", len(f.message.octets))
	case outcome == bothends.Short && at.Op == "receive":
		return fmt.Sprintf("if %d octets are the whole reply, say: --reply-size %d", short.Done, short.Done)
	case outcome == bothends.Closed:
		return fmt.Sprintf("the server may want a message of another size than the %d octets that were sent", len(f.message.octets))
	}
	return ""
}

// startServer is the command that would have listened at peer.
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

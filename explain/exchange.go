package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/transcript"
)

var exchange = Lesson{
	Name:  "exchange",
	Title: "One exchange, with both ends on this machine",
	Remember: "TCP carries octets, not messages. Both ends stop reading after " +
		strconv.Itoa(bothends.DefaultMessageSize) + " octets only because they agreed on this length.",
	Function: "the whole program, both its branches, server and client",
	run:      runExchange,
}

// runExchange makes one exchange between an unchanged Server and Client. Only
// accept is delayed until connect has returned, so that the order is the same
// each time, and the lesson shows that the kernel completes a connection.
func runExchange(ctx context.Context, s Setting) ([]Step, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ln, err := listen(s.Port)
	if err != nil {
		return nil, err
	}
	b := &board{start: time.Now(), freePort: s.Port != 0 && port(ln.Addr()) != int(s.Port)}
	text := transcript.NewServer(b.end("server"), b.end("server"), false)
	text.Listening(ln.Addr())

	done := make(chan error, 1)
	connected := make(chan struct{})
	server := &bothends.Server{TraceConn: func(c net.Conn) *bothends.Trace {
		if !b.isOurs(c) {
			return nil // a connection of another program, which is served but not shown
		}
		return bothends.JoinTraces(text.Trace(c), b.server(), &bothends.Trace{Done: func(err error) { done <- err }})
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(&heldBack{Listener: ln, until: connected, failed: cancel}) }()
	defer func() {
		server.Close()
		<-served
	}()

	var once sync.Once
	goOn := func() { once.Do(func() { close(connected) }) }
	defer goOn()
	ladder := &transcript.Ladder{ASCII: s.ASCII, Start: b.start}
	trace := bothends.JoinTraces(transcript.Client(b.end("client")), b.client(), ladder.TraceClient(), &bothends.Trace{
		Connected: func(bothends.Connection) { goOn() },
	})
	client := bothends.Client{Dial: b.dial(s.Dialer)}
	_, err = client.Exchange(bothends.WithTrace(ctx, trace), ln.Addr().String(), []byte(bothends.DefaultRequest))
	if err != nil {
		return b.steps(), cmp.Or(context.Cause(ctx), err)
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return b.steps(), err
	}
	steps, err := b.explained()
	if err != nil {
		return steps, err
	}
	return append(steps, b.drawn(s, ladder)), nil
}

// drawn returns the step with the ladder.
func (b *board) drawn(s Setting, ladder *transcript.Ladder) Step {
	step := Step{End: "client", Line: "the same exchange as a ladder"}
	step.Why = "The times are those of the client's calls: when it passed something to its kernel, or got something from it. Segments on the network have other times."
	if s.Ladder != nil {
		if l := s.Ladder(); l != nil {
			l.Start, ladder = b.start, l
			step.Why = "Each arrow is a captured segment. Sequence numbers count from the first one of each end."
		}
	}
	ladder.Width = s.Width
	step.At, step.Block = time.Since(b.start), ladder.String()
	return step
}

// listen listens on loopback at port, or at a free port if it is in use.
func listen(port uint16) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if errno.AddrInUse.Has(err) && port != 0 {
		return listen(0)
	}
	if err != nil { // this machine may have no IPv4
		if ln6, err6 := config.Listen(context.Background(), "tcp", net.JoinHostPort("::1", strconv.Itoa(int(port)))); err6 == nil {
			return ln6, nil
		}
	}
	return ln, err
}

// heldBack is a listener whose Accept does not start before until is closed. If Accept
// fails, the lesson ends, although a server would retry.
type heldBack struct {
	net.Listener
	until  <-chan struct{}
	failed func(error)
}

func (l *heldBack) Accept() (net.Conn, error) {
	<-l.until
	conn, err := l.Listener.Accept()
	if err != nil {
		l.failed(err)
		return nil, net.ErrClosed
	}
	return conn, nil
}

// A board collects what both ends print and do.
type board struct {
	start    time.Time
	freePort bool // the requested port was in use

	connecting time.Time // time of the call of connect(), after the Dialer's Control

	mu          sync.Mutex
	lines       []Step
	connect     time.Duration // duration of connect()
	local, peer net.Addr      // addresses as seen by the client
	found       bool          // the server has accepted the client's connection
	clientFIN   bool          // the server has received the client's FIN
	request     transfers
	reply       transfers
}

// transfers contains a message's sends at one end and receives at the other.
type transfers struct {
	sentAt   time.Time
	sending  time.Duration // total time in send()
	octets   []int         // number of octets that each call took
	asked    []int
	received []int
}

// end returns a writer for the lines of one end.
func (b *board) end(name string) writerFunc {
	return func(p []byte) (int, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, Step{At: time.Since(b.start), End: name, Line: strings.TrimSuffix(string(p), "\n")})
		return len(p), nil
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// isOurs reports whether the server's connection is the one that the client made. The
// client's address is known, because accept was delayed until then. isOurs returns true
// only once, because another program may get the port after the client has closed.
func (b *board) isOurs(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ours := !b.found && b.local != nil && c.RemoteAddr().String() == b.local.String()
	b.found = b.found || ours
	return ours
}

// dial is the client's Dial. It records the time of the call of connect().
func (b *board) dial(dialer net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := timed(dialer, &b.connecting)
		return d.DialContext(ctx, network, addr)
	}
}

func (b *board) client() *bothends.Trace {
	return &bothends.Trace{
		Connected: func(c bothends.Connection) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.connect = time.Since(b.connecting)
			b.local, b.peer = c.Local, c.Peer
		},
		Sent:     func(t bothends.Transfer) { b.sent(&b.request, t) },
		Received: func(t bothends.Transfer) { b.received(&b.reply, t) },
	}
}

func (b *board) server() *bothends.Trace {
	return &bothends.Trace{
		Sent: func(t bothends.Transfer) { b.sent(&b.reply, t) },
		Received: func(t bothends.Transfer) {
			if t.Want > 0 {
				b.received(&b.request, t)
			} else if errors.Is(t.Err, io.EOF) {
				b.sawFIN()
			}
		},
	}
}

func (b *board) sawFIN() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clientFIN = true
}

func (b *board) sent(m *transfers, t bothends.Transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(m.octets) == 0 {
		m.sentAt = t.Start
	}
	m.sending += t.End.Sub(t.Start)
	m.octets = append(m.octets, t.N)
}

func (b *board) received(m *transfers, t bothends.Transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.asked = append(m.asked, t.Asked)
	m.received = append(m.received, t.N)
}

// steps returns the lines in order.
func (b *board) steps() []Step {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.SortStableFunc(b.lines, func(x, y Step) int { return cmp.Compare(x.At, y.At) })
	return b.lines
}

// explained returns the lines with their explanations.
func (b *board) explained() ([]Step, error) {
	steps := b.steps()
	whys := map[string][]string{
		"client": {b.whyName(), b.whyReply()},
		"server": {b.whyListening(), whyAccepted, b.whyPair(), b.whyRequest(), b.whyClosed(), whyAgain},
	}
	for i := range steps {
		left := whys[steps[i].End]
		if len(left) == 0 {
			return steps, fmt.Errorf("the %s printed more than an exchange has", steps[i].End)
		}
		steps[i].Why, whys[steps[i].End] = left[0], left[1:]
	}
	return steps, nil
}

const (
	whyAccepted = "The server calls accept() only now. The connection is already complete: accept() takes it " +
		"from the kernel's queue and returns a new socket for it."
	whyAgain = "The listening socket was not part of the exchange. It is ready for the next client."
)

func (b *board) whyListening() string {
	why := "bind() and listen() reserve the address. This socket never carries data. From now on, " +
		"the kernel completes connections to it. Nothing has been sent yet."
	if b.freePort {
		why = "The requested port was in use, so the kernel chose a free one. " + why
	}
	return why
}

func (b *board) whyName() string {
	return fmt.Sprintf("connect() returned after %s, before the server called accept(). The two kernels completed the handshake. "+
		"The client did not choose port %d: %s.", millis(b.connect), port(b.local), portRange())
}

func (b *board) whyPair() string {
	return fmt.Sprintf("The new socket has the server's port, %d, as all connections of this server. Only both addresses "+
		"together identify a connection.", port(b.peer))
}

func (b *board) whyRequest() string {
	return "The client's " + b.request.sent(b.start) + " The server's " + b.request.receiving()
}

func (b *board) whyReply() string {
	return "The server's " + b.reply.sent(b.start) + " The client's " + b.reply.receiving()
}

func (b *board) whyClosed() string {
	why := "The server sent its FIN after the reply, and then waited for the client's FIN."
	if b.clientFIN {
		why = "The server sent its FIN after the reply, received the client's FIN, and closed the socket."
	}
	switch server, client, err := timeWait(b.peer, b.local); {
	case err != nil:
		return why
	case server && client:
		return why + " Both ends are in TIME_WAIT, because the two FINs crossed."
	case server:
		return why + " The server's end is in TIME_WAIT, because its FIN was first."
	case client:
		return why + " But the client's end is in TIME_WAIT: its FIN was first."
	default:
		return why
	}
}

// sent returns a description of how a message was passed to the kernel.
func (m *transfers) sent(start time.Time) string {
	return fmt.Sprintf("send() at %s passed %s octets to the kernel and returned after %s.",
		millis(m.sentAt.Sub(start)), sum(m.octets), millis(m.sending))
}

// receiving returns a description of how a message was read.
func (m *transfers) receiving() string {
	if len(m.received) == 1 {
		return fmt.Sprintf("recv() requested %d octets and returned %d. If it had returned fewer, it would be called again for the rest.",
			m.asked[0], m.received[0])
	}
	return fmt.Sprintf("recv() requested %d octets and returned %d, so it was called again for the rest: %s.",
		m.asked[0], m.received[0], sum(m.received))
}

// sum returns counts as "16" or as "7 + 9 = 16".
func sum(counts []int) string {
	total := 0
	var parts []string
	for _, n := range counts {
		total += n
		parts = append(parts, strconv.Itoa(n))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return strings.Join(parts, " + ") + " = " + strconv.Itoa(total)
}

func millis(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/1e6) }

func port(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

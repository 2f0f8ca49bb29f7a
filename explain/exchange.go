package explain

import (
	"cmp"
	"context"
	"fmt"
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
	Title: "One exchange, both ends of it on this machine",
	Remember: "TCP carries octets and knows no messages. Both ends had agreed on " +
		strconv.Itoa(bothends.DefaultMessageSize) + " octets; nothing else told either of them when to stop reading.",
	Function: "the whole program, both its branches, server and client",
	run:      runExchange,
}

// runExchange makes one exchange between a Server and a Client, as they are. Only
// accept is held back until connect has returned, so that the order is the same
// each time, and one can see who completes a connection: the kernel.
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
			return nil // somebody else has found the port; served, but not shown
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

// drawn is the step that shows the ladder.
func (b *board) drawn(s Setting, ladder *transcript.Ladder) Step {
	step := Step{End: "client", Line: "The same as a ladder"}
	step.Why = "An arrow stands where the client handed its kernel something, or had something from it."
	if s.Ladder != nil {
		if l := s.Ladder(); l != nil {
			l.Start, ladder = b.start, l
			step.Why = "Each arrow is a segment that was captured, with its sequence numbers counted from each end's first."
		}
	}
	ladder.Width = s.Width
	step.At, step.Block = time.Since(b.start), ladder.String()
	return step
}

// listen takes the port on loopback, or any free one when it is taken.
func listen(port uint16) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if errno.AddrInUse.Has(err) && port != 0 {
		return listen(0)
	}
	if err != nil { // no IPv4 on this machine
		if ln6, err6 := config.Listen(context.Background(), "tcp", net.JoinHostPort("::1", strconv.Itoa(int(port)))); err6 == nil {
			return ln6, nil
		}
	}
	return ln, err
}

// heldBack is a listener whose Accept does not begin before until is closed. Where it
// fails, a server would try again; the lesson is over.
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

// A board gathers what both ends print and do.
type board struct {
	start    time.Time
	freePort bool // the port asked for was taken

	connecting time.Time // when connect() was called, which is after the Dialer's Control

	mu          sync.Mutex
	lines       []Step
	connect     time.Duration // how long it took
	local, peer net.Addr      // the client's view
	found       bool          // the server has the client's connection
	request     transfers
	reply       transfers
}

// transfers are one message's sends at one end and receives at the other.
type transfers struct {
	sentAt   time.Time
	sent     []int
	asked    []int
	received []int
}

// end returns a writer for the lines that one end prints.
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

// isOurs tells whether the server's connection is the one that the client made. The
// client's name is known by then: accept was held back for it. It is ours once: as
// soon as the client has closed, a stranger may get the same port.
func (b *board) isOurs(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ours := !b.found && b.local != nil && c.RemoteAddr().String() == b.local.String()
	b.found = b.found || ours
	return ours
}

// dial is the client's Dial, which notes when it calls connect().
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
			}
		},
	}
}

func (b *board) sent(m *transfers, t bothends.Transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(m.sent) == 0 {
		m.sentAt = t.Start
	}
	m.sent = append(m.sent, t.N)
}

func (b *board) received(m *transfers, t bothends.Transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.asked = append(m.asked, t.Asked)
	m.received = append(m.received, t.N)
}

// steps returns the lines in their order.
func (b *board) steps() []Step {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.SortStableFunc(b.lines, func(x, y Step) int { return cmp.Compare(x.At, y.At) })
	return b.lines
}

// explained returns the lines with what happened at each of them.
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
	whyAccepted = "accept() is called only now, and finds the connection complete: it takes it from " +
		"the kernel's queue and returns a new socket for it."
	whyAgain = "The listening socket was never part of the exchange. It is as it was, ready for the next client."
)

func (b *board) whyListening() string {
	why := "bind() and listen() reserve the address. This socket will never carry data; " +
		"the kernel now answers whoever connects to it. Nothing has been sent yet."
	if b.freePort {
		why = "The port asked for was taken, so the kernel gave a free one. " + why
	}
	return why
}

func (b *board) whyName() string {
	return fmt.Sprintf("connect() sent a SYN and was back with the kernel's answer after %s, before the server called accept(). "+
		"The client never chose port %d: %s.", millis(b.connect), port(b.local), portRange())
}

func (b *board) whyPair() string {
	return fmt.Sprintf("The new socket has the server's own port, %d, like all its connections. Only both names together "+
		"tell one connection from another.", port(b.peer))
}

func (b *board) whyRequest() string {
	return "The client's " + b.request.sending(b.start) + " The server's " + b.request.receiving()
}

func (b *board) whyReply() string {
	return "The server's " + b.reply.sending(b.start) + " The client's " + b.reply.receiving()
}

func (b *board) whyClosed() string {
	why := "The server sent its FIN right behind the reply, waited for the client's, and closed."
	switch server, client, err := timeWait(b.peer, b.local); {
	case err != nil:
		return why
	case server && client:
		return why + " The two FINs crossed, so the kernel now keeps both ends in TIME_WAIT, in case a late segment comes."
	case server:
		return why + " It was first, so its end now stays in TIME_WAIT for a while, in case a late segment comes."
	case client:
		return why + " But the client, once it had its octets, was faster: its end now stays in TIME_WAIT for a while."
	default:
		return why
	}
}

// sending tells how a message was handed to the kernel.
func (m *transfers) sending(start time.Time) string {
	return fmt.Sprintf("send() at %s handed the kernel %s octets and returned without waiting for the other end.",
		millis(m.sentAt.Sub(start)), sum(m.sent))
}

// receiving tells how it was read.
func (m *transfers) receiving() string {
	if len(m.received) == 1 {
		return fmt.Sprintf("recv() asked for %d and got %d; had it got fewer, it would have asked again for the rest.",
			m.asked[0], m.received[0])
	}
	return fmt.Sprintf("recv() asked for %d and got %d, so it asked again until there was nothing missing: %s.",
		m.asked[0], m.received[0], sum(m.received))
}

// sum writes counts as 16, or as 7 + 9 = 16.
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

package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/serve"
)

// DefaultMaxConns is the default of Proxy.MaxConns. A connection uses two to four
// descriptors.
const DefaultMaxConns = 10_000

// DefaultDialTimeout is the default of Proxy.DialTimeout.
const DefaultDialTimeout = 10 * time.Second

// ErrClosed is returned by Serve and Enable after Shutdown or Close.
var ErrClosed = errors.New("proxy closed")

var noDeadline time.Time

// A Proxy passes connections on to a target, with faults. Its fields must not be changed
// after the call of Serve; use SetFault and SetTarget. A connection has no time limit: it
// lasts as long as its two sides.
//
// Clients and the target may use TCP or unix sockets. On a unix socket there is no RST:
// where TCP sends one, the connection is closed. The peer reads to the end, or on Linux
// gets ECONNRESET if octets that it sent were not read, and its writes fail with EPIPE.
// The kernel keeps no octets back, so none are lost. A half-close works as with TCP.
type Proxy struct {
	// Name is the Proxy of the reports to Done.
	Name string

	// Target is where connections go: HOST:PORT, or unix:PATH. A name is looked up for
	// each connection.
	Target string

	// Requests are the faults on what the proxy sends to the target, Replies on what it
	// sends to the client: any but refuse and hang. After a reset, the other side's
	// connection is closed with RST too, after a close it is closed as well, and after
	// a halfclose the rest of that direction is dropped while the other goes on. After
	// a close of one side, what that side still sends is passed on until it closes, for
	// at most a second, and then the other side gets FIN after it. A stall ends five
	// seconds after the FIN of the side that waits, with RST for both.
	//
	// Connect are the faults on connecting: refuse, hang, and delay, which connects to
	// the target so much later. A delay ends with the client's RST, with its FIN if it
	// has sent nothing, and otherwise 15 s after the FIN.
	Requests, Replies, Connect fault.Fault

	// Seed decides about faults under a percentage. The directions decide independently:
	// Connect with Seed, Requests with Seed+1, Replies with Seed+2. All of them number
	// the connections in the order in which they were accepted: Requests and Replies
	// those that Connect has let in.
	Seed uint64

	// DialTimeout is the time limit for connecting to the target. If 0, it is 10 s. If
	// negative, only the system limits it.
	DialTimeout time.Duration

	// Unreachable is how a client's connection is closed if the target cannot be
	// connected to: ClosingReset, which is the default, or ClosingFIN. The connection of
	// the client is always made first. It is closed when the client has sent something,
	// or 250 ms after accept: an RST that comes before connect has returned would make
	// it fail.
	Unreachable Closing

	// MaxConns is the maximum number of open connections. Further connections wait in
	// the listener's queue. If 0, it is 10,000. If negative, there is no limit.
	MaxConns int

	// Resolver looks up the target. If nil, it is net.DefaultResolver.
	Resolver *net.Resolver

	// Done, if not nil, is called after each connection has ended, exactly once, in the
	// connection's goroutine. Calls may be concurrent. A client that the kernel has kept
	// from connecting (see [fault.Refuse]) had no connection.
	Done func(Connection)

	// Log receives accept errors, and once that MaxConns is reached. If nil,
	// slog.Default is used.
	Log *slog.Logger

	loop    serve.Loop
	buffers sync.Pool // of *[bufferSize]byte

	changing sync.Mutex // held while a fault or the listener changes

	mu       sync.Mutex
	ready    bool
	sessions map[*session]struct{}
	accepted uint64
	listener *listener // nil before Serve
	family   *family   // the proxies among which a ring is looked for

	connect, requests, replies *fault.Switch // nil before Serve
}

// Serve accepts connections from ln, which must be a *net.TCPListener or a
// *net.UnixListener, and passes them on, until Shutdown or Close or an error that ln does
// not recover from. It closes ln, and returns when the last of its connections has ended:
// ErrClosed, or the error of ln. A Proxy serves once.
//
// After a temporary accept error, such as EMFILE when the process has no descriptors
// left, Serve pauses for 5 ms to 1 s and tries again. It logs the first error, and then
// at most one every 10 s, with the number of failures since the one before.
func (p *Proxy) Serve(ln net.Listener) error {
	if err := p.enter(ln); err != nil {
		ln.Close()
		return err
	}
	return p.serve()
}

// serve is Serve after enter.
func (p *Proxy) serve() error {
	defer p.family.leave(p)
	defer p.stop() // after an error of the listener
	if err := p.loop.Serve(p.listener); err != serve.ErrStopped {
		return err
	}
	return ErrClosed
}

// SetFault changes the faults of a direction for the connections that are open and for new
// ones. Octets and times count from here, and so do FailFirst and For, also if the fault is
// the same: the open connections are numbered first, in the order in which they were
// accepted. What a delay or a stall holds back is sent, as [fault.Switch] describes. A
// fault that has closed a connection cannot be taken back.
//
// The faults on connecting do not concern connections that are open, except those that a
// delay or [fault.Hang] keeps waiting: a delay ends, and what Hang holds is closed.
//
// When SetFault has returned, octets that are sent to the proxy later pass the new fault.
func (p *Proxy) SetFault(on Direction, f fault.Fault) error { return p.setFault(on, f, true) }

// SetFaultForNew is SetFault for new connections: those that are open keep the faults that
// they have.
func (p *Proxy) SetFaultForNew(on Direction, f fault.Fault) error { return p.setFault(on, f, false) }

func (p *Proxy) setFault(on Direction, f fault.Fault, open bool) error {
	if err := on.Check(f); err != nil {
		return fmt.Errorf("proxy: %s: %w", on, err)
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	p.init()
	*p.fault(on) = f
	s, ln, seed := p.connect, p.listener, on.seed(p.Seed)
	switch on {
	case Requests:
		s = p.requests
	case Replies:
		s = p.replies
	}
	p.mu.Unlock()
	if ln == nil { // Serve makes the Switch
		return nil
	}
	s.SetSeed(seed)
	switch {
	case on == Connect:
		s.Set(f)
		ln.dropHeld()
	case open:
		s.Set(f)
		for _, s := range p.openSessions() {
			s.wake(on)
		}
	default:
		s.SetNew(f)
	}
	return nil
}

// SetTarget changes the target for the connections that start later.
func (p *Proxy) SetTarget(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Target = address
}

// become changes what Serve has started with, except the faults.
func (p *Proxy) become(s Spec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Name, p.Target, p.Seed, p.Unreachable = s.Name, s.Target, s.Seed, s.Unreachable
}

// DropConns closes every open connection, both sides with RST, and those that a fault on
// connecting holds. It does not wait for them. The proxy goes on.
func (p *Proxy) DropConns() {
	p.mu.Lock()
	ln := p.listener
	p.mu.Unlock()
	if ln != nil {
		ln.dropHeld()
	}
	for _, s := range p.openSessions() {
		s.stop()
	}
}

// Disable stops listening and closes every open connection, both sides with RST. When it
// returns, the address is free: the kernel refuses new connections until Enable.
func (p *Proxy) Disable() error {
	p.changing.Lock()
	defer p.changing.Unlock()
	ln, err := p.serving()
	if err != nil {
		return err
	}
	err = ln.disable()
	p.DropConns()
	return err
}

// Enable listens again after Disable, at the same address. The error is that of
// net.Listen if another program has taken the address: then the proxy stays disabled.
func (p *Proxy) Enable() error {
	p.changing.Lock()
	defer p.changing.Unlock()
	ln, err := p.serving()
	if err != nil {
		return err
	}
	return ln.enable()
}

// Enabled reports whether the proxy listens.
func (p *Proxy) Enabled() bool {
	ln, err := p.serving()
	return err == nil && ln.isEnabled()
}

func (p *Proxy) serving() (*listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return nil, errors.New("proxy: Serve has not been called")
	}
	return p.listener, nil
}

// Shutdown stops accepting, lets the open connections go on until they end, and returns
// nil when all of them have: then no goroutine or descriptor of the proxy is left. If ctx
// ends first, Shutdown returns its error and the open connections go on. Use Close to end
// them.
func (p *Proxy) Shutdown(ctx context.Context) error { return serve.Await(ctx, p.stop()) }

// Close stops accepting and closes every connection, both sides with RST. It does not wait
// for them; Serve does. It always returns nil.
func (p *Proxy) Close() error {
	p.stop()
	p.DropConns()
	return nil
}

// Open returns the number of open connections.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions)
}

// Accepted returns the number of connections that were accepted, open or not.
func (p *Proxy) Accepted() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// init makes what the zero value lacks. The caller holds mu.
func (p *Proxy) init() {
	if p.ready {
		return
	}
	p.ready = true
	p.sessions = make(map[*session]struct{})
	p.loop = serve.Loop{
		Handle: func(c net.Conn) { c.(*peerConn).session.run() },
		Limit:  max(0, cmp.Or(p.MaxConns, DefaultMaxConns)),
		Log:    p.Log,
	}
	if p.family == nil {
		p.family = new(family)
	}
}

func (p *Proxy) fault(on Direction) *fault.Fault {
	switch on {
	case Requests:
		return &p.Requests
	case Replies:
		return &p.Replies
	}
	return &p.Connect
}

// enter makes what Serve needs. For counts from here.
func (p *Proxy) enter(ln net.Listener) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := canServe(ln); err != nil {
		return err
	}
	for _, on := range Directions {
		if err := on.Check(*p.fault(on)); err != nil {
			return fmt.Errorf("proxy: %s: %w", on, err)
		}
	}
	if err := p.Unreachable.check(); err != nil {
		return fmt.Errorf("proxy: unreachable: %w", err)
	}
	p.init()
	switch {
	case p.loop.IsStopping():
		return ErrClosed
	case p.listener != nil:
		return errors.New("proxy: Serve was called a second time")
	}
	p.connect = fault.NewSwitch(p.Connect, Connect.seed(p.Seed))
	p.requests = fault.NewSwitch(p.Requests, Requests.seed(p.Seed))
	p.replies = fault.NewSwitch(p.Replies, Replies.seed(p.Seed))
	p.listener = newListener(p, ln)
	p.family.join(p, endpointOf(addressOf(ln.Addr())))
	return nil
}

// start makes a session for a client, and decides which faults strike it. The listener
// calls it in the order of the connections. It returns nil if the proxy is being stopped.
func (p *Proxy) start(admission net.Conn) *session {
	arrived := admission.(interface{ NetConn() net.Conn }).NetConn().(*arrival)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loop.IsStopping() {
		arrived.abort()
		arrived.admit(admission)
		return nil
	}
	s := newSession(p, arrived, admission)
	p.sessions[s] = struct{}{}
	p.accepted++
	return s
}

func (p *Proxy) leave(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
}

func (p *Proxy) done(c Connection) {
	if p.Done != nil {
		p.Done(c)
	}
}

// stop stops accepting. The channel is closed when Serve has returned.
func (p *Proxy) stop() (idle <-chan struct{}) {
	p.mu.Lock()
	p.init()
	ln := p.listener
	p.mu.Unlock()
	idle = p.loop.Stop()
	if ln != nil {
		ln.Close() // also if Serve has not reached the loop
	}
	return idle
}

func (p *Proxy) openSessions() []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.sessions))
}

func (p *Proxy) dialContext() (context.Context, context.CancelFunc) {
	timeout := cmp.Or(p.DialTimeout, DefaultDialTimeout)
	if timeout < 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), timeout)
}

func (p *Proxy) log() *slog.Logger { return cmp.Or(p.Log, slog.Default()) }

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
)

// DefaultMaxConns is the default of Proxy.MaxConns. A connection uses two to four
// descriptors.
const DefaultMaxConns = 10_000

// DefaultDialTimeout is how long a Proxy tries to connect to its target.
const DefaultDialTimeout = 10 * time.Second

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("proxy closed")

var noDeadline time.Time

// A Proxy passes connections on to a target, with faults. Its fields must not be
// changed once it serves; SetFault and SetTarget do so for the connections that begin
// later. There is no deadline on a connection: it lasts as long as its two sides.
type Proxy struct {
	// Name is for those who read what Done is told.
	Name string

	// Target is where connections go, as host:port. Each looks a name up anew.
	Target string

	// Requests are the faults on what the proxy sends to the target, Replies on
	// what it sends to the client; any but refuse and hang. A reset ends the other
	// side's connection with RST too, a close ends it as well, and after a
	// halfclose the rest of that direction is dropped while the other goes on.
	// After a close of one side, what that side still sends is passed on until it
	// closes, for a second at most, and then the other side gets FIN behind it.
	// A stall ends five seconds after the FIN of the side that waits, with RST for
	// both.
	//
	// Connect are the faults on connecting: refuse, hang, and delay, which
	// connects to the target so much later. A delay ends with the client's RST, with
	// its FIN if it has sent nothing, and otherwise 15 s after the FIN.
	Requests, Replies, Connect fault.Fault

	// Seed decides about faults under a percentage. The directions decide apart
	// from one another, Connect with Seed, Requests with Seed+1, Replies with
	// Seed+2. All of them number the connections in the order in which they were
	// accepted: Requests and Replies those that Connect has let in.
	Seed uint64

	// DialTimeout is for connecting to the target. 0 means 10 s; negative means
	// as long as the system tries.
	DialTimeout time.Duration

	// Unreachable is how a client's connection is closed if there is none to the
	// target: ClosingReset, which is the default, or ClosingFIN. The connection of the
	// client is always made first. It is closed when the client has sent something,
	// or 250 ms after accept: an RST that comes before connect has returned would make
	// it fail.
	Unreachable Closing

	// MaxConns is the maximum number of open connections. Further connections wait
	// in the listener's queue. If 0, it is 10,000. If negative, there is no limit.
	MaxConns int

	// Resolver looks up the target. If nil, it is net.DefaultResolver.
	Resolver *net.Resolver

	// Done, if not nil, is told of each connection when it has ended: exactly
	// once, by the connection's goroutine, many of them at the same time. Whom
	// the kernel kept from connecting (see [fault.Refuse]) was no connection.
	Done func(Connection)

	// Log is told what belongs to no connection: accept errors. Nil uses
	// slog.Default.
	Log *slog.Logger

	mu        sync.Mutex
	ready     bool
	injectors map[Direction]*fault.Injector
	links     map[*link]struct{}
	begun     uint64 // connections accepted
	listener  *net.TCPListener
	gate      *gate
	waiting   []chan struct{} // closed when the fault on connecting has changed
	family    *family         // the proxies among which a ring is looked for

	buffers sync.Pool // for copyBare

	failures      int // errors of accept that are not logged yet; Serve's own
	failureLogged time.Time
	limitLogged   bool

	slots chan struct{} // has a value for each open connection; nil for no limit
	wake  chan struct{} // has a value when Serve is to look at waiting

	closing chan struct{} // closed by Shutdown and Close
	deaf    chan struct{} // closed when Serve has let go of the address
	idle    chan struct{} // closed when closing and Serve has returned
}

// Serve accepts connections from ln, which must be a *net.TCPListener, since FIN and
// RST are TCP's, and passes them on, until Shutdown or Close or an error that ln does
// not recover from. It closes ln, and returns when the last of its connections has
// ended: ErrClosed, or the error of ln. A Proxy serves once.
func (p *Proxy) Serve(ln net.Listener) error {
	defer ln.Close()
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("proxy: Serve wants a *net.TCPListener, and this is a %T", ln)
	}
	if err := p.enter(tcp); err != nil {
		return err
	}
	return p.serve(tcp)
}

// serve is Serve once it has entered.
func (p *Proxy) serve(ln *net.TCPListener) error {
	defer ln.Close()
	defer p.left()
	var links sync.WaitGroup
	defer links.Wait()
	defer p.closeGate()
	var pause time.Duration // the last one
	for {
		if !p.awaitSlot() {
			return ErrClosed
		}
		client, admission, err := p.gate.accept()
		if err != nil {
			p.freeSlot()
		}
		switch {
		case err == nil:
			pause = 0
			if l := p.begin(client, admission); l != nil {
				links.Go(func() {
					defer p.freeSlot()
					l.run()
				})
			}
		case p.isClosing():
			return ErrClosed
		case p.turn():
		case errno.Passing.Has(err):
			pause = p.pause(err, pause)
		default:
			return err
		}
	}
}

// awaitSlot waits until another connection may be open. It returns false when the proxy
// is closed first.
func (p *Proxy) awaitSlot() bool {
	for {
		select {
		case p.slots <- struct{}{}:
			return true
		default:
		}
		if p.slots == nil {
			return true
		}
		if !p.limitLogged {
			p.limitLogged = true
			p.log().Warn("connection limit reached, further connections wait", "listener", p.listener.Addr(), "limit", cap(p.slots))
		}
		select {
		case p.slots <- struct{}{}:
			return true
		case <-p.wake:
			p.turn()
		case <-p.closing:
			return false
		}
	}
}

func (p *Proxy) freeSlot() {
	if p.slots != nil {
		<-p.slots
	}
}

// SetFault changes the faults of a direction for the connections that begin later. It
// starts their count and their clock anew (FailFirst, For), also where the fault is
// the same. A changed fault on connecting acts when SetFault has returned; what
// [fault.Hang] held of the connections is closed.
func (p *Proxy) SetFault(on Direction, f fault.Fault) error {
	if !on.known() {
		return fmt.Errorf("proxy: no direction %q", string(on))
	}
	if err := on.check(f); err != nil {
		return err
	}
	p.mu.Lock()
	p.init()
	*p.fault(on) = f
	p.injectors[on] = on.injector(f, p.Seed)
	if on != Connect || p.gate == nil || p.isClosing() {
		p.mu.Unlock()
		return nil
	}
	turned := make(chan struct{})
	p.waiting = append(p.waiting, turned)
	gate := p.gate
	p.mu.Unlock()
	gate.Close() // wakes Serve, which makes a new one
	select {
	case p.wake <- struct{}{}: // wherever else it waits
	default:
	}
	<-turned
	return nil
}

// setSeed changes the seed of the faults that are set from now on.
func (p *Proxy) setSeed(seed uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Seed = seed
}

// setUnreachable changes Unreachable for the connections that start later.
func (p *Proxy) setUnreachable(how Closing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Unreachable = how
}

// setName changes the name under which connections that begin later are reported.
func (p *Proxy) setName(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Name = name
}

// SetTarget changes the target for the connections that begin later.
func (p *Proxy) SetTarget(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Target = address
}

// Shutdown stops accepting, lets the open connections go on until they end, and
// returns nil when all of them have: then no goroutine or descriptor of the proxy is
// left. When ctx ends first, Shutdown returns its error, and they go on; Close cuts
// them.
func (p *Proxy) Shutdown(ctx context.Context) error {
	idle := p.stop()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-idle: // both at once: it is done
		return nil
	default:
		return ctx.Err()
	}
}

// Close stops accepting and cuts every connection, both sides with RST. It does not
// wait for them; Serve does. It always returns nil.
func (p *Proxy) Close() error {
	p.stop()
	for _, l := range p.openLinks() {
		l.stop()
	}
	return nil
}

// Open is the number of open connections.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Begun is the number of connections that were accepted, open or not.
func (p *Proxy) Begun() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

// init makes what the zero value lacks. The caller holds mu.
func (p *Proxy) init() {
	if p.ready {
		return
	}
	p.ready = true
	p.injectors = make(map[Direction]*fault.Injector)
	p.links = make(map[*link]struct{})
	p.closing = make(chan struct{})
	p.deaf = make(chan struct{})
	p.idle = make(chan struct{})
	p.wake = make(chan struct{}, 1)
	switch {
	case p.MaxConns > 0:
		p.slots = make(chan struct{}, p.MaxConns)
	case p.MaxConns == 0:
		p.slots = make(chan struct{}, DefaultMaxConns)
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

// enter begins to serve. The injectors are new then: For counts from here.
func (p *Proxy) enter(ln *net.TCPListener) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, on := range Directions {
		if err := on.check(*p.fault(on)); err != nil {
			return fmt.Errorf("proxy: %s: %w", on, err)
		}
	}
	if err := p.Unreachable.check(); err != nil {
		return fmt.Errorf("proxy: unreachable: %w", err)
	}
	p.init()
	switch {
	case p.isClosing():
		return ErrClosed
	case p.listener != nil:
		return errors.New("proxy: a Proxy serves once")
	}
	for _, on := range Directions {
		p.injectors[on] = on.injector(*p.fault(on), p.Seed)
	}
	p.listener = ln
	p.family.join(p, endpoint(ln.Addr().String()))
	p.newGate()
	return nil
}

// newGate puts the fault on connecting in force. The caller holds mu.
func (p *Proxy) newGate() {
	p.gate = newGate(p.listener, p.injectors[Connect], p.Connect.String() == "", p.turnedAway)
}

// turn makes a new gate if the fault on connecting has changed. Serve calls it when
// it is out of Accept.
func (p *Proxy) turn() bool {
	p.mu.Lock()
	gate, changed := p.gate, len(p.waiting) > 0
	p.mu.Unlock()
	if !changed {
		return false
	}
	gate.Close() // again: Accept returns before the first one is done with the socket
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isClosing() { // a gate made then would be closed by nobody
		p.newGate()
		p.turned()
	}
	return true
}

// turned lets those go on who have changed the fault on connecting. The caller holds
// mu.
func (p *Proxy) turned() {
	for _, turned := range p.waiting {
		close(turned)
	}
	p.waiting = nil
}

// begin makes a link for a client, and decides which faults strike it. Serve alone
// calls it: their numbers are those of the connections.
func (p *Proxy) begin(client *side, admission net.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosing() {
		client.abort()
		p.freeSlot()
		return nil
	}
	l := &link{
		proxy: p, name: p.Name, address: p.Target, unreachable: p.Unreachable,
		client: client, target: newSide(new(net.TCPConn)), admission: admission,
	}
	l.requests = direction{from: l.client, to: l.target, faulty: p.injectors[Requests].Conn(l.target)}
	l.replies = direction{from: l.target, to: l.client, faulty: p.injectors[Replies].Conn(l.client)}
	p.links[l] = struct{}{}
	p.begun++
	return l
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// turnedAway reports a connection that a fault on connecting closed: it is reset for
// refuse.
func (p *Proxy) turnedAway(s *side) {
	struck := fault.Hang()
	if s.reset.Load() {
		struck = fault.Refuse()
	}
	p.mu.Lock()
	p.begun++
	name, target := p.Name, p.Target
	p.mu.Unlock()
	p.done(Connection{
		Schema: Schema, Time: s.start, Proxy: name, Client: s.RemoteAddr().String(), Target: target,
		Seconds: time.Since(s.start).Seconds(), Ended: EndedFault, Faults: []Strike{{Connect, struck.String()}},
	})
}

func (p *Proxy) done(c Connection) {
	if p.Done != nil {
		p.Done(c)
	}
}

// stop begins the end: no more accepts. The listener goes first, for the gate would
// listen again.
func (p *Proxy) stop() (idle <-chan struct{}) {
	p.mu.Lock()
	p.init()
	if p.isClosing() {
		defer p.mu.Unlock()
		return p.idle
	}
	close(p.closing)
	ln, gate := p.listener, p.gate
	if ln == nil {
		close(p.idle)
	}
	p.mu.Unlock()
	if ln != nil {
		ln.Close()
		gate.Close()
	}
	return p.idle
}

// closeGate closes the last gate, and with it what the fault holds. The kernel has
// closed the listener only now that nobody is in its Accept any more.
func (p *Proxy) closeGate() {
	p.stop() // after an error of the listener
	p.mu.Lock()
	gate := p.gate
	p.turned()
	p.mu.Unlock()
	gate.Close()
	close(p.deaf)
}

// left is the end of Serve.
func (p *Proxy) left() {
	p.family.leave(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.idle)
}

func (p *Proxy) openLinks() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

func (p *Proxy) isClosing() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

func (p *Proxy) dialContext() (context.Context, context.CancelFunc) {
	switch {
	case p.DialTimeout < 0:
		return context.WithCancel(context.Background())
	case p.DialTimeout == 0:
		return context.WithTimeout(context.Background(), DefaultDialTimeout)
	}
	return context.WithTimeout(context.Background(), p.DialTimeout)
}

// pause waits before another accept: the error passes, but not at once. Each pause is
// twice the last one, from 5 ms to 1 s.
func (p *Proxy) pause(err error, last time.Duration) time.Duration {
	pause := min(max(2*last, 5*time.Millisecond), time.Second)
	p.acceptFailed(err)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.wake:
		p.turn()
	case <-p.closing:
	}
	return pause
}

// acceptFailed logs the first error, and then one line with their number in ten seconds
// at most: without descriptors there are hundreds. Serve alone calls it.
func (p *Proxy) acceptFailed(err error) {
	p.failures++
	if time.Since(p.failureLogged) < 10*time.Second {
		return
	}
	p.log().Warn("accept failed, trying again", "listener", p.listener.Addr(), "err", err, "errors", p.failures)
	p.failures, p.failureLogged = 0, time.Now()
}

func (p *Proxy) log() *slog.Logger {
	if p.Log != nil {
		return p.Log
	}
	return slog.Default()
}

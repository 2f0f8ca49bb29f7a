package proxy

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bothends/bothends/fault"
)

// A listener accepts the connections of a proxy, and makes sessions of them. It can be
// disabled: then it does not listen, and Accept waits.
type listener struct {
	proxy *Proxy
	addr  net.Addr

	mu       sync.Mutex
	inner    net.Listener  // with the faults on connecting; nil when it does not listen
	changed  chan struct{} // closed and replaced when inner changes
	isClosed bool
	held     map[*arrival]struct{}

	accepting sync.Mutex // held during Accept of inner
}

func newListener(p *Proxy, ln net.Listener) *listener {
	l := &listener{proxy: p, addr: ln.Addr(), changed: make(chan struct{}), held: make(map[*arrival]struct{})}
	l.inner = l.withFaults(ln)
	return l
}

func (l *listener) withFaults(ln net.Listener) net.Listener {
	return l.proxy.connect.Listen(&arrivals{socket: ln.(listenSocket), listener: l})
}

// Accept returns the *peerConn of the next client that the faults on connecting let in.
func (l *listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		inner, changed, isClosed := l.inner, l.changed, l.isClosed
		l.mu.Unlock()
		switch {
		case isClosed:
			return nil, net.ErrClosed
		case inner == nil:
			<-changed
			continue
		}
		l.accepting.Lock()
		conn, err := inner.Accept()
		l.accepting.Unlock()
		switch {
		case err == nil:
			if s := l.proxy.start(conn); s != nil {
				return s.client, nil
			}
		case l.isPresent(inner):
			return nil, err
		}
	}
}

func (l *listener) isPresent(inner net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inner == inner
}

// disable stops listening. When it returns, the address is free.
func (l *listener) disable() error {
	l.mu.Lock()
	inner := l.inner
	l.replace(nil)
	l.mu.Unlock()
	if inner == nil {
		return nil
	}
	err := inner.Close()
	l.accepting.Lock() // the kernel closes the socket when Accept has returned
	defer l.accepting.Unlock()
	return err
}

// enable listens again.
func (l *listener) enable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.isClosed:
		return ErrClosed
	case l.inner != nil:
		return nil
	}
	ln, err := listen(addressOf(l.addr))
	if err != nil {
		return err
	}
	l.replace(l.withFaults(ln))
	return nil
}

// replace sets inner, and wakes Accept. The caller holds mu.
func (l *listener) replace(inner net.Listener) {
	l.inner = inner
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *listener) isEnabled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inner != nil
}

// dropHeld closes the connections that a fault on connecting holds.
func (l *listener) dropHeld() {
	l.mu.Lock()
	held := slices.Collect(maps.Keys(l.held))
	l.mu.Unlock()
	for _, a := range held {
		a.Close()
	}
}

// Close ends Accept. When it returns, the address is free.
func (l *listener) Close() error {
	l.mu.Lock()
	l.isClosed = true
	l.mu.Unlock()
	return l.disable()
}

// Addr returns the address, also while the listener is disabled.
func (l *listener) Addr() net.Addr { return l.addr }

// A listenSocket is a *net.TCPListener or a *net.UnixListener. The faults on connecting
// act on the socket of TCP.
type listenSocket interface {
	net.Listener
	syscall.Conn
}

// arrivals is a socket that listens, as the faults on connecting see it.
type arrivals struct {
	socket   listenSocket
	listener *listener
	last     *arrival // the one accepted before; used by Accept alone
}

// Accept notes that a fault holds the connection before, if it has no session by now.
func (a *arrivals) Accept() (net.Conn, error) {
	if a.last != nil {
		a.last.hold()
		a.last = nil
	}
	conn, err := a.socket.Accept()
	if err != nil {
		return nil, err
	}
	a.last = &arrival{peerConn: newPeerConn(conn.(socket)), listener: a.listener}
	return a.last, nil
}

func (a *arrivals) Close() error                          { return a.socket.Close() }
func (a *arrivals) Addr() net.Addr                        { return a.socket.Addr() }
func (a *arrivals) SyscallConn() (syscall.RawConn, error) { return a.socket.SyscallConn() }

// An arrival is a client's connection as the faults on connecting see it. They close it
// if they do not let the client in.
type arrival struct {
	*peerConn
	listener *listener
	session  *session // nil until there is one; guarded by the proxy's mu
	admitted atomic.Bool
	closing  sync.Once
}

// hold notes that a fault on connecting holds the connection.
func (a *arrival) hold() {
	p, l := a.listener.proxy, a.listener
	p.mu.Lock()
	defer p.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.session == nil && !isDone(a.closed) {
		l.held[a] = struct{}{}
	}
}

// admit ends the faults on connecting, which the Switch forgets. The connection stays open.
func (a *arrival) admit(admission net.Conn) {
	a.admitted.Store(true)
	fault.Drop(admission)
}

// Close closes the connection for a fault. It does nothing once the client is admitted:
// the faults on connecting do not concern it any more.
func (a *arrival) Close() error {
	if a.admitted.Load() {
		return nil
	}
	err := a.peerConn.Close()
	a.closing.Do(func() {
		p, l := a.listener.proxy, a.listener
		l.mu.Lock()
		delete(l.held, a)
		l.mu.Unlock()
		p.mu.Lock()
		hasSession := a.session != nil // which reports it
		p.mu.Unlock()
		if !hasSession {
			p.turnedAway(a.peerConn)
		}
	})
	return err
}

// turnedAway reports a connection that a fault on connecting has closed: with RST if it
// was refuse.
func (p *Proxy) turnedAway(c *peerConn) {
	struck := fault.Hang()
	if c.reset.Load() {
		struck = fault.Refuse()
	}
	p.mu.Lock()
	p.accepted++
	name, target := p.Name, p.Target
	p.mu.Unlock()
	p.done(Connection{
		Schema: Schema, Time: c.start, Proxy: name, Client: addressOf(c.RemoteAddr()), Target: target,
		Seconds: time.Since(c.start).Seconds(), Ended: EndedFault, Faults: []Strike{{Connect, struck.String()}},
	})
}

// canServe returns an error if ln is not a listener of TCP or of unix sockets: FIN and RST
// are theirs.
func canServe(ln net.Listener) error {
	switch ln.(type) {
	case *net.TCPListener, *net.UnixListener:
		return nil
	}
	return fmt.Errorf("proxy: cannot serve a %T; use a *net.TCPListener or a *net.UnixListener", ln)
}

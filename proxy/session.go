package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
)

// A session is one proxied connection: that of a client, and the one to the target.
type session struct {
	proxy          *Proxy
	name, address  string // of the proxy and of the target, as they were at the start
	unreachable    Closing
	client, target *peerConn
	arrived        *arrival // the client as the faults on connecting see it
	admission      net.Conn // with these faults; nil if the client is admitted at once
	requests       direction
	replies        direction
	open           atomic.Int32 // directions that have not ended
	settling       sync.WaitGroup
	piping         atomic.Bool // a direction has the session's pipe

	mu     sync.Mutex
	ended  Ended // "" until it ends
	err    error
	cancel context.CancelFunc // ends the dialling; nil when there is none
	next   []*Proxy           // the proxies that it connected to, or tried to
}

// newSession makes a session for a client, and decides which faults strike it. The caller
// holds the proxy's mu.
func newSession(p *Proxy, arrived *arrival, admission net.Conn) *session {
	s := &session{
		proxy: p, name: p.Name, address: p.Target, unreachable: p.Unreachable,
		client: arrived.peerConn, target: newPeerConn(new(net.TCPConn)), arrived: arrived, admission: admission,
	}
	arrived.session, s.client.session = s, s
	if _, idle := fault.Idle(admission); idle {
		s.admission = nil
		arrived.admit(admission)
	}
	s.requests.from, s.requests.to, s.requests.faulty = s.client, s.target, p.requests.Conn(s.target)
	s.replies.from, s.replies.to, s.replies.faulty = s.target, s.client, p.replies.Conn(s.client)
	return s
}

// wake lets the direction that a fault is on notice that it was set.
func (s *session) wake(on Direction) {
	if on == Requests {
		s.requests.wake()
	} else {
		s.replies.wake()
	}
}

// run moves octets until both directions have ended, and reports.
func (s *session) run() {
	defer s.report()
	if !s.admit() {
		return
	}
	if err := s.connect(); err != nil {
		s.end(howDialEnded(err), fmt.Errorf("connect to %s: %w", s.address, reasonOf(err)))
		s.turnAway()
		return
	}
	s.open.Store(2)
	var other sync.WaitGroup
	other.Go(func() { s.pass(&s.requests) })
	s.pass(&s.replies)
	other.Wait()
}

// admit waits as long as a delay on connecting says, which an empty Write shows, or until
// the client has left.
func (s *session) admit() bool {
	if s.admission == nil {
		return true
	}
	var watching sync.WaitGroup
	left, over := false, make(chan struct{})
	watching.Go(func() {
		if left = s.client.awaitLeft(over); left {
			s.leftEarly()
		}
	})
	_, err := s.admission.Write(nil)
	if err == nil {
		err = fault.Flush(s.admission)
	}
	close(over)
	s.client.SetReadDeadline(aLongTimeAgo)
	watching.Wait()
	s.client.SetReadDeadline(noDeadline)
	if err == nil && !left {
		if err = s.admitUnchanged(); err == nil {
			return true
		}
	}
	if isDone(s.client.closed) || errors.As(err, new(*fault.Error)) { // by a refuse that was set meanwhile
		s.end(EndedFault, reasonOf(err))
	} else if !left {
		s.fail(&s.requests, err)
	}
	return false
}

// admitUnchanged lets the client in, unless the fault that has taken the place of a delay
// refuses it.
func (s *session) admitUnchanged() error {
	s.proxy.changing.Lock() // a fault that is being set has struck after this
	defer s.proxy.changing.Unlock()
	if err := fault.Flush(s.admission); err != nil {
		return err
	}
	s.arrived.admit(s.admission)
	return nil
}

// leftEarly ends the session of a client that did not wait for the target.
func (s *session) leftEarly() {
	if gone, _ := s.client.isGone(); gone {
		s.end(EndedClientReset, syscall.ECONNRESET)
	} else {
		s.end(EndedFault, errLeft)
	}
	fault.Drop(s.admission)
}

var errLeft = errors.New("the client closed before the delay on connecting was over")

// turnAway closes the client's connection because there is none to the target. The client
// has seen by then that it was accepted: an RST that comes sooner makes some calls of
// connect fail.
func (s *session) turnAway() {
	s.client.awaitSeen()
	if s.unreachable == ClosingFIN {
		s.client.closeAfterReading()
	} else {
		s.client.abort()
	}
}

func (s *session) connect() error {
	ctx, cancel := s.proxy.dialContext()
	defer cancel()
	s.mu.Lock()
	if s.ended != "" {
		s.mu.Unlock()
		return ErrClosed
	}
	s.cancel = cancel
	s.mu.Unlock()

	dialer := net.Dialer{Resolver: s.proxy.Resolver, Control: s.connecting}
	network, address := splitNetwork(s.address)
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != "" {
		conn.Close()
		return ErrClosed
	}
	connected := conn.(socket)
	s.target.below.Store(&connected)
	return nil
}

// connecting is called before each connect(2), of which there may be two at a time. One
// that has lost its race may come when the session has ended, and is not made.
func (s *session) connecting(network, address string, _ syscall.RawConn) error {
	if network == "unix" {
		address = unixPrefix + address
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != "" {
		return ErrClosed
	}
	next, err := s.proxy.family.connecting(s.proxy, endpointOf(address))
	if next != nil {
		s.next = append(s.next, next)
	}
	return err
}

// howDialEnded returns what an error of connecting means. A target that resets at once may
// do so before connect has returned, and a lack of descriptors is the proxy's.
func howDialEnded(err error) Ended {
	switch {
	case errno.Reset.Has(err):
		return EndedTargetReset
	case errno.Exhausted.Has(err), errors.Is(err, errRingNow):
		return EndedError
	}
	return EndedNoTarget
}

// pass moves one direction's octets until it has ended, and does what its end means for
// the session.
func (s *session) pass(d *direction) {
	err := s.copy(d)
	close(d.from.passed)
	if err == nil {
		err = s.finish(d)
	}
	var struck *fault.Error
	switch {
	case err == nil:
		s.finished(d)
	case errors.As(err, &struck):
		s.strike(d, struck)
	default:
		s.fail(d, err)
	}
}

// finish passes a FIN on, and waits until it is sent: a delay may hold octets before it.
func (s *session) finish(d *direction) error {
	d.faulty.(interface{ CloseWrite() error }).CloseWrite()
	if _, idle := fault.Idle(d.faulty); idle {
		return nil
	}
	if err := s.held(d).flush(); !isHalfClose(err) {
		return err
	}
	return nil
}

// finished is called when a direction's FIN was sent. The second one ends the session;
// until then the side that has sent its FIN is watched, for it is not read any more and
// its RST would not be seen.
func (s *session) finished(d *direction) {
	if s.open.Add(-1) == 0 {
		s.end(EndedFIN, nil)
		s.close()
	} else if d.from.awaitGone() && !d.from.finished.Load() {
		s.fail(d, syscall.ECONNRESET)
	}
}

// settle waits until a delay has passed on what it holds for a side, before the side is
// closed. A stall after the delay is not waited for.
func (s *session) settle(to *peerConn) {
	d := s.directionTo(to)
	settled := make(chan struct{})
	s.settling.Go(func() {
		defer close(settled)
		fault.Flush(d.faulty)
	})
	for {
		select {
		case <-settled:
			return
		case <-time.After(patience):
			if fault.Stalled(d.faulty) {
				return
			}
		}
	}
}

func (s *session) directionTo(side *peerConn) *direction {
	if side == s.client {
		return &s.replies
	}
	return &s.requests
}

// strike ends the session after a fault has ended a side. The other gets the same.
func (s *session) strike(d *direction, struck *fault.Error) {
	if !s.end(EndedFault, struck) {
		return
	}
	s.settle(d.from)
	if errors.Is(struck, syscall.ECONNRESET) {
		d.from.abortAfterSending()
	} else {
		d.from.closeAfterReading()
	}
	s.close()
}

// fail ends the session after an error of the system: RST for the side that is well, and
// after the octets that it was sent.
func (s *session) fail(d *direction, err error) {
	if errors.Is(err, net.ErrClosed) {
		s.closedHere(d)
		return
	}
	broken, well := d.from, d.to
	if s.brokeAt(d, err) == d.to {
		broken, well = d.to, d.from
	}
	ended := EndedError
	switch {
	case !errno.Reset.Has(err):
	case broken == s.client:
		ended = EndedClientReset
	default:
		ended = EndedTargetReset
	}
	if !s.end(ended, reasonOf(err)) {
		return
	}
	broken.abort()
	s.settle(well)
	if well == s.client {
		well.awaitSeen()
	}
	well.abortAfterSending()
	s.close()
}

// closedHere ends the session if a fault has closed a side without a Write that reports
// it. Otherwise the session has closed it.
func (s *session) closedHere(d *direction) {
	if s.hasEnded() {
		return
	}
	side := d.from
	if isDone(d.to.closed) {
		side = d.to
	}
	on := s.directionTo(side)
	<-fault.Broken(on.faulty) // it has closed what is below first
	if struck := (*fault.Error)(nil); errors.As(fault.Flush(on.faulty), &struck) {
		s.strike(on, struck)
	}
}

// lose ends the session when the side was reset that a fault's Write holds octets of. If
// it has had a FIN, it may have gone with its own: then the other side, which knows
// nothing of that, goes on waiting for what the fault keeps.
func (s *session) lose(d *direction) {
	if !d.from.finished.Load() {
		s.fail(d, syscall.ECONNRESET)
	}
}

// outstay ends the session when a stall has held octets for a side long after its FIN. A
// client that has closed cannot be distinguished from one that waits on, and those that
// have closed must not fill the table of descriptors.
func (s *session) outstay(d *direction) {
	who := "client"
	if d.to == s.target {
		who = "target"
	}
	if !s.end(EndedFault, fmt.Errorf("octets were held for %v after the FIN of the %s", grace, who)) {
		return
	}
	d.to.abort()
	s.settle(d.from)
	d.from.abortAfterSending()
	s.close()
}

// brokeAt returns the side that an error is of. The calls that move octets from one socket
// to another do not tell; the kernel does, by the state of each.
func (s *session) brokeAt(d *direction, err error) *peerConn {
	if errors.Is(err, syscall.EPIPE) { // of a write
		return d.to
	}
	if !d.from.wasReset() && d.to.wasReset() {
		return d.to
	}
	return d.from
}

// end notes how the session ended. It returns true to the first caller, which closes the
// sides.
func (s *session) end(how Ended, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != "" {
		return false
	}
	s.ended, s.err = how, err
	if s.cancel != nil {
		s.cancel()
	}
	return true
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended != ""
}

// stop closes both sides with RST.
func (s *session) stop() {
	s.end(EndedStopped, nil)
	s.client.SetLinger(0)
	s.target.SetLinger(0)
	s.close()
}

// close closes both sides, and wakes the faults on them.
func (s *session) close() {
	if s.admission != nil {
		fault.Drop(s.admission)
	}
	fault.Drop(s.requests.faulty)
	fault.Drop(s.replies.faulty)
	s.client.Close()
	s.target.Close()
}

func (s *session) report() {
	s.close()
	s.settling.Wait()
	c := Connection{
		Schema: Schema, Time: s.client.start, Proxy: s.name,
		Client: addressOf(s.client.RemoteAddr()), Target: s.address,
		Seconds:       time.Since(s.client.start).Seconds(),
		RequestOctets: s.requests.sent(), ReplyOctets: s.replies.sent(),
		Ended: s.ended, Faults: s.struck(),
	}
	if s.err != nil {
		c.Error = s.err.Error()
	}
	s.mu.Lock()
	for _, next := range s.next {
		s.proxy.family.disconnected(s.proxy, next)
	}
	s.mu.Unlock()
	s.proxy.leave(s)
	s.proxy.done(c)
}

func (s *session) struck() (strikes []Strike) {
	for _, on := range []struct {
		direction Direction
		conn      net.Conn
	}{{Connect, s.admission}, {Requests, s.requests.faulty}, {Replies, s.replies.faulty}} {
		if on.conn == nil {
			continue
		}
		for _, f := range fault.Struck(on.conn) {
			strikes = append(strikes, Strike{on.direction, f.String()})
		}
	}
	return strikes
}

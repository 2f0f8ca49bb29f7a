package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
)

// A link is one proxied connection: a client's, and the one to the target.
type link struct {
	proxy          *Proxy
	name, address  string // of the proxy and of the target, as they were at the beginning
	client, target *side
	admission      net.Conn // the client's side under a fault on connecting, nil without one
	requests       direction
	replies        direction
	open           atomic.Int32 // directions that have not ended
	unreachable    Closing      // as it was at the beginning
	settling       sync.WaitGroup
	piping         atomic.Bool // a direction has the link's pipe

	mu     sync.Mutex
	ended  Ended // "" while it lives
	err    error
	cancel context.CancelFunc // ends the dialling; nil when there is none
	next   []*Proxy           // the proxies that it connected to, or tried to
}

// A direction is one half of a link. It is passed on by one goroutine.
type direction struct {
	from, to *side
	faulty   net.Conn // to with the faults that strike it; to itself when there are none
	octets   int64    // sent on without faults; its goroutine's own
}

// sent is the number of octets that were sent on.
func (d *direction) sent() int64 { return d.octets + d.to.sent.Load() }

// isBare reports whether no fault strikes the direction. Then its octets can stay in the
// kernel.
func (d *direction) isBare() bool { return d.faulty == net.Conn(d.to) }

// run moves octets until both directions have ended, and reports.
func (l *link) run() {
	defer l.report()
	if !l.admit() {
		return
	}
	if err := l.connect(); err != nil {
		l.end(howDialEnded(err), fmt.Errorf("connect to %s: %w", l.address, reasonOf(err)))
		l.turnAway()
		return
	}
	l.open.Store(2)
	var other sync.WaitGroup
	other.Go(func() { l.pass(&l.requests) })
	l.pass(&l.replies)
	other.Wait()
}

// admit waits as long as a delay on connecting says, which an empty Write shows, or until
// the client has left.
func (l *link) admit() bool {
	if l.admission == nil {
		return true
	}
	var watching sync.WaitGroup
	left := false
	watching.Go(func() {
		if left = l.client.awaitLeft(); left {
			l.leftEarly()
		}
	})
	_, err := l.admission.Write(nil)
	if err == nil {
		err = fault.Flush(l.admission)
	}
	l.client.SetReadDeadline(longAgo)
	watching.Wait()
	l.client.SetReadDeadline(noDeadline)
	if err != nil && !left {
		l.fail(&l.requests, err)
	}
	return err == nil && !left
}

// leftEarly ends the link of a client that did not wait for the target.
func (l *link) leftEarly() {
	if gone, _ := l.client.isGone(); gone {
		l.end(EndedClientReset, syscall.ECONNRESET)
	} else {
		l.end(EndedFault, errLeft)
	}
	fault.Drop(l.admission)
}

var errLeft = errors.New("the client closed before the delay on connecting was over")

// turnAway closes the client's connection because there is none to the target. The
// client has seen by then that it was accepted: an RST that comes sooner makes connect
// fail, now and then.
func (l *link) turnAway() {
	l.client.awaitSeen()
	if l.unreachable == ClosingFIN {
		l.client.closeBehind()
	} else {
		l.client.abort()
	}
}

func (l *link) connect() error {
	ctx, cancel := l.proxy.dialContext()
	defer cancel()
	l.mu.Lock()
	if l.ended != "" {
		l.mu.Unlock()
		return ErrClosed
	}
	l.cancel = cancel
	l.mu.Unlock()

	dialer := net.Dialer{Resolver: l.proxy.Resolver, Control: l.connecting}
	conn, err := dialer.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != "" {
		conn.Close()
		return ErrClosed
	}
	l.target.TCPConn = conn.(*net.TCPConn)
	return nil
}

// connecting is called before each connect(2), of which there may be two at a time.
func (l *link) connecting(_, address string, _ syscall.RawConn) error {
	next, err := l.proxy.family.connecting(l.proxy, endpoint(address))
	if next != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.next = append(l.next, next)
	}
	return err
}

// howDialEnded is what an error of connecting means. A target that resets at once may
// do so before connect has returned, and want of descriptors is the proxy's own.
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
// the link.
func (l *link) pass(d *direction) {
	err := l.copy(d)
	close(d.from.passed)
	if err == nil {
		err = l.finish(d)
	}
	var struck *fault.Error
	switch {
	case err == nil:
		l.finished(d)
	case errors.As(err, &struck):
		l.strike(d, struck)
	default:
		l.fail(d, err)
	}
}

// copy returns nil at the FIN, with all that came before it sent on, or in a delay.
func (l *link) copy(d *direction) (err error) {
	if d.isBare() {
		return l.copyBare(d)
	}
	wake := l.wakeWhenBroken(d)
	_, err = io.Copy(l.watched(d), d.from.TCPConn)
	if broken := wake(); broken && !errors.As(err, new(*fault.Error)) {
		err = fault.Flush(d.faulty)
	}
	if isHalfClose(err) { // the side that sends does not know, and must not be stopped
		_, err = io.Copy(io.Discard, d.from.TCPConn)
	}
	return err
}

func isHalfClose(err error) bool {
	var struck *fault.Error
	return errors.As(err, &struck) && struck.HalfClosed()
}

// wakeWhenBroken ends the Read of a direction when a fault after a delay has struck. The
// function that it returns ends that, and reports whether it was so.
func (l *link) wakeWhenBroken(d *direction) (stop func() bool) {
	stopped, broken := make(chan struct{}), false
	var waking sync.WaitGroup
	waking.Go(func() {
		for {
			select {
			case <-fault.Broken(d.faulty):
				broken = true
				d.from.SetReadDeadline(longAgo)
			case <-stopped:
				return
			}
			select { // again: a watched Write may have taken the deadline away
			case <-time.After(10 * time.Millisecond):
			case <-stopped:
				return
			}
		}
	})
	return func() bool {
		close(stopped)
		waking.Wait()
		if broken {
			d.from.SetReadDeadline(noDeadline)
		}
		return broken
	}
}

func (l *link) watched(d *direction) watched {
	return watched{Conn: d.faulty, from: d.from, lost: func() { l.lose(d) }, to: d.to, outstayed: func() { l.outstay(d) }}
}

// finish passes a FIN on, and waits until it is sent: a delay may hold octets before it.
func (l *link) finish(d *direction) error {
	d.faulty.(interface{ CloseWrite() error }).CloseWrite()
	if d.isBare() {
		return nil
	}
	if err := l.watched(d).flush(); !isHalfClose(err) {
		return err
	}
	return nil
}

// finished is called when a direction's FIN was sent. The second one ends the link; until
// then the side that has sent its FIN is watched, for it is not read any more and its RST
// would not be seen.
func (l *link) finished(d *direction) {
	if l.open.Add(-1) == 0 {
		l.end(EndedFIN, nil)
		l.close()
	} else if d.from.awaitGone() && !d.from.finished.Load() {
		l.fail(d, syscall.ECONNRESET)
	}
}

// settle waits until a delay has passed on what it holds for a side, before the side is
// closed. A stall after the delay is not waited for.
func (l *link) settle(to *side) {
	d := &l.requests
	if to == l.client {
		d = &l.replies
	}
	settled := make(chan struct{})
	l.settling.Go(func() {
		defer close(settled)
		fault.Flush(d.faulty)
	})
	for {
		select {
		case <-settled:
			return
		case <-time.After(patience):
			if stalls(d.faulty) {
				return
			}
		}
	}
}

// strike ends the link after a fault has ended a side. The other gets the same.
func (l *link) strike(d *direction, struck *fault.Error) {
	if !l.end(EndedFault, struck) {
		return
	}
	l.settle(d.from)
	if errors.Is(struck, syscall.ECONNRESET) {
		d.from.abortBehind()
	} else {
		d.from.closeBehind()
	}
	l.close()
}

// fail ends the link after an error of the system: RST for the side that is well, and
// behind the octets that it was sent.
func (l *link) fail(d *direction, err error) {
	if errors.Is(err, net.ErrClosed) {
		return // by a fault, whose Write is about to say so, or by the end of the link
	}
	broken, well := d.from, d.to
	if l.brokeAt(d, err) == d.to {
		broken, well = d.to, d.from
	}
	ended := EndedError
	switch {
	case !errno.Reset.Has(err):
	case broken == l.client:
		ended = EndedClientReset
	default:
		ended = EndedTargetReset
	}
	if !l.end(ended, reasonOf(err)) {
		return
	}
	broken.abort()
	l.settle(well)
	if well == l.client {
		well.awaitSeen()
	}
	well.abortBehind()
	l.close()
}

// lose ends the link when the side was reset that a fault's Write holds octets of. When
// it has had a FIN, it may have gone with its own: then the other side, which knows
// nothing of that, goes on waiting for what the fault keeps.
func (l *link) lose(d *direction) {
	if !d.from.finished.Load() {
		l.fail(d, syscall.ECONNRESET)
	}
}

// outstay ends the link when a stall has held octets for a side long after its FIN. A
// client that has closed cannot be told from one that waits on, and those that have
// closed must not fill the table of descriptors.
func (l *link) outstay(d *direction) {
	who := "client"
	if d.to == l.target {
		who = "target"
	}
	if !l.end(EndedFault, fmt.Errorf("octets were held for %v after the FIN of the %s", grace, who)) {
		return
	}
	d.to.abort()
	l.settle(d.from)
	d.from.abortBehind()
	l.close()
}

// brokeAt is the side that an error is of. The calls that move octets from one socket
// to another do not tell; the kernel does, by the state of each.
func (l *link) brokeAt(d *direction, err error) *side {
	if errors.Is(err, syscall.EPIPE) { // of a write
		return d.to
	}
	if !d.from.wasReset() && d.to.wasReset() {
		return d.to
	}
	return d.from
}

// end notes how the link ended. It returns true to the first who does, and that one
// closes the sides.
func (l *link) end(how Ended, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != "" {
		return false
	}
	l.ended, l.err = how, err
	if l.cancel != nil {
		l.cancel()
	}
	return true
}

// stop cuts the link, both sides with RST.
func (l *link) stop() {
	l.end(EndedStopped, nil)
	l.client.SetLinger(0)
	l.target.SetLinger(0)
	l.close()
}

// close closes both sides, and wakes the faults on them.
func (l *link) close() {
	for _, c := range []net.Conn{l.admission, l.requests.faulty, l.replies.faulty, l.client, l.target} {
		if c != nil {
			fault.Drop(c)
		}
	}
}

func (l *link) report() {
	l.close()
	l.settling.Wait()
	c := Connection{
		Schema: Schema, Time: l.client.start, Proxy: l.name,
		Client: l.client.RemoteAddr().String(), Target: l.address,
		Seconds:       time.Since(l.client.start).Seconds(),
		RequestOctets: l.requests.sent(), ReplyOctets: l.replies.sent(),
		Ended: l.ended, Faults: l.struck(),
	}
	if l.err != nil {
		c.Error = l.err.Error()
	}
	for _, next := range l.next {
		l.proxy.family.disconnected(l.proxy, next)
	}
	l.proxy.leave(l)
	l.proxy.done(c)
}

func (l *link) struck() (strikes []Strike) {
	for _, on := range []struct {
		direction Direction
		conn      net.Conn
	}{{Connect, l.admission}, {Requests, l.requests.faulty}, {Replies, l.replies.faulty}} {
		if on.conn == nil {
			continue
		}
		for _, f := range fault.Struck(on.conn) {
			strikes = append(strikes, Strike{on.direction, f})
		}
	}
	return strikes
}

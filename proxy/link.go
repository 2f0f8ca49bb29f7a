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
	octets   int64    // sent on; its goroutine's own
}

// out is what the octets are written to. Without faults it is the TCP connection, for
// io.Copy to find: then they stay in the kernel, where the system has splice.
func (d *direction) out() net.Conn {
	if d.faulty == net.Conn(d.to) {
		return d.to.TCPConn
	}
	return d.faulty
}

// run moves octets until both directions have ended, and reports.
func (l *link) run() {
	defer l.report()
	if !l.admit() {
		return
	}
	if err := l.connect(); err != nil {
		l.end(howDialEnded(err), fmt.Errorf("connect to %s: %w", l.address, reasonOf(err)))
		l.client.abort()
		return
	}
	l.open.Store(2)
	var other sync.WaitGroup
	other.Go(func() { l.pass(&l.requests) })
	l.pass(&l.replies)
	other.Wait()
}

// admit waits as long as a delay on connecting says. An empty Write does just this.
func (l *link) admit() bool {
	if l.admission == nil {
		return true
	}
	_, err := l.admission.Write(nil)
	if err != nil {
		l.end(EndedError, reasonOf(err))
		l.client.abort()
	}
	return err == nil
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

// pass moves one direction's octets until it has ended, and what its end means for the
// link is done.
func (l *link) pass(d *direction) {
	err := l.copy(d)
	close(d.from.passed)
	var struck *fault.Error
	switch {
	case err == nil:
		l.finish(d)
	case errors.As(err, &struck):
		l.strike(d, struck)
	default:
		l.fail(d, err)
	}
}

// copy returns nil at the FIN, with all that came before it sent on.
func (l *link) copy(d *direction) (err error) {
	out := d.out()
	if out == net.Conn(d.to.TCPConn) {
		d.octets, err = io.Copy(out, d.from.TCPConn)
	} else {
		w := watched{Conn: out, from: d.from, lost: func() { l.lose(d) }, to: d.to, outstayed: func() { l.outstay(d) }}
		d.octets, err = io.Copy(w, d.from.TCPConn)
	}
	var struck *fault.Error
	if errors.As(err, &struck) && struck.HalfClosed() {
		// The side that sends does not know, and must not be stopped.
		_, err = io.Copy(io.Discard, d.from.TCPConn)
	}
	return err
}

// finish passes a FIN on. The second one ends the link; until then the side that has
// sent its FIN is watched, for nobody reads from it any more and would see its RST.
func (l *link) finish(d *direction) {
	last := l.open.Add(-1) == 0
	if last {
		l.end(EndedFIN, nil) // before the FIN: with it a watched side goes, as by RST
	}
	d.faulty.(interface{ CloseWrite() error }).CloseWrite()
	if last {
		l.close()
	} else if d.from.awaitGone() && !d.from.finished.Load() {
		l.fail(d, syscall.ECONNRESET)
	}
}

// strike ends the link after a fault has ended a side. The other gets the same.
func (l *link) strike(d *direction, struck *fault.Error) {
	if !l.end(EndedFault, struck) {
		return
	}
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
			c.Close()
		}
	}
}

func (l *link) report() {
	l.close()
	c := Connection{
		Schema: Schema, Time: l.client.start, Proxy: l.name,
		Client: l.client.RemoteAddr().String(), Target: l.address,
		Seconds:       time.Since(l.client.start).Seconds(),
		RequestOctets: l.requests.octets, ReplyOctets: l.replies.octets,
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

package proxy

import (
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends/fault"
)

// patience is how long a Write may last before its sides are watched. Tests have less.
var patience = time.Second

// grace is how long a stall is kept up for a side after its FIN. Tests have less.
var grace = 5 * time.Second

// A heldWriter is a connection to write to. A fault may hold a Write, and then the side
// that the octets came from is not read.
type heldWriter struct {
	net.Conn
	from, to        *peerConn
	lost, outstayed func() // called when from is gone, and when to does not wait any more
}

func (w heldWriter) Write(p []byte) (n int, err error) {
	w.during(func() { n, err = w.Conn.Write(p) })
	return n, err
}

// flush waits until a delay has passed on what it holds.
func (w heldWriter) flush() (err error) {
	w.during(func() { err = fault.Flush(w.Conn) })
	return err
}

// during watches both sides if do takes longer than patience.
func (w heldWriter) during(do func()) {
	written := make(chan struct{})
	var watching sync.WaitGroup
	watching.Add(1)
	timer := time.AfterFunc(patience, func() {
		defer watching.Done()
		watching.Go(func() { w.awaitOutstayed(written) })
		if w.awaitLost() {
			w.lost()
		}
	})
	do()
	if timer.Stop() {
		return
	}
	close(written)
	w.from.SetReadDeadline(aLongTimeAgo)
	watching.Wait()
	w.from.SetReadDeadline(noDeadline)
}

// awaitLost returns true when from was reset, or has closed a unix socket and its octets
// are never to arrive: those that are merely slow must, as after a FIN.
func (w heldWriter) awaitLost() bool {
	if w.from.isUnix() {
		return w.from.awaitHungUp() && fault.Stalled(w.Conn)
	}
	return w.from.awaitGone()
}

// awaitOutstayed gives the side that the octets are for some time after its FIN, and after
// a stall has started. What is merely slow arrives, or an RST says that it is not wanted.
func (w heldWriter) awaitOutstayed(written <-chan struct{}) {
	select {
	case <-w.to.passed:
	case <-written:
		return
	}
	for stalled := fault.Stalled(w.Conn); ; {
		select {
		case <-time.After(grace):
		case <-written:
			return
		}
		if stalled {
			w.outstayed()
			return
		}
		stalled = fault.Stalled(w.Conn)
	}
}

package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/bothends/bothends/fault"
)

// bufferSize is the length of the buffer for a read. On Linux, a read that fills it is the
// sign of a transfer, for which splice(2) is worth a pipe.
const bufferSize = 32 << 10

// errChanged ends a copy because a fault was set, or taken away.
var errChanged = errors.New("the fault has changed")

// A direction is one half of a session. One goroutine passes it on.
type direction struct {
	from, to *peerConn
	faulty   net.Conn // to with the faults that strike it
	octets   int64    // sent without faults; its goroutine's own

	mu    sync.Mutex
	bare  bool // copyBare reads from from
	woken bool // from has a deadline, to wake it
}

// sent returns the number of octets that were sent.
func (d *direction) sent() int64 { return d.octets + d.to.sent.Load() }

// setBare notes whether copyBare reads. Afterwards no deadline is left.
func (d *direction) setBare(bare bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bare = bare
	if d.woken {
		d.from.SetReadDeadline(noDeadline)
		d.woken = false
	}
}

// wake lets copyBare notice that the fault has changed.
func (d *direction) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bare {
		d.from.SetReadDeadline(aLongTimeAgo)
		d.woken = true
	}
}

// copy returns nil at the FIN, with all that came before it sent, or in a delay.
func (s *session) copy(d *direction) error {
	for {
		var err error
		if changed, idle := fault.Idle(d.faulty); idle {
			d.setBare(true)
			err = s.copyBare(d, changed)
			d.setBare(false)
		} else {
			err = s.copyFaulty(d)
		}
		if isDeadline := errors.Is(err, os.ErrDeadlineExceeded); err != errChanged && !isDeadline {
			return err
		}
	}
}

// send passes on octets that were read while no fault struck the direction: past the
// faults, unless one was set meanwhile.
func (s *session) send(d *direction, p []byte, changed <-chan struct{}) error {
	if isDone(changed) {
		if _, err := s.held(d).Write(p); err != nil {
			return s.brokenBy(d, err)
		}
		return errChanged
	}
	n, err := d.to.socket().Write(p)
	d.octets += int64(n)
	return err
}

// copyFaulty passes octets on through faults, until there are none any more.
func (s *session) copyFaulty(d *direction) error {
	wake := s.wakeWhenBroken(d)
	err := s.pump(d)
	if broken := wake(); broken && !errors.As(err, new(*fault.Error)) {
		err = fault.Flush(d.faulty)
	}
	if err == errChanged {
		return err
	}
	return s.brokenBy(d, err)
}

func (s *session) pump(d *direction) error {
	buffer := s.proxy.buffer()
	defer s.proxy.buffers.Put(buffer)
	to := s.held(d)
	for {
		n, err := d.from.socket().Read(buffer[:])
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if _, idle := fault.Idle(d.faulty); idle {
			return errChanged
		}
	}
}

// brokenBy reads the rest of a direction away after a half-close: the side that sends does
// not know of it, and must not be stopped.
func (s *session) brokenBy(d *direction, err error) error {
	if isHalfClose(err) {
		_, err = io.Copy(io.Discard, d.from.socket())
	}
	return err
}

func isHalfClose(err error) bool {
	var struck *fault.Error
	return errors.As(err, &struck) && struck.HalfClosed()
}

// wakeWhenBroken ends the Read of a direction when a fault strikes that is not in a Write.
// The function that it returns ends that, and reports whether it was so.
func (s *session) wakeWhenBroken(d *direction) (stop func() bool) {
	stopped, broken := make(chan struct{}), false
	var waking sync.WaitGroup
	waking.Go(func() {
		for {
			select {
			case <-fault.Broken(d.faulty):
				broken = true
				d.from.SetReadDeadline(aLongTimeAgo)
			case <-stopped:
				return
			}
			select { // again: a held Write may have taken the deadline away
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

func (s *session) held(d *direction) heldWriter {
	return heldWriter{Conn: d.faulty, from: d.from, lost: func() { s.lose(d) }, to: d.to, outstayed: func() { s.outstay(d) }}
}

func (p *Proxy) buffer() *[bufferSize]byte {
	if buffer, ok := p.buffers.Get().(*[bufferSize]byte); ok {
		return buffer
	}
	return new([bufferSize]byte)
}

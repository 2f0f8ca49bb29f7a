//go:build !linux

package fault

import (
	"errors"
	"net"
	"time"
)

// A door is of Linux: elsewhere each connection is decided on when it is accepted.
type door struct {
	raw  any // nil
	shut bool
}

func (*door) find(net.Listener) error { return errors.ErrUnsupported }

func (*door) turn(state) error { return errors.ErrUnsupported }

func (*door) close() {}

// awaitPeerClosed waits for this end alone: that the peer has closed could be learned
// only by reading.
func awaitPeerClosed(_ net.Conn, closed <-chan struct{}) { <-closed }

// awaitSeen waits for the time alone, for the same reason.
func awaitSeen(_ net.Conn, closed <-chan struct{}, until time.Time) { awaitTime(closed, until) }

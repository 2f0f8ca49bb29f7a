//go:build !linux

package fault

import (
	"errors"
	"net"
	"time"
)

// An admission exists on Linux alone. Elsewhere each connection is decided on as it is
// accepted.
type admission struct {
	raw  any // nil
	shut bool
}

func (*admission) find(net.Listener) error { return errors.ErrUnsupported }

func (*admission) set(state) error { return errors.ErrUnsupported }

func (*admission) close() {}

// awaitPeerClosed waits for this end alone. Only a read would show that the peer has
// closed.
func awaitPeerClosed(_ net.Conn, closed <-chan struct{}) { <-closed }

// awaitSeen waits for the time alone, for the same reason.
func awaitSeen(_ net.Conn, closed <-chan struct{}, until time.Time) { awaitTime(closed, until) }

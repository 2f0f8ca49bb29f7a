//go:build !linux

package capture

import (
	"context"
	"io"
	"syscall"
)

// A Capture is not available on this system.
type Capture struct{}

// Open returns ErrNotAvailable.
func Open(Options) (*Capture, error) { return nil, ErrNotAvailable }

// Control does nothing.
func (*Capture) Control(network, address string, conn syscall.RawConn) error { return nil }

// Finish returns ErrNotAvailable.
func (*Capture) Finish(context.Context) error { return ErrNotAvailable }

// Segments returns none.
func (*Capture) Segments() []Segment { return nil }

// Save returns ErrNotAvailable.
func (*Capture) Save(io.Writer) error { return ErrNotAvailable }

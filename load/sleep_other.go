//go:build !linux

package load

import (
	"context"
	"time"
)

// A sleeper waits until a time, as precisely as Go's timers do.
type sleeper struct{}

func (sleeper) sleep(ctx context.Context, until time.Time) { sleepFor(ctx, time.Until(until)) }
func (sleeper) close()                                     {}

package load

import (
	"context"
	"time"
)

// sleepFor is Go's own sleep. The end of ctx ends it.
func sleepFor(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

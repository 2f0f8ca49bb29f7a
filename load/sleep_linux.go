package load

import (
	"context"
	"syscall"
	"time"
)

// Go's timers wait in epoll, which counts in milliseconds: the last two are slept with
// nanosleep(2), in a thread of their own.
const coarse = 2 * time.Millisecond

func sleepUntil(ctx context.Context, until time.Time) {
	if left := time.Until(until) - coarse; left > 0 {
		sleepFor(ctx, left)
	}
	for ctx.Err() == nil {
		left := time.Until(until)
		if left <= 0 {
			return
		}
		ts := syscall.NsecToTimespec(int64(left))
		syscall.Nanosleep(&ts, nil) // Go's own signals wake it early
	}
}

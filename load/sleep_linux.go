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
	if left := time.Until(until); left > 0 && ctx.Err() == nil {
		ts := syscall.NsecToTimespec(int64(left))
		syscall.Nanosleep(&ts, nil) // woken early by a signal it is, at the most, early
	}
}

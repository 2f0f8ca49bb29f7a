//go:build !linux

package load

import (
	"context"
	"time"
)

func sleepUntil(ctx context.Context, until time.Time) { sleepFor(ctx, time.Until(until)) }

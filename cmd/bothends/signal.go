package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// stoppedBy is the cause of a context that a signal ended.
type stoppedBy struct{ os.Signal }

func (s stoppedBy) Error() string { return "stopped by " + s.String() }

// withSignals returns a context that SIGINT or SIGTERM ends.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals) // the next one ends the process
			cancel(stoppedBy{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func signalOf(ctx context.Context) os.Signal {
	var s stoppedBy
	if errors.As(context.Cause(ctx), &s) {
		return s.Signal
	}
	return nil
}

func exitCode(s os.Signal) int {
	if s == syscall.SIGTERM {
		return 143
	}
	return 130
}

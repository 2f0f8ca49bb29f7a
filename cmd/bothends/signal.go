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

// stopSignals are the signals that end a command. A program that was started with SIGHUP
// ignored, as by nohup, goes on ignoring it.
func stopSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// withSignals returns a context that is canceled by SIGINT, SIGTERM, SIGHUP or one of
// more.
func withSignals(parent context.Context, more ...os.Signal) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, append(stopSignals(), more...)...)
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

// exitCode is the exit status of a program that a signal stopped, as a shell reports it.
func exitCode(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitFailure
}

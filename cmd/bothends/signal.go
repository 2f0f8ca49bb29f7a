package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
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
// more. A second signal ends the program.
func withSignals(parent context.Context, more ...os.Signal) (ctx context.Context, stop func()) {
	last := new(lastActs)
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, lastActsKey{}, last))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, append(stopSignals(), more...)...)
	done := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			select {
			case s := <-signals:
				if first {
					cancel(stoppedBy{s})
					continue
				}
				last.do()
				os.Exit(exitCode(s))
			case <-done:
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil); close(done) }
}

type lastActsKey struct{}

// lastActs are done before a second signal ends the program.
type lastActs struct {
	mu   sync.Mutex
	acts map[*func()]func()
}

func (l *lastActs) do() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.acts {
		f()
	}
}

// beforeExit has f called if a second signal ends the program while the command still
// runs, so that no child is left. A command that returns calls remove, and cleans up
// itself.
func beforeExit(ctx context.Context, f func()) (remove func()) {
	l, ok := ctx.Value(lastActsKey{}).(*lastActs)
	if !ok {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acts == nil {
		l.acts = make(map[*func()]func())
	}
	l.acts[&f] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.acts, &f)
	}
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

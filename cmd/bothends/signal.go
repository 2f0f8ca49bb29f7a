package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// stoppedBy is the cause of a context that a signal canceled.
type stoppedBy struct{ os.Signal }

func (s stoppedBy) Error() string { return "stopped by " + s.String() }

// stopSignals returns the signals that end a command. If SIGHUP is ignored, as with nohup,
// it is not one of them.
func stopSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// deliveries recognizes a signal that is delivered twice, such as by a terminal to the
// process group and by a wrapper that forwards it.
type deliveries struct {
	last os.Signal
	at   time.Time
}

// sameRequest is the time within which a second delivery of a signal is ignored.
const sameRequest = 500 * time.Millisecond

// repeated reports whether sig was counted within the last half second.
func (d *deliveries) repeated(sig os.Signal, now time.Time) bool {
	if sig == d.last && now.Sub(d.at) < sameRequest {
		return true
	}
	d.last, d.at = sig, now
	return false
}

// A stopper ends the program after signals. Before the call of withSignals, signals have
// their default action. The first signal cancels the context of the command, which then
// saves and prints its results. If the command has not returned after the grace period, or
// after a second signal, the program ends at once.
type stopper struct {
	exit    func(code int)
	grace   time.Duration
	stopped chan struct{} // closed by the first signal
	done    chan struct{} // closed by close
	watches sync.WaitGroup

	mu         sync.Mutex
	first      os.Signal // the first signal, or nil
	timer      *time.Timer
	held       int
	beforeExit map[int]func()
	next       int // key in beforeExit
}

// gracePeriod and writePatience (see stream) are shorter than the second in which the first
// signal ends a command.
const gracePeriod = 800 * time.Millisecond

func newStopper() *stopper {
	return &stopper{
		exit: os.Exit, grace: gracePeriod, stopped: make(chan struct{}), done: make(chan struct{}),
		beforeExit: make(map[int]func()),
	}
}

type stopperKey struct{}

// context returns a context from which stopperOf returns s.
func (s *stopper) context(parent context.Context) context.Context {
	return context.WithValue(parent, stopperKey{}, s)
}

func stopperOf(ctx context.Context) *stopper {
	if s, ok := ctx.Value(stopperKey{}).(*stopper); ok {
		return s
	}
	return newStopper() // the context is not from run, as in a test
}

// close restores the default action of the signals.
func (s *stopper) close() {
	close(s.done)
	s.watches.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}

// withSignals returns a context that is canceled by SIGINT, SIGTERM, SIGHUP or one of the
// signals in more. The signals are caught until the program ends, also after stop.
func withSignals(parent context.Context, more ...os.Signal) (ctx context.Context, stop func()) {
	s := stopperOf(parent)
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, append(stopSignals(), more...)...)
	s.watches.Go(func() {
		defer signal.Stop(signals)
		s.watch(signals, cancel)
	})
	return ctx, func() { cancel(nil) }
}

func (s *stopper) watch(signals <-chan os.Signal, cancel context.CancelCauseFunc) {
	var same deliveries
	for {
		select {
		case sig := <-signals:
			switch {
			case same.repeated(sig, time.Now()):
			case s.start(sig):
				cancel(stoppedBy{sig})
			default:
				s.end(sig)
			}
		case <-s.done:
			return
		}
	}
}

// start starts the grace period. It reports whether sig is the first signal.
func (s *stopper) start(sig os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil {
		return false
	}
	s.first = sig
	s.timer = time.AfterFunc(s.grace, func() {
		s.mu.Lock()
		held := s.held > 0
		s.mu.Unlock()
		if !held {
			s.end(sig)
		}
	})
	close(s.stopped)
	return true
}

// signal returns the first signal, or nil if there was none.
func (s *stopper) signal() os.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// end ends the program without waiting for the command.
func (s *stopper) end(sig os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock() // held until exit, so that no function is added
	for _, f := range s.beforeExit {
		f()
	}
	s.exit(exitCode(sig))
}

// hold suspends the grace period until release is called. It is for work that must be
// completed, such as saving. A second signal still ends the program.
func hold(ctx context.Context) (release func()) {
	s := stopperOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held--
		if s.held == 0 && s.timer != nil {
			s.timer.Reset(s.grace)
		}
	})
}

// beforeExit registers f. It is called if a signal ends the program while the command still
// runs, so that no temporary file and no child process is left. f must not block. A command
// that returns cleans up itself and calls remove.
func beforeExit(ctx context.Context, f func()) (remove func()) {
	s := stopperOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.next
	s.next++
	s.beforeExit[key] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.beforeExit, key)
	}
}

// signalOf returns the signal that canceled a context of withSignals, or nil.
func signalOf(ctx context.Context) os.Signal {
	var s stoppedBy
	if errors.As(context.Cause(ctx), &s) {
		return s.Signal
	}
	return nil
}

// exitCode returns the exit status of a program that a signal stopped, as in a shell.
func exitCode(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitFailure
}

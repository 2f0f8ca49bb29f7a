package main

import (
	"context"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// stopping is a stopper under test: signals go to its channel, and exits are recorded.
type stopping struct {
	*stopper
	ctx     context.Context
	signals chan os.Signal

	exits sync.Mutex
	codes []int
}

func newStopping(t *testing.T) *stopping {
	s := &stopping{stopper: newStopper(), signals: make(chan os.Signal)}
	s.exit = func(code int) {
		s.exits.Lock()
		defer s.exits.Unlock()
		s.codes = append(s.codes, code)
	}
	ctx, cancel := context.WithCancelCause(s.context(t.Context()))
	s.ctx = ctx
	s.watches.Go(func() { s.watch(s.signals, cancel) })
	t.Cleanup(s.close)
	return s
}

// exited are the statuses of the exits so far.
func (s *stopping) exited() []int {
	s.exits.Lock()
	defer s.exits.Unlock()
	return slices.Clone(s.codes)
}

// send sends a signal after some time.
func (s *stopping) send(sig os.Signal, after time.Duration) {
	time.Sleep(after) // by the test's own clock
	s.signals <- sig
	synctest.Wait()
}

// The same signal within half a second is one request. Any other is a second one, which
// ends the program.
func TestSecondSignal(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  os.Signal
		second os.Signal
		after  time.Duration
		codes  []int
	}{
		{"twice at once", syscall.SIGINT, syscall.SIGINT, 0, nil},
		{"twice within half a second", syscall.SIGTERM, syscall.SIGTERM, 499 * time.Millisecond, nil},
		{"again after half a second", syscall.SIGINT, syscall.SIGINT, 500 * time.Millisecond, []int{130}},
		{"another", syscall.SIGINT, syscall.SIGTERM, 0, []int{143}},
		{"a terminal that closes", syscall.SIGINT, syscall.SIGHUP, time.Millisecond, []int{129}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStopping(t)
				s.send(c.first, 0)
				if signalOf(s.ctx) != c.first {
					t.Errorf("stopped by %v", signalOf(s.ctx))
				}
				s.send(c.second, c.after)
				if !slices.Equal(s.exited(), c.codes) {
					t.Errorf("exits %v, want %v", s.exited(), c.codes)
				}
			})
		})
	}
}

// A command that has not returned after the grace period is ended with the program, which
// cleans up; while it saves, it is not.
func TestGracePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStopping(t)
		cleaned := make(chan string, 2)
		beforeExit(s.ctx, func() { cleaned <- "kept" })
		beforeExit(s.ctx, func() { cleaned <- "removed" })()
		release := hold(s.ctx)
		s.send(syscall.SIGTERM, 0)
		time.Sleep(time.Hour)
		if len(s.exited()) > 0 {
			t.Fatalf("ended while it saved: %v", s.exited())
		}
		release()
		release() // and nothing happens
		time.Sleep(gracePeriod - time.Millisecond)
		if len(s.exited()) > 0 || len(cleaned) > 0 {
			t.Fatalf("ended within the grace period: %v", s.exited())
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !slices.Equal(s.exited(), []int{143}) || len(cleaned) != 1 || <-cleaned != "kept" {
			t.Errorf("exits %v", s.exited())
		}
	})
}

// A second signal ends the program while it saves, too.
func TestSecondSignalWhileSaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStopping(t)
		defer hold(s.ctx)()
		s.send(syscall.SIGINT, 0)
		s.send(syscall.SIGINT, time.Second)
		if !slices.Equal(s.exited(), []int{130}) {
			t.Errorf("exits %v", s.exited())
		}
	})
}

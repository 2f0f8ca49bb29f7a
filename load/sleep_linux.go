package load

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A sleeper waits until a time, precisely. The zero value is ready to use. It is not for
// concurrent use.
//
// Go's timers wait in epoll_wait(2), which counts in milliseconds. A timerfd counts in
// nanoseconds, and wakes the same epoll_wait(2) without another thread. From there to
// the goroutine it still takes some fifty microseconds. So the sleeper wakes up earlier by
// what nineteen of twenty wake-ups take, and spins for the rest.
type sleeper struct {
	early  time.Duration // how much earlier it wakes up
	opened bool

	fd          int
	timer       *os.File // of fd; nil where the system gives none
	release     func()
	expirations [8]byte
}

const (
	firstEarly = 60 * time.Microsecond
	mostEarly  = 200 * time.Microsecond
	earlyShare = 8 // of a wait: one part of so many may be spun
	// What early grows by after a wake-up that took longer, and shrinks by after one that
	// did not: it comes to rest where one of twenty takes longer.
	longer, shorter = 5700 * time.Nanosecond, 300 * time.Nanosecond
)

func (s *sleeper) sleep(ctx context.Context, until time.Time) {
	if !s.opened {
		s.open(ctx)
	}
	left := time.Until(until)
	early := min(s.early, left/earlyShare)
	if s.timer == nil || s.wait(left-early) != nil {
		sleepFor(ctx, time.Until(until))
		return
	}
	if took := time.Since(until) + early; took > s.early {
		s.early = min(s.early+longer, mostEarly)
	} else {
		s.early = max(s.early-shorter, 0)
	}
	for time.Now().Before(until) {
	}
}

func (s *sleeper) open(ctx context.Context) {
	s.opened, s.early = true, firstEarly
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return
	}
	s.fd, s.timer = fd, os.NewFile(uintptr(fd), "timerfd")
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		s.timer.SetReadDeadline(time.Unix(1, 0))
	})
	s.release = func() {
		if !stop() {
			<-interrupted
		}
		s.timer.Close()
	}
}

// wait sleeps for d; the end of the context is an error.
func (s *sleeper) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(s.fd, 0, &spec, nil); err != nil {
		return err
	}
	_, err := s.timer.Read(s.expirations[:])
	return err
}

func (s *sleeper) close() {
	if s.release != nil {
		s.release()
	}
}

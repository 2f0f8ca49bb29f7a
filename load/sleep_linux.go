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
// nanoseconds, and wakes the same epoll_wait(2) without a thread of its own. From there to
// the goroutine it still takes some ten microseconds, so the sleeper wakes that much
// earlier, by what it has taken until now, and spins for the rest.
type sleeper struct {
	early  time.Duration // how long a wake-up takes, and a bit
	opened bool

	fd          int
	timer       *os.File // of fd; nil where the system gives none
	release     func()
	expirations [8]byte
}

const (
	mostEarly   = 100 * time.Microsecond
	earlyShare  = 8                // of a wait: one part of so many may be spun
	busyMachine = time.Millisecond // a wake-up that takes longer is none to learn from
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
	if took := time.Since(until) + early; took < busyMachine {
		s.early = min(s.early+(took+took/4-s.early)/16, mostEarly)
	}
	for time.Now().Before(until) {
	}
}

func (s *sleeper) open(ctx context.Context) {
	s.opened = true
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

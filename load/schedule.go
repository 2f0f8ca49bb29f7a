package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Schedule hands out the operations of a run to its Engine: in an open loop when they
// are due, in a closed loop one after another. Its methods may be called concurrently.
type Schedule struct {
	*Runner
	ctx     context.Context
	start   time.Time
	once    sync.Once
	started chan struct{} // closed by Start

	mu     sync.Mutex // of the open loop, which is all that follows
	next   position
	lag    lagMeter
	last   time.Duration // the start of the last operation
	queued int64         // since the last Interval
	unsent int64         // since the last Interval
	gaveUp time.Duration // when operations were given up; 0 for not yet

	closed struct { // the closed loop
		started   atomic.Int64 // operations that count
		busy      atomic.Int64 // operations under way
		backOffs  atomic.Int64
		backedOff atomic.Int64 // nanoseconds
	}
}

// A Job is an operation that has started.
type Job struct {
	due, start, lag time.Duration // due and start count from the start of the run
}

func newSchedule(ctx context.Context, r *Runner) *Schedule {
	s := &Schedule{Runner: r, ctx: ctx, started: make(chan struct{})}
	if r.Pacer != nil {
		s.next, s.lag = newPosition(r), lagMeter{workers: s.Workers()}
	}
	return s
}

// Start starts the clock of the run. An Engine calls it before any other method except
// Workers. Further calls have no effect.
func (s *Schedule) Start() {
	s.once.Do(func() {
		s.start = time.Now()
		close(s.started)
	})
}

// Workers returns the maximum number of concurrent operations. It is at least 1.
func (s *Schedule) Workers() int { return max(1, s.Runner.Workers) }

// now returns the time since the start of the run.
func (s *Schedule) now() time.Duration { return time.Since(s.start) }

// Next returns the time when the next operation is due. In a closed loop, that is now. If
// there are no more operations, more is false, and the time is the end of the schedule:
// an Engine returns at this time or later.
func (s *Schedule) Next() (at time.Time, more bool) {
	if s.Pacer == nil {
		now := s.now()
		return s.start.Add(now), !s.over(now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gaveUp > 0:
		return s.start.Add(s.gaveUp), false
	case s.next.over():
		return s.start.Add(s.next.length()), false
	}
	return s.start.Add(s.next.due), true
}

// Take starts the next operation. Call it when the operation is due and a worker is free.
// It returns false if there are no more operations: because the schedule is over, the
// run was stopped, or Patience has passed.
func (s *Schedule) Take() (j Job, ok bool) {
	now := s.now()
	if s.Pacer == nil {
		if s.over(now) || s.Count > 0 && now >= s.Warmup && s.closed.started.Add(1) > s.Count {
			return Job{}, false
		}
		s.closed.busy.Add(1)
		return Job{due: now, start: now}, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gaveUp > 0 || s.next.over() {
		return Job{}, false
	}
	if s.ctx.Err() != nil || s.Duration > 0 && now >= s.Duration+s.patience() {
		s.gaveUp = max(1, now)
		s.unsent += s.next.skip(now)
		return Job{}, false
	}
	return s.take(now), true
}

// over reports whether a closed loop starts no more operations, except for Count.
func (s *Schedule) over(now time.Duration) bool {
	return s.ctx.Err() != nil || s.Duration > 0 && now >= s.Duration
}

// take takes the next operation of an open loop.
func (s *Schedule) take(now time.Duration) Job {
	due, counts := s.next.due, s.next.counts()
	lag, queued := s.lag.started(due, now)
	if queued && counts {
		s.queued++
	}
	s.next.advance()
	s.last = now
	return Job{due, now, lag}
}

// delayed moves the start of an operation to the present: what has passed since Take is
// scheduling lag.
func (s *Schedule) delayed(j Job) Job {
	now := s.now()
	return Job{j.due, now, j.lag + now - j.start}
}

// Done makes a worker free again, after an operation and its cleaning up.
func (s *Schedule) Done() {
	if s.Pacer == nil {
		s.closed.busy.Add(-1)
		return
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag.ended(now)
}

const (
	firstBackOff = time.Millisecond
	mostBackOff  = 100 * time.Millisecond
)

// BackOff returns how long a worker of a closed loop waits before its next operation after
// one that ended with err, and the wait to pass to the next call. before is that of the
// last call for this worker, 0 for the first.
func (s *Schedule) BackOff(err error, before time.Duration) (wait, pause time.Duration) {
	if s.Runner.BackOff == nil || s.Pacer != nil || s.ctx.Err() != nil || s.success(s.outcome(err)) {
		return 0, 0
	}
	if !s.Runner.BackOff(err) {
		return 0, before
	}
	now := s.now()
	pause = min(max(firstBackOff, 2*before), mostBackOff)
	wait = pause
	if s.Duration > 0 {
		wait = max(0, min(wait, s.Duration-now))
	}
	if now >= s.Warmup {
		s.closed.backOffs.Add(1)
		s.closed.backedOff.Add(int64(wait))
	}
	return wait, pause
}

// A snapshot is a Schedule at the end of an Interval.
type snapshot struct {
	queued, unsent int64 // since the last one
	pending        int64 // operations under way
	backOffs       int64
	backedOff      time.Duration
	next           position
	gaveUp         bool
	sent           time.Duration // when the schedule had ended and all of it had started, or the run gave up; 0 for not yet
}

func (s *Schedule) snapshot() snapshot {
	if s.Pacer == nil {
		return snapshot{
			pending: s.closed.busy.Load(), backOffs: s.closed.backOffs.Swap(0),
			backedOff: time.Duration(s.closed.backedOff.Swap(0)),
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	shot := snapshot{queued: s.queued, unsent: s.unsent, next: s.next, pending: int64(s.lag.busy), gaveUp: s.gaveUp > 0}
	switch {
	case s.gaveUp > 0:
		shot.sent = s.gaveUp
	case s.next.over():
		shot.sent = max(1, s.next.length(), s.last)
	}
	s.queued, s.unsent = 0, 0
	return shot
}

// Package load makes operations at a rate, or as fast as possible, and measures them. It
// is a load generator for anything that is a func(context.Context) error.
//
// With a Pacer the loop is open: the time when each operation is due is known in advance,
// whatever the server does, and latency is measured from that time. A stall of the server
// counts for every operation that was due in it, and not for the one under way alone
// (coordinated omission; Gil Tene). Without a Pacer the loop is closed: each worker starts
// its next operation when the last one has ended.
//
//	r := load.Runner{Do: op, Pacer: load.Constant(100), Duration: 8 * time.Second}
//	record, err := r.Record(ctx, load.Meta{Target: "my server"})
//
// A [Schedule] decides when operations start, an [Engine] makes them, and a [Recorder]
// counts their results. A Runner without an Engine uses one goroutine for each worker.
package load

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"
)

// A Runner makes operations. Its fields must not be changed while it runs.
type Runner struct {
	// Do makes one operation. Several workers call it at the same time.
	Do func(context.Context) error
	// Start, if not nil, is called once for each worker, and returns the operation of this
	// worker; Do is not used. All workers call it at the same time. The clock of the run
	// starts when all have returned. An error ends the run before that.
	Start func(ctx context.Context, worker int) (Op, error)
	// Engine makes the operations. If nil, a goroutine for each worker does. An Engine
	// may use neither Do, Start, Ramp nor Sleep.
	Engine Engine
	// Pacer is the schedule. If nil, the loop is closed.
	Pacer Pacer
	// Workers is the maximum number of concurrent operations. If 0, it is 1. When all are
	// busy, operations that are due wait in the schedule.
	Workers int
	// Duration is the time in which operations start, Warmup included. If 0, they start
	// until Count. The run takes longer, until those under way then have ended.
	Duration time.Duration
	// Count is the number of operations to make, without those of Warmup. If 0, there is
	// no limit but Duration. With neither, the run goes on until it is stopped.
	Count int64
	// Warmup is the first part of the run, in which operations are made and not counted.
	Warmup time.Duration
	// Ramp is the time in which the workers of a closed loop start, one after another.
	Ramp time.Duration
	// Patience is the time limit, after Duration, for operations that were due and wait for
	// a worker. What has not started by then is counted as Unsent. If 0, it is
	// DefaultPatience. If negative, there is none.
	Patience time.Duration
	// Outcome names how an operation with this error ended. If nil, the names are "ok" and
	// "error".
	Outcome func(error) string
	// Success is the outcomes that are success. If nil, it is "ok". All others are failures.
	Success []string
	// Timed reports whether an operation that ended with this error belongs into the
	// histograms. If nil, all do. The time of an operation that failed at once says nothing
	// of how long it would have taken.
	Timed func(error) bool
	// BackOff reports whether a worker of a closed loop waits before its next operation if
	// the last one ended with this error: 1 ms, and twice as long after each further one,
	// up to 100 ms. A success ends that. It is meant for what fails at once, such as a
	// refused connection: without a wait, a closed loop repeats it as fast as possible. If
	// nil, no error is followed by a wait. An open loop keeps to its schedule.
	BackOff func(error) bool
	// Every is the length of an Interval. If 0, it is a twentieth of the run, at most 1 s
	// and at least 10 ms. A run that ends by Count, at a time that is not known in
	// advance, has intervals of 100 ms.
	Every time.Duration
	// Progress, if not nil, is called by Record with each Interval. A call that takes long
	// does not change what is measured.
	Progress func(*Interval)
	// Sleep waits until a time, or until the context ends. If nil, it is the most precise
	// way that this system has.
	Sleep func(ctx context.Context, until time.Time)
}

// DefaultPatience is the Patience of a Runner that has none.
const DefaultPatience = 10 * time.Second

// Run makes the operations, and yields an Interval each Every, the last one shorter. If the
// run could not start, it yields the error alone, with a nil Interval.
//
// Leaving the loop, or the end of ctx, stops the run: operations under way are canceled by
// their context, and Run returns when all workers have ended. A loop body that takes long
// does not change what is measured: the Intervals wait for it.
func (r *Runner) Run(ctx context.Context) iter.Seq2[*Interval, error] {
	return func(yield func(*Interval, error) bool) {
		if err := r.run(ctx, func(_ time.Time, i *Interval) bool { return yield(i, nil) }); err != nil {
			yield(nil, err) // there was no Interval
		}
	}
}

// run makes the operations, and calls yield with the start of the run and each Interval,
// until it returns false. An error means that the run could not start.
func (r *Runner) run(ctx context.Context, yield func(time.Time, *Interval) bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait() // if yield panics
	s, intervals, done := newSchedule(ctx, r), newQueue(), make(chan struct{})
	recorder, engine := newRecorder(r, s), r.engine()
	running.Go(func() {
		defer close(done)
		err = engine.Run(ctx, s, recorder)
	})
	running.Go(func() {
		defer intervals.close()
		recorder.record(intervals, done)
	})
	for i := range intervals.all {
		if !yield(s.start, i) {
			break
		}
	}
	cancel()
	running.Wait()
	return err
}

func (r *Runner) engine() Engine {
	if r.Engine != nil {
		return r.Engine
	}
	return newGoroutines(r)
}

const (
	mostEvery  = time.Second
	leastEvery = 10 * time.Millisecond
	countEvery = 100 * time.Millisecond
	intervals  = 20 // of a run with a known length, at least
)

func (r *Runner) every() time.Duration {
	length := r.length()
	switch {
	case r.Every > 0:
		return r.Every
	case length > 0:
		return min(max(length/intervals, leastEvery), mostEvery)
	case r.Count > 0:
		return countEvery
	}
	return mostEvery
}

// length returns the length of the run without the warm-up; 0 if it is not known in advance.
func (r *Runner) length() time.Duration {
	length := max(0, r.Duration-r.Warmup)
	if p, ok := r.Pacer.(describedPacer); ok && r.Count > 0 {
		if _, rate, _ := p.describe(); rate > 0 {
			byCount := seconds(float64(r.Count) / rate)
			if length == 0 || byCount < length {
				length = byCount
			}
		}
	}
	return length
}

func (r *Runner) patience() time.Duration {
	if r.Patience == 0 {
		return DefaultPatience
	}
	return max(0, r.Patience)
}

func (r *Runner) success(outcome string) bool {
	if r.Success != nil {
		return slices.Contains(r.Success, outcome)
	}
	return outcome == OK
}

func (r *Runner) timed(err error) bool { return r.Timed == nil || r.Timed(err) }

func (r *Runner) outcome(err error) string {
	switch {
	case r.Outcome != nil:
		return r.Outcome(err)
	case err == nil:
		return OK
	}
	return "error"
}

// Package load makes operations at a rate, or as fast as they go, and measures them:
// a load generator for anything that is a func(context.Context) error.
//
// With a Pacer the loop is open: the time when each operation is due is known in advance,
// whatever the server does, and latency is measured from that time. A stall of the server
// counts for every operation that was due in it, and not for the one under way alone
// (coordinated omission; Gil Tene). Without a Pacer the loop is closed: each worker starts
// its next operation when the last one has ended.
//
//	r := load.Runner{Do: op, Pacer: load.Constant(100), Duration: 8 * time.Second}
//	for second := range r.Run(ctx) {
//		fmt.Println(second.EndedRate(), second.Latency.Quantile(0.99))
//	}
package load

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// A Runner makes operations. Its fields must not be changed while it runs.
type Runner struct {
	// Do makes one operation. Several workers call it at the same time. It may tell
	// Observe about its phases.
	Do func(context.Context) error
	// Start, if not nil, is called once for each worker, when it starts, and returns the Do
	// that this worker uses. It is for what a worker keeps from one operation to the next.
	// end, if not nil, is called when the worker ends.
	Start func(worker int) (do func(context.Context) error, end func())
	// Pacer is the schedule; nil is a closed loop.
	Pacer Pacer
	// Workers is the maximum number of concurrent operations. If 0, it is 1. When all are
	// busy, operations that are due wait in the schedule.
	Workers int
	// Duration is the time in which operations start, Warmup included. If 0, they start
	// until Count. The run takes longer, until those under way then have ended.
	Duration time.Duration
	// Count is how many operations to make, those of Warmup not included; 0 is as
	// many as Duration allows. With neither, the run goes on until it is stopped.
	Count int64
	// Warmup is how long operations are made and not counted at first.
	Warmup time.Duration
	// Ramp is the time in which the workers of a closed loop start, one after another.
	Ramp time.Duration
	// Patience is the time limit, after Duration, for operations that were due and wait for
	// a worker. What has not started by then is counted as Unsent. If 0, it is
	// DefaultPatience. If negative, there is none.
	Patience time.Duration
	// Outcome names how an operation ended; nil is "ok" and "error".
	Outcome func(error) string
	// Success reports whether an operation that returned this error succeeded. If nil,
	// an operation succeeded if its error is nil.
	Success func(error) bool
	// Timed reports whether an operation that ended with this error belongs into the
	// histograms. If nil, all do. The time of an operation that failed at once says nothing
	// of how long it would have taken.
	Timed func(error) bool
	// BackOff reports whether a worker of a closed loop waits before its next operation if
	// the last one ended with this error: 1 ms, and twice as long after each further one,
	// up to 100 ms. A success ends that. It is meant for what fails at once, such as a
	// refused connection: without a wait, a closed loop repeats it as fast as it goes. If
	// nil, no error is followed by a wait. An open loop keeps to its schedule.
	BackOff func(error) bool
	// Every is the length of an Interval; 0 is a second.
	Every time.Duration
	// Sleep waits until a time, or until the context ends; nil takes the most precise
	// way that this system has.
	Sleep func(ctx context.Context, until time.Time)
}

// DefaultPatience is the Patience of a Runner that has none.
const DefaultPatience = 10 * time.Second

// Run makes the operations, and yields an Interval each Every, the last one shorter.
// Leaving the loop, or the end of ctx, stops it: operations under way are canceled by
// their context, and Run returns when all workers have ended. A loop body that takes long
// does not change what is measured: the Intervals wait for it.
func (r *Runner) Run(ctx context.Context) iter.Seq[*Interval] {
	return func(yield func(*Interval) bool) {
		x, intervals := newRun(r), newQueue()
		var running sync.WaitGroup
		defer running.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		x.ctx = ctx
		running.Go(func() {
			defer intervals.close()
			x.record(intervals)
		})
		for {
			if i, ok := intervals.get(); !ok || !yield(i) {
				return
			}
		}
	}
}

func (r *Runner) every() time.Duration {
	if r.Every <= 0 {
		return time.Second
	}
	return r.Every
}

func (r *Runner) patience() time.Duration {
	if r.Patience == 0 {
		return DefaultPatience
	}
	return max(0, r.Patience)
}

func (r *Runner) success(err error) bool {
	if r.Success != nil {
		return r.Success(err)
	}
	return err == nil
}

func (r *Runner) timed(err error) bool { return r.Timed == nil || r.Timed(err) }

func (r *Runner) outcome(err error) string {
	switch {
	case r.Outcome != nil:
		return r.Outcome(err)
	case err == nil:
		return "ok"
	}
	return "error"
}

// A run is one call of Run.
type run struct {
	*Runner
	ctx     context.Context
	start   time.Time
	workers []*worker
	sleeper sleeper
	open    *openLoop // nil in a closed loop
	recorder

	begun     atomic.Int64 // operations of a closed loop that count
	busy      atomic.Int64 // workers of a closed loop that have an operation
	backOffs  atomic.Int64 // in a closed loop
	backedOff atomic.Int64 // nanoseconds
}

func newRun(r *Runner) *run {
	x := &run{Runner: r, start: time.Now()}
	for n := range max(1, r.Workers) {
		x.workers = append(x.workers, &worker{run: x, number: n})
	}
	if r.Pacer != nil {
		x.open = newOpenLoop(r, len(x.workers))
	}
	return x
}

// all makes the operations, and returns when the last has ended.
func (x *run) all() {
	defer x.sleeper.close()
	var workers sync.WaitGroup
	defer workers.Wait()
	for n, w := range x.workers {
		workers.Go(func() {
			if x.open != nil {
				w.openLoop()
				return
			}
			sleepFor(x.ctx, x.Ramp*time.Duration(n)/time.Duration(len(x.workers))-x.now())
			w.closedLoop()
		})
	}
}

// now is the time since the start of the run.
func (x *run) now() time.Duration { return time.Since(x.start) }

// sleep waits until a time of the run.
func (x *run) sleep(until time.Duration) {
	switch {
	case x.now() >= until:
	case x.Sleep != nil:
		x.Sleep(x.ctx, x.start.Add(until))
	default:
		x.sleeper.sleep(x.ctx, x.start.Add(until))
	}
}

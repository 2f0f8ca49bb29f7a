// Package load makes operations at a rate, or as fast as they go, and measures them:
// a load generator for anything that is a func(context.Context) error.
//
// With a Pacer the loop is open: what is due is known in advance, whatever the server
// does, and an operation's latency counts from the moment it was due. A stall of the
// server is so charged to every operation that fell due in it, and not to the one that
// was under way alone (coordinated omission; Gil Tene). Without one the loop is closed:
// each worker begins its next operation when the last has ended.
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
	// Start, if not nil, is called once for each worker, when it begins, and returns
	// the Do that this worker uses, for what a worker keeps from one operation to the
	// next; end is called when the worker ends.
	Start func(worker int) (do func(context.Context) error, end func())
	// Pacer is the schedule; nil is a closed loop.
	Pacer Pacer
	// Workers is how many operations there are at once, at the most; 0 is 1. When all
	// are busy, what is due waits in the schedule.
	Workers int
	// Duration is how long to begin operations for, Warmup included; 0 is until Count.
	Duration time.Duration
	// Count is how many operations to make, those of Warmup not included; 0 is as
	// many as Duration allows. With neither, the run goes on until it is stopped.
	Count int64
	// Warmup is how long operations are made and not counted at first.
	Warmup time.Duration
	// Ramp is the time in which the workers of a closed loop begin, one after another.
	Ramp time.Duration
	// Patience is for what was due and waits when Duration is over: what is not
	// begun by then is counted as Unsent. 0 is 10 s, negative none.
	Patience time.Duration
	// Outcome names how an operation ended; nil is "ok" and "error".
	Outcome func(error) string
	// Success reports whether an operation that returned this error succeeded. If nil,
	// an operation succeeded if its error is nil.
	Success func(error) bool
	// Timed tells whether an operation that ended so belongs into the histograms; nil
	// takes them all. What failed at once says nothing of how long it would have taken.
	Timed func(error) bool
	// Every is the length of an Interval; 0 is a second.
	Every time.Duration
	// Sleep waits until a time, or until the context ends; nil takes the most precise
	// way that this system has.
	Sleep func(ctx context.Context, until time.Time)
}

// Run makes the operations, and yields an Interval each Every, the last one shorter.
// Leaving the loop, or the end of ctx, stops it: operations under way are canceled by
// their context, and Run returns when all workers have ended.
func (r *Runner) Run(ctx context.Context) iter.Seq[*Interval] {
	return func(yield func(*Interval) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		run := newRun(r, ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			run.all()
		}()
		tick := time.NewTicker(r.every())
		defer tick.Stop()
		warm := time.NewTimer(r.Warmup)
		defer warm.Stop()
		for {
			select {
			case <-warm.C:
				run.use = used()
			case <-tick.C:
				if i := run.collect(); i != nil && !yield(i) {
					cancel()
					<-done
					return
				}
			case <-done:
				if i := run.collect(); i != nil {
					yield(i)
				}
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

// A run is one call of Run.
type run struct {
	*Runner
	ctx     context.Context
	start   time.Time
	counted time.Time // the end of the warm-up
	end     time.Time // zero for none
	workers []*worker
	busy    atomic.Int64 // workers that have an operation, or are about to get it
	next    atomic.Int64 // operations so far that count
	unsent  atomic.Int64
	queued  atomic.Int64
	sent    atomic.Pointer[time.Time] // when the schedule was over, and all of it begun; nil for not yet

	last     time.Time     // the end of the last Interval
	use      usage         // until then
	quickest time.Duration // that an operation has taken; 0 for none yet
}

func newRun(r *Runner, ctx context.Context) *run {
	now := time.Now()
	x := &run{Runner: r, ctx: ctx, start: now, counted: now.Add(r.Warmup), last: now.Add(r.Warmup), use: used()}
	if r.Duration > 0 {
		x.end = now.Add(r.Duration)
	}
	for n := range max(1, r.Workers) {
		x.workers = append(x.workers, &worker{run: x, number: n})
	}
	return x
}

// all makes the operations, and returns when the last has ended.
func (x *run) all() {
	var workers sync.WaitGroup
	defer workers.Wait()
	if x.Pacer == nil {
		for n, w := range x.workers {
			begin := x.start.Add(x.Ramp * time.Duration(n) / time.Duration(len(x.workers)))
			workers.Go(func() {
				x.sleep(begin)
				w.closedLoop()
			})
		}
		return
	}
	jobs := make(chan job)
	defer close(jobs)
	for _, w := range x.workers {
		workers.Go(func() { w.openLoop(jobs) })
	}
	x.dispatch(jobs)
}

// A job is an operation that is due.
type job struct {
	due    time.Time
	own    time.Duration // how late it was by the dispatcher's own fault
	handed time.Time     // zero when it had to wait for a worker
}

// dispatch hands out what is due, when it is due. When all workers are busy, the rest
// of the schedule waits with it.
func (x *run) dispatch(jobs chan<- job) {
	var held waits
	last := x.end.Add(patience(x.Patience))
	for n := uint64(0); ; n++ {
		due := x.start.Add(x.Pacer.Due(n))
		if x.over(n, due) {
			x.finish(due)
			return
		}
		x.sleep(due)
		now := time.Now()
		if x.ctx.Err() != nil || !x.end.IsZero() && now.After(last) {
			x.countUnsent(n, now)
			return
		}
		waited := held.since(due)
		j := job{due: due, own: now.Sub(due) - waited, handed: now}
		if x.busy.Add(1) > int64(len(x.workers)) {
			j.handed = time.Time{}
		}
		if !x.hand(jobs, j, last) {
			x.countUnsent(n, time.Now())
			return
		}
		if j.handed.IsZero() {
			held.add(now, time.Now())
		}
		if (waited > 0 || j.handed.IsZero()) && !due.Before(x.counted) {
			x.queued.Add(1)
		}
	}
}

// finish ends the schedule, of which due is the first operation that it does not have:
// n operations at a rate take n gaps, and the run is as long as that, or as Duration.
func (x *run) finish(due time.Time) {
	switch over := due.Sub(x.start) >= forever; {
	case !x.end.IsZero() && !due.Before(x.end):
		due = x.end
	case over: // such a schedule has no length but what is done
		due = x.start
	}
	x.sleep(due)
	sent := later(due, time.Now())
	x.sent.Store(&sent)
}

// hand gives a job to the next worker that is free, and tells whether there was one.
func (x *run) hand(jobs chan<- job, j job, last time.Time) bool {
	select {
	case jobs <- j:
		return true
	default:
	}
	var late <-chan time.Time
	if !x.end.IsZero() {
		timer := time.NewTimer(time.Until(last))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case jobs <- j:
		return true
	case <-late:
	case <-x.ctx.Done():
	}
	return false
}

// waits are the times in which the dispatcher waited because all workers were busy.
type waits []struct{ from, to time.Time }

// add notes one. What lies close behind the last is one with it: while a backlog is
// handed out there may be millions.
func (w *waits) add(from, to time.Time) {
	const close = 20 * time.Microsecond
	if n := len(*w); n > 0 && from.Sub((*w)[n-1].to) < close {
		(*w)[n-1].to = to
		return
	}
	*w = append(*w, struct{ from, to time.Time }{from, to})
}

// since is how much of the time since t was waited. A later call has no earlier t.
func (w *waits) since(t time.Time) (waited time.Duration) {
	for len(*w) > 0 && !(*w)[0].to.After(t) {
		*w = (*w)[1:]
	}
	for _, x := range *w {
		waited += x.to.Sub(later(x.from, t))
	}
	return waited
}

// over tells whether operation n, due then, is behind the end of the schedule.
func (x *run) over(n uint64, due time.Time) bool {
	if x.Pacer.Due(n) == forever {
		return true
	}
	if !x.end.IsZero() && !due.Before(x.end) {
		return true
	}
	return x.Count > 0 && !due.Before(x.counted) && x.next.Add(1) > x.Count
}

// countUnsent counts operation n, if it was due, and those behind it that were due by
// now as well; not those of the warm-up.
func (x *run) countUnsent(n uint64, now time.Time) {
	for due := x.start.Add(x.Pacer.Due(n)); !due.After(now); {
		if !due.Before(x.counted) {
			x.unsent.Add(1)
		}
		n++
		if due = x.start.Add(x.Pacer.Due(n)); x.over(n, due) {
			return
		}
	}
}

func patience(p time.Duration) time.Duration {
	if p == 0 {
		return 10 * time.Second
	}
	return max(0, p)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sleep waits until a time.
func (x *run) sleep(until time.Time) {
	if time.Until(until) <= 0 {
		return
	}
	if x.Sleep != nil {
		x.Sleep(x.ctx, until)
		return
	}
	sleepUntil(x.ctx, until)
}

package load

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A worker makes one operation after another, and keeps what it has measured until it
// is collected. Its lock is nearly always free: collect takes it once an interval.
type worker struct {
	run    *run
	number int
	phases []phase   // of the operation under way
	ended  time.Time // by End; zero for not yet
	due    time.Duration

	mu       sync.Mutex
	samples  []sample
	observed []phase // of all samples, in their order
}

// A sample is one operation.
type sample struct {
	job
	end    time.Duration // since the start of the run
	err    error
	phases int // how many of the observed are its
}

type phase struct {
	name  string
	spent time.Duration
}

type workerKey struct{}

// Observe records how long a phase of the operation under ctx took. If ctx is not a
// Runner's, it does nothing. An operation must not call it concurrently.
func Observe(ctx context.Context, name string, spent time.Duration) {
	if w, ok := ctx.Value(workerKey{}).(*worker); ok {
		w.phases = append(w.phases, phase{name, spent})
	}
}

// End notes that the operation under ctx has ended, before its function returns. What the
// function does after that, to clean up, is not part of the operation's time.
func End(ctx context.Context) {
	if w, ok := ctx.Value(workerKey{}).(*worker); ok && w.ended.IsZero() {
		w.ended = time.Now()
	}
}

// begin returns the worker's operation, and what has to be called when the worker ends.
func (w *worker) begin() (ctx context.Context, do func(context.Context) error, end func()) {
	do, end = w.run.Do, func() {}
	if w.run.Start != nil {
		do, end = w.run.Start(w.number)
		if end == nil {
			end = func() {}
		}
	}
	return context.WithValue(w.run.ctx, workerKey{}, w), do, end
}

func (w *worker) openLoop() {
	ctx, do, end := w.begin()
	defer end()
	for {
		j, ok := w.run.open.take(w.run)
		if !ok {
			return
		}
		w.make(ctx, do, j)
		w.run.open.ended(w.run.now())
	}
}

func (w *worker) closedLoop() {
	ctx, do, end := w.begin()
	defer end()
	x := w.run
	for pause := time.Duration(0); ; {
		now := x.now()
		if ctx.Err() != nil || x.Duration > 0 && now >= x.Duration {
			return
		}
		if x.Count > 0 && now >= x.Warmup && x.begun.Add(1) > x.Count {
			return
		}
		x.busy.Add(1)
		err := w.make(ctx, do, job{due: now, start: now})
		x.busy.Add(-1)
		pause = w.backOff(err, pause)
	}
}

const (
	firstBackOff = time.Millisecond
	mostBackOff  = 100 * time.Millisecond
)

// backOff waits after an operation that ended with err, if it is such that the worker
// waits, and returns for how long. before is what it returned for the last operation.
func (w *worker) backOff(err error, before time.Duration) time.Duration {
	x := w.run
	if x.BackOff == nil || x.ctx.Err() != nil || x.success(err) {
		return 0
	}
	if !x.BackOff(err) {
		return before
	}
	now, pause := x.now(), min(max(firstBackOff, 2*before), mostBackOff)
	wait := pause
	if x.Duration > 0 {
		wait = max(0, min(wait, x.Duration-now))
	}
	if now >= x.Warmup {
		x.backOffs.Add(1)
		x.backedOff.Add(int64(wait))
	}
	sleepFor(x.ctx, wait)
	return pause
}

// make makes one operation, and keeps it unless it belongs to the warm-up.
func (w *worker) make(ctx context.Context, do func(context.Context) error, j job) error {
	w.phases, w.ended, w.due = w.phases[:0], time.Time{}, j.due
	err := do(ctx)
	end := w.run.now()
	if !w.ended.IsZero() {
		end = w.ended.Sub(w.run.start)
	}
	if !w.counts(j.due, end) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples = append(w.samples, sample{j, end, err, len(w.phases)})
	w.observed = append(w.observed, w.phases...)
	return err
}

// counts reports whether an operation is after the warm-up: by when it was due, or, if
// nothing is due, by when it ended, for then the rate is right from the first second.
// With a Count, those count that started after it.
func (w *worker) counts(due, end time.Duration) bool {
	if w.run.Pacer == nil && w.run.Count == 0 {
		return w.run.Warmup <= 0 || end > w.run.Warmup
	}
	return due >= w.run.Warmup
}

// Counts reports whether the operation under ctx is after the warm-up, if it ends now.
func Counts(ctx context.Context) bool {
	w, ok := ctx.Value(workerKey{}).(*worker)
	return !ok || w.counts(w.due, w.run.now())
}

// take returns what the worker has, and leaves it empty.
func (w *worker) take() (samples []sample, observed []phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	samples, observed = w.samples, w.observed
	w.samples = slices.Grow([]sample(nil), len(samples))
	w.observed = slices.Grow([]phase(nil), len(observed))
	return samples, observed
}

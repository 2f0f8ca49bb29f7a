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
	due    time.Time

	mu       sync.Mutex
	samples  []sample
	observed []phase // of all samples, in their order
}

// A sample is one operation.
type sample struct {
	due, begun, end time.Duration // since the run began
	own             time.Duration
	err             error
	phases          int // how many of the observed are its
}

type phase struct {
	name  string
	spent time.Duration
}

type workerKey struct{}

// Observe tells how long a phase of the operation took that runs under ctx. Where ctx
// is not of a Runner it does nothing. An operation must call it from one goroutine at
// a time.
func Observe(ctx context.Context, name string, spent time.Duration) {
	if w, ok := ctx.Value(workerKey{}).(*worker); ok {
		w.phases = append(w.phases, phase{name, spent})
	}
}

// End tells that the operation under ctx has ended, though its function has not
// returned: what it does from then on, to clean up, is not of its time.
func End(ctx context.Context) {
	if w, ok := ctx.Value(workerKey{}).(*worker); ok && w.ended.IsZero() {
		w.ended = time.Now()
	}
}

// begin is the worker's operation, and what is to be called when it ends.
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

func (w *worker) openLoop(jobs <-chan job) {
	ctx, do, end := w.begin()
	defer end()
	for j := range jobs {
		begun := time.Now()
		if !j.handed.IsZero() {
			j.own += begun.Sub(j.handed)
		}
		w.make(ctx, do, j.due, begun, j.own)
		w.run.busy.Add(-1)
	}
}

func (w *worker) closedLoop() {
	ctx, do, end := w.begin()
	defer end()
	for {
		begun := time.Now()
		if ctx.Err() != nil || !w.run.end.IsZero() && !begun.Before(w.run.end) {
			return
		}
		if w.run.Count > 0 && !begun.Before(w.run.counted) && w.run.next.Add(1) > w.run.Count {
			return
		}
		w.make(ctx, do, begun, begun, 0)
	}
}

// make makes one operation, and keeps it unless it belongs to the warm-up.
func (w *worker) make(ctx context.Context, do func(context.Context) error, due, begun time.Time, own time.Duration) {
	w.phases, w.ended, w.due = w.phases[:0], time.Time{}, due
	err := do(ctx)
	end := w.ended
	if end.IsZero() {
		end = time.Now()
	}
	if !w.counts(due, end) {
		return
	}
	start := w.run.start
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples = append(w.samples, sample{due.Sub(start), begun.Sub(start), end.Sub(start), own, err, len(w.phases)})
	w.observed = append(w.observed, w.phases...)
}

// counts tells whether an operation is behind the warm-up: by when it was due, or, if
// nothing is due, by when it ended, for then the rate is right from the first second.
// Of a Count those count that were begun behind it.
func (w *worker) counts(due, end time.Time) bool {
	if w.run.Pacer == nil && w.run.Count == 0 {
		return w.run.Warmup <= 0 || end.After(w.run.counted)
	}
	return !due.Before(w.run.counted)
}

// Counts tells whether the operation under ctx is behind the warm-up, if it ends now.
func Counts(ctx context.Context) bool {
	w, ok := ctx.Value(workerKey{}).(*worker)
	return !ok || w.counts(w.due, time.Now())
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

// collect makes an Interval of what was measured since the last one; nil while the
// warm-up lasts.
func (x *run) collect() *Interval {
	now := time.Now()
	if !now.After(x.counted) {
		return nil
	}
	i := &Interval{
		Start: x.last.Sub(x.counted), End: now.Sub(x.counted), Outcomes: make(map[string]int64),
		Unsent: x.unsent.Swap(0),
	}
	samples, observed := make([][]sample, len(x.workers)), make([][]phase, len(x.workers))
	for n, w := range x.workers {
		samples[n], observed[n] = w.take()
		x.findQuickest(samples[n])
	}
	for n, of := range samples {
		for _, s := range of {
			if x.behind(s) {
				i.Behind++
			}
			i.add(x.Runner, s, observed[n][:s.phases])
			observed[n] = observed[n][s.phases:]
		}
	}
	if i.Operations() == 0 && i.Unsent == 0 && i.End-i.Start < x.every()/10 {
		return nil // a moment behind the last one, in which nothing was
	}
	i.Queued = x.queued.Swap(0)
	if sent := x.sent.Load(); sent != nil {
		i.Tail = max(0, min(now.Sub(*sent), i.End-i.Start))
	}
	use := used()
	i.Health = use.since(x.use)
	x.last, x.use = now, use
	return i
}

// findQuickest is for an open loop's tail.
func (x *run) findQuickest(samples []sample) {
	if x.Pacer == nil {
		return
	}
	for _, s := range samples {
		if took := s.end - s.begun; x.timed(s.err) && (x.quickest == 0 || took < x.quickest) {
			x.quickest = max(1, took)
		}
	}
}

// behind reports whether an operation succeeded, but ended later after the schedule than
// the fastest operation takes.
func (x *run) behind(s sample) bool {
	sent := x.sent.Load()
	return sent != nil && x.success(s.err) && s.end > sent.Sub(x.start)+x.quickest
}

// add counts an operation.
func (i *Interval) add(r *Runner, s sample, phases []phase) {
	i.Outcomes[r.outcome(s.err)]++
	if r.success(s.err) {
		i.Succeeded++
	}
	if !r.timed(s.err) {
		return
	}
	i.Latency.Record(s.end - s.due)
	i.Service.Record(s.end - s.begun)
	if r.Pacer != nil {
		i.Late.Record(s.begun - s.due)
		i.Own.Record(s.own)
	}
	for _, p := range phases {
		if i.Phases == nil {
			i.Phases = make(map[string]*Histogram)
		}
		if i.Phases[p.name] == nil {
			i.Phases[p.name] = new(Histogram)
		}
		i.Phases[p.name].Record(p.spent)
	}
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

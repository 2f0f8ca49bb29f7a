package load

import (
	"slices"
	"sync"
	"time"
)

// A Recorder counts the results of a run, and makes its Intervals of them.
type Recorder struct {
	*Runner
	schedule *Schedule

	mu   sync.Mutex
	logs []*Log

	// One goroutine has the rest.
	last     time.Duration // the end of the last Interval, since the start of the run
	use      usage         // until then
	upcoming position      // the first operation due after last, of an open loop
	gone     int64         // operations that have ended, or are unsent
	work     Interval      // its histograms are those of the Interval to come, unpacked
}

// A Log takes the results of one goroutine of an Engine. Its lock is nearly always free:
// the Recorder takes it once for each Interval.
type Log struct {
	run *Recorder

	mu      sync.Mutex
	samples []sample
	phases  []Phase // of all samples, in their order
}

// A sample is one operation.
type sample struct {
	Job
	end    time.Duration // since the start of the run
	err    error
	phases int // its part of the phases
}

func newRecorder(r *Runner, s *Schedule) *Recorder {
	return &Recorder{Runner: r, schedule: s, upcoming: s.next}
}

// Log returns a new Log. It is for one goroutine of an Engine.
func (r *Recorder) Log() *Log {
	l := &Log{run: r}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, l)
	return l
}

// Add adds the result of an operation, and reports whether it is counted. Operations of
// the warm-up are not.
func (l *Log) Add(j Job, result Result) (counted bool) {
	s := l.run.schedule
	end := s.now()
	if !result.End.IsZero() {
		end = result.End.Sub(s.start)
	}
	if !l.run.counts(j.due, end) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, sample{j, end, result.Err, len(result.Phases)})
	l.phases = append(l.phases, result.Phases...)
	return true
}

// counts reports whether an operation is after the warm-up: by when it was due, or, if
// nothing is due, by when it ended, because then the rate is right from the start. With
// a Count, those count that started after the warm-up.
func (r *Recorder) counts(due, end time.Duration) bool {
	if r.Pacer == nil && r.Count == 0 {
		return r.Warmup <= 0 || end > r.Warmup
	}
	return due >= r.Warmup
}

// take returns what the log has, and leaves it empty.
func (l *Log) take() (samples []sample, phases []Phase) {
	l.mu.Lock()
	defer l.mu.Unlock()
	samples, phases = l.samples, l.phases
	l.samples = slices.Grow([]sample(nil), len(samples))
	l.phases = slices.Grow([]Phase(nil), len(phases))
	return samples, phases
}

// record puts an Interval into the queue each Every, from the end of the warm-up until
// done is closed.
func (r *Recorder) record(to *queue, done <-chan struct{}) {
	select {
	case <-r.schedule.started:
	case <-done: // it may have started, too
		select {
		case <-r.schedule.started:
		default:
			return
		}
	}
	r.last, r.use = r.Warmup, used()
	warm := time.NewTimer(r.Warmup - r.schedule.now())
	defer warm.Stop()
	tick := time.NewTicker(r.every())
	tick.Stop() // until the warm-up is over
	defer tick.Stop()
	put := func() {
		if i := r.collect(); i != nil {
			to.put(i)
		}
	}
	for {
		select {
		case <-warm.C:
			tick.Reset(r.every())
			r.use = used()
		case <-tick.C:
			put()
		case <-done:
			put()
			return
		}
	}
}

// collect makes an Interval of what was measured since the last one. It returns nil during
// the warm-up.
func (r *Recorder) collect() *Interval {
	if r.schedule.now() <= r.Warmup {
		return nil
	}
	i := &Interval{Start: r.last - r.Warmup, Outcomes: make(map[string]int64)}
	// In this order nothing that is taken is after the end, however long it takes.
	r.mu.Lock()
	logs := r.logs[:len(r.logs):len(r.logs)]
	r.mu.Unlock()
	for _, l := range logs {
		samples, phases := l.take()
		for _, s := range samples {
			r.add(i, s, phases[:s.phases])
			phases = phases[s.phases:]
		}
	}
	shot := r.schedule.snapshot()
	now := r.schedule.now()
	i.End = now - r.Warmup
	if i.Operations() == 0 && shot.unsent == 0 && i.End-i.Start < r.every()/10 {
		return nil // a moment after the last one, without an operation
	}
	r.work.drainTo(i)
	r.addSchedule(i, shot, now)
	use := used()
	i.Health = use.since(r.use)
	r.last, r.use = now, use
	return i
}

// addSchedule adds to an Interval what the schedule counts.
func (r *Recorder) addSchedule(i *Interval, s snapshot, now time.Duration) {
	i.Pending, i.BackOffs, i.BackedOff = s.pending, s.backOffs, s.backedOff
	if r.Pacer == nil {
		return
	}
	i.Queued, i.Unsent = s.queued, s.unsent
	if s.sent > 0 {
		i.Wait = max(0, min(now-s.sent, i.End-i.Start))
	}
	r.upcoming.skip(now)
	due := r.upcoming.counted
	if s.gaveUp {
		due = s.next.counted
	}
	r.gone += i.Operations() + i.Unsent
	i.Pending = max(0, due-r.gone)
}

// add counts an operation: its times in work, and the rest in i.
func (r *Recorder) add(i *Interval, s sample, phases []Phase) {
	outcome := r.outcome(s.err)
	i.Outcomes[outcome]++
	if r.success(outcome) {
		i.Succeeded++
	}
	if !r.timed(s.err) {
		return
	}
	r.work.Latency.Record(s.end - s.due)
	r.work.Service.Record(s.end - s.start)
	if r.Pacer != nil {
		r.work.StartDelay.Record(s.start - s.due)
		r.work.SchedulingLag.Record(s.lag)
	}
	for _, p := range phases {
		r.work.phase(p.Name).Record(p.Took)
	}
}

// drainTo moves the histograms to another Interval, packed, and keeps their memory: to
// allocate it again for each Interval would be most of the cost of a short one.
func (i *Interval) drainTo(to *Interval) {
	to.Latency, to.Service = i.Latency.drain(), i.Service.drain()
	to.StartDelay, to.SchedulingLag = i.StartDelay.drain(), i.SchedulingLag.drain()
	for name, h := range i.Phases {
		if h.count > 0 {
			*to.phase(name) = h.drain()
		}
	}
}

// phase returns the histogram of a phase.
func (i *Interval) phase(name string) *Histogram {
	if i.Phases == nil {
		i.Phases = make(map[string]*Histogram)
	}
	if i.Phases[name] == nil {
		i.Phases[name] = new(Histogram)
	}
	return i.Phases[name]
}

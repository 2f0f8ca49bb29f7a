package load

import "time"

// A recorder makes the Intervals of a run. One goroutine has it.
type recorder struct {
	last     time.Duration // the end of the last Interval, since the start of the run
	use      usage         // until then
	fastest  time.Duration // that an operation has taken; 0 for none yet
	upcoming schedule      // the first operation due after last, of an open loop
	gone     int64         // operations that have ended, or are unsent
}

// record makes the operations, and puts an Interval into the queue each Every, from the
// end of the warm-up.
func (x *run) record(to *queue) {
	x.last, x.use = x.Warmup, used()
	if x.open != nil {
		x.upcoming = x.open.next
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.all()
	}()
	warm := time.NewTimer(x.Warmup - x.now())
	defer warm.Stop()
	tick := time.NewTicker(x.every())
	tick.Stop() // until the warm-up is over
	defer tick.Stop()
	put := func() {
		if i := x.collect(); i != nil {
			i.Pack()
			to.put(i)
		}
	}
	for {
		select {
		case <-warm.C:
			tick.Reset(x.every())
			x.use = used()
		case <-tick.C:
			put()
		case <-done:
			put()
			return
		}
	}
}

// collect makes an Interval of what was measured since the last one; nil while the
// warm-up lasts.
func (x *run) collect() *Interval {
	if x.now() <= x.Warmup {
		return nil
	}
	// In this order nothing that was taken is after the end, however long taking it takes.
	samples, observed := x.takeAll()
	var open snapshot
	if x.open != nil {
		open = x.open.snapshot()
	}
	now := x.now()
	i := &Interval{Start: x.last - x.Warmup, End: now - x.Warmup, Outcomes: make(map[string]int64)}
	for n, of := range samples {
		for _, s := range of {
			if x.behind(s, open.sent) {
				i.Behind++
			}
			i.add(x.Runner, s, observed[n][:s.phases])
			observed[n] = observed[n][s.phases:]
		}
	}
	if i.Operations() == 0 && open.unsent == 0 && i.End-i.Start < x.every()/10 {
		return nil // a moment after the last one, in which nothing was
	}
	x.addLoop(i, open, now)
	use := used()
	i.Health = use.since(x.use)
	x.last, x.use = now, use
	return i
}

// takeAll takes what all workers have measured, worker by worker.
func (x *run) takeAll() (samples [][]sample, observed [][]phase) {
	samples, observed = make([][]sample, len(x.workers)), make([][]phase, len(x.workers))
	for n, w := range x.workers {
		samples[n], observed[n] = w.take()
		x.findFastest(samples[n])
	}
	return samples, observed
}

// addLoop adds to an Interval what the loop counts, apart from its operations.
func (x *run) addLoop(i *Interval, open snapshot, now time.Duration) {
	if x.open == nil {
		i.Pending = x.busy.Load()
		i.BackOffs, i.BackedOff = x.backOffs.Swap(0), time.Duration(x.backedOff.Swap(0))
		return
	}
	i.Queued, i.Unsent = open.queued, open.unsent
	if open.sent > 0 {
		i.Tail = max(0, min(now-open.sent, i.End-i.Start))
	}
	x.upcoming.skip(now)
	due := x.upcoming.counted
	if open.gaveUp {
		due = open.next.counted
	}
	x.gone += i.Operations() + i.Unsent
	i.Pending = max(0, due-x.gone)
}

// findFastest is for an open loop's tail.
func (x *run) findFastest(samples []sample) {
	if x.Pacer == nil {
		return
	}
	for _, s := range samples {
		if took := s.end - s.start; x.timed(s.err) && (x.fastest == 0 || took < x.fastest) {
			x.fastest = max(1, took)
		}
	}
}

// behind reports whether an operation succeeded, but ended later after the schedule than
// the fastest operation takes.
func (x *run) behind(s sample, sent time.Duration) bool {
	return sent > 0 && x.success(s.err) && s.end > sent+x.fastest
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
	i.Service.Record(s.end - s.start)
	if r.Pacer != nil {
		i.Late.Record(s.start - s.due)
		i.Own.Record(s.lag)
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

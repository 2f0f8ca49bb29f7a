package load

import "time"

// An Interval is what was measured in a stretch of a run: the operations that ended in
// it.
type Interval struct {
	Start time.Duration // since the run began
	End   time.Duration

	// Outcomes counts the operations by Runner.Outcome.
	Outcomes map[string]int64
	// Latency is from the moment an operation was due to its end. In a closed loop
	// nothing is due, and it is Service.
	Latency Histogram
	// Service is from the moment an operation was begun to its end.
	Service Histogram
	// Phases are the parts of operations, by name, as told by Observe.
	Phases map[string]*Histogram
	// Late is how much later than due operations were begun, because all workers were
	// busy or the generator was slow; Own is the generator's part of it. Both are
	// empty in a closed loop.
	Late, Own Histogram
	// Queued counts the operations that were due when all workers were busy, and waited.
	Queued int64
	// Unsent counts those that were due and were never begun, because the run was
	// stopped, or because they would have begun later than Runner.Patience after its end.
	Unsent int64

	Health Health
}

// Health is what the generator itself used.
type Health struct {
	CPU     time.Duration // user and system time of the process
	GCPause time.Duration // the longest pause of the collector
	GCs     int64         // collections
}

// Operations is how many ended.
func (i *Interval) Operations() (n int64) {
	for _, count := range i.Outcomes {
		n += count
	}
	return n
}

// Rate is the operations that ended, a second.
func (i *Interval) Rate() float64 {
	if i.End <= i.Start {
		return 0
	}
	return float64(i.Operations()) / (i.End - i.Start).Seconds()
}

// Merge adds another one, of the same run or of another: the counts add up, and the
// time is from the earlier start to the later end.
func (i *Interval) Merge(other *Interval) {
	if i.Outcomes == nil {
		i.Start, i.End, i.Outcomes = other.Start, other.End, make(map[string]int64)
	}
	i.Start, i.End = min(i.Start, other.Start), max(i.End, other.End)
	for outcome, n := range other.Outcomes {
		i.Outcomes[outcome] += n
	}
	i.Latency.Merge(&other.Latency)
	i.Service.Merge(&other.Service)
	i.Late.Merge(&other.Late)
	i.Own.Merge(&other.Own)
	i.Queued += other.Queued
	i.Unsent += other.Unsent
	for name, h := range other.Phases {
		if i.Phases == nil {
			i.Phases = make(map[string]*Histogram)
		}
		if i.Phases[name] == nil {
			i.Phases[name] = new(Histogram)
		}
		i.Phases[name].Merge(h)
	}
	i.Health.CPU += other.Health.CPU
	i.Health.GCs += other.Health.GCs
	i.Health.GCPause = max(i.Health.GCPause, other.Health.GCPause)
}

// Pack packs its histograms.
func (i *Interval) Pack() {
	for _, h := range []*Histogram{&i.Latency, &i.Service, &i.Late, &i.Own} {
		h.Pack()
	}
	for _, h := range i.Phases {
		h.Pack()
	}
}

// Total is all of them as one.
func Total(intervals []*Interval) *Interval {
	total := &Interval{Outcomes: make(map[string]int64)}
	for n, i := range intervals {
		if n == 0 {
			total.Start, total.End = i.Start, i.End
		}
		total.Merge(i)
	}
	return total
}

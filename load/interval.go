package load

import (
	"maps"
	"slices"
	"time"
)

// An Interval contains the measurements of the operations that ended in one part of a run.
type Interval struct {
	Start time.Duration // since the end of the warm-up
	End   time.Duration
	// Tail is the time after the schedule of an open loop had ended and all operations had
	// started. It is 0 in a closed loop, and if an operation of the run was never started.
	Tail time.Duration
	// Behind is the number of operations that succeeded, but ended in the tail, and later
	// in it than the fastest operation takes. They are too late for Rate and Throughput.
	Behind int64

	// Outcomes counts the operations by Runner.Outcome.
	Outcomes map[string]int64
	// Succeeded is the number of operations that succeeded, by Runner.Success.
	Succeeded int64
	// Latency is from the moment an operation was due to its end. In a closed loop
	// nothing is due, and it is Service.
	Latency Histogram
	// Service is the time from the start of an operation to its end.
	Service Histogram
	// Phases are the parts of operations, by the name given to Observe.
	Phases map[string]*Histogram
	// Late is the delay between the moment operations were due and the moment they
	// started, because all workers were busy or the generator was slow. Own is the
	// scheduling lag: the part of it that the generator caused. Both are empty in a closed
	// loop.
	Late, Own Histogram
	// Queued is the number of operations that waited because all workers were busy.
	Queued int64
	// Unsent is the number of operations that were due and never started, because the run
	// was stopped, or because they would have started later than Runner.Patience after
	// its end.
	Unsent int64
	// Pending is the number of operations that were due by End and had not ended: they
	// were under way, or waited for a worker. All that was due by then is what ended, in
	// this Interval and those before it, what is Unsent, and what is Pending. After a run
	// was stopped, nothing more is due. Operations of the warm-up are in none of these.
	Pending int64
	// BackOffs is how often a worker of a closed loop waited after a failure, by
	// Runner.BackOff, and BackedOff how long, all workers together.
	BackOffs  int64
	BackedOff time.Duration

	Health Health
}

// Local is by convention the outcome of operations that failed for a limit of the machine
// that makes them, such as its ports or descriptors. It says nothing of the server.
const Local = "local"

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

// Rate returns the operations per second, failures included, without those Behind and
// without Tail. It is meant for a run, which is the Total of its Intervals; for one
// Interval in the tail use EndedRate.
func (i *Interval) Rate() float64 {
	return PerSecond(i.Operations()-i.Behind, i.End-i.Start-i.Tail)
}

// Throughput is Rate of the operations that succeeded.
func (i *Interval) Throughput() float64 {
	return PerSecond(max(0, i.Succeeded-i.Behind), i.End-i.Start-i.Tail)
}

// EndedRate returns how many operations ended per second of all its time, failures
// included.
func (i *Interval) EndedRate() float64 { return PerSecond(i.Operations(), i.End-i.Start) }

// SucceededRate is EndedRate of the operations that succeeded.
func (i *Interval) SucceededRate() float64 { return PerSecond(i.Succeeded, i.End-i.Start) }

// PerSecond is n in a time as so many a second; 0 where there was no time.
func PerSecond(n int64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return float64(n) / in.Seconds()
}

// Merge adds another one, of the same run or of another: the counts add up, and so do the
// tails; the time is from the earlier start to the later end.
// A nil one has nothing.
func (i *Interval) Merge(other *Interval) {
	if other == nil {
		return
	}
	if i.Outcomes == nil {
		i.Start, i.End, i.Outcomes = other.Start, other.End, make(map[string]int64)
	}
	if other.End >= i.End {
		i.Pending = other.Pending
	}
	i.Start, i.End = min(i.Start, other.Start), max(i.End, other.End)
	i.Tail += other.Tail
	i.Behind += other.Behind
	i.Succeeded += other.Succeeded
	for outcome, n := range other.Outcomes {
		i.Outcomes[outcome] += n
	}
	i.Latency.Merge(&other.Latency)
	i.Service.Merge(&other.Service)
	i.Late.Merge(&other.Late)
	i.Own.Merge(&other.Own)
	i.Queued += other.Queued
	i.Unsent += other.Unsent
	i.BackOffs += other.BackOffs
	i.BackedOff += other.BackedOff
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
	for _, h := range i.histograms() {
		h.Pack()
	}
}

func (i *Interval) histograms() []*Histogram {
	return slices.AppendSeq([]*Histogram{&i.Latency, &i.Service, &i.Late, &i.Own}, maps.Values(i.Phases))
}

// Total returns the sum of intervals.
func Total(intervals []*Interval) *Interval {
	total := new(Interval)
	for _, i := range intervals {
		total.Merge(i)
	}
	if total.Outcomes == nil {
		total.Outcomes = make(map[string]int64)
	}
	return total
}

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
	// Wait is the part of it in which nothing was left but to wait for the last operations
	// of an open loop: the schedule had ended and all operations had started, or the run had
	// given up those that had not. It is 0 in a closed loop.
	Wait time.Duration

	// Outcomes counts the operations by Runner.Outcome.
	Outcomes map[string]int64
	// Succeeded is the number of operations that succeeded, by Runner.Success.
	Succeeded int64
	// Latency is from the moment an operation was due to its end. In a closed loop
	// nothing is due, and it is Service.
	Latency Histogram
	// Service is the time from the start of an operation to its end.
	Service Histogram
	// Phases are the parts of operations, by Phase.Name.
	Phases map[string]*Histogram
	// StartDelay is from the moment operations were due to the moment they started. They
	// start late because all workers are busy, or because the generator is slow.
	// SchedulingLag is the part of it that the generator caused. Both are empty in a closed
	// loop.
	StartDelay, SchedulingLag Histogram
	// Queued is the number of operations that waited because all workers were busy.
	Queued int64
	// Unsent is the number of operations that were due and never started, because the run
	// was stopped, or because they would have started later than Runner.Patience after
	// its end.
	Unsent int64
	// Pending is the number of operations that were due by End and had not ended: they
	// were under way, or waited for a worker. Each operation that was due by then has ended,
	// in this Interval or an earlier one, or is Unsent or Pending. After a run was stopped,
	// no more operations are due. Operations of the warm-up are in none of these.
	Pending int64
	// BackOffs is how often workers of a closed loop waited after a failure, by
	// Runner.BackOff. BackedOff is the sum of these waits.
	BackOffs  int64
	BackedOff time.Duration

	Health Health
}

// Outcomes with a meaning to this package and to package report.
const (
	// OK is success, unless Runner.Success says otherwise.
	OK = "ok"
	// Local is the outcome of operations that failed because of a limit of the machine that
	// makes them, such as its ports or descriptors. It says nothing about the server.
	Local = "local"
	// Canceled is the outcome of operations that this end gave up.
	Canceled = "canceled"
)

// Health is what the generator itself used.
type Health struct {
	CPU     time.Duration // user and system time of the process
	GCPause time.Duration // the longest pause of the collector
	GCs     int64         // collections
}

// Operations returns the number of operations that ended.
func (i *Interval) Operations() (n int64) {
	for _, count := range i.Outcomes {
		n += count
	}
	return n
}

// Failed returns the number of operations that ended and did not succeed.
func (i *Interval) Failed() int64 { return max(0, i.Operations()-i.Succeeded) }

// Errors returns Failed without the operations that are Local or Canceled, if these are
// failures: what is left says something about the server.
func (i *Interval) Errors() int64 {
	return max(0, i.Failed()-i.Outcomes[Local]-i.Outcomes[Canceled])
}

// Rate returns the operations per second that ended, failures included, over the time
// without Wait. It is meant for a run, which is the Total of its Intervals; for one
// Interval use EndedRate.
func (i *Interval) Rate() float64 { return PerSecond(i.Operations(), i.End-i.Start-i.Wait) }

// Throughput returns the operations per second that succeeded, over all the time, Wait
// included.
func (i *Interval) Throughput() float64 { return PerSecond(i.Succeeded, i.End-i.Start) }

// EndedRate returns the operations per second that ended, failures included, over all the
// time, Wait included.
func (i *Interval) EndedRate() float64 { return PerSecond(i.Operations(), i.End-i.Start) }

// PerSecond returns n per second of a time, or 0 if the time is 0.
func PerSecond(n int64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return float64(n) / in.Seconds()
}

// Merge adds another Interval, of the same run or of another: the counts and Wait add up;
// the time is from the earlier start to the later end. A nil one adds nothing.
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
	i.Wait += other.Wait
	i.Succeeded += other.Succeeded
	for outcome, n := range other.Outcomes {
		i.Outcomes[outcome] += n
	}
	i.Latency.Merge(&other.Latency)
	i.Service.Merge(&other.Service)
	i.StartDelay.Merge(&other.StartDelay)
	i.SchedulingLag.Merge(&other.SchedulingLag)
	i.Queued += other.Queued
	i.Unsent += other.Unsent
	i.BackOffs += other.BackOffs
	i.BackedOff += other.BackedOff
	for name, h := range other.Phases {
		i.phase(name).Merge(h)
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
	return slices.AppendSeq([]*Histogram{&i.Latency, &i.Service, &i.StartDelay, &i.SchedulingLag}, maps.Values(i.Phases))
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

package load

import "time"

// A schedule is a position in the operations of a Runner with a Pacer: the next one. A
// copy of it moves on its own.
type schedule struct {
	*Runner
	n       uint64
	due     time.Duration // since the start of the run
	counted int64         // operations before it that are not of the warm-up
}

func newSchedule(r *Runner) schedule {
	return schedule{Runner: r, due: r.Pacer.Due(0, 0)}
}

// over reports whether there is no such operation.
func (s *schedule) over() bool {
	return s.due == forever || s.Duration > 0 && s.due >= s.Duration || s.Count > 0 && s.counted >= s.Count && s.counts()
}

// counts reports whether the operation is due after the warm-up.
func (s *schedule) counts() bool { return s.due >= s.Warmup }

// advance goes to the next operation.
func (s *schedule) advance() {
	if s.counts() {
		s.counted++
	}
	s.n++
	s.due = s.Pacer.Due(s.n, s.due)
}

// skip goes on to the first operation that is due after t, and returns how many there were
// before it, without those of the warm-up.
func (s *schedule) skip(t time.Duration) int64 {
	before := s.counted
	passed := func(s schedule) bool { return s.over() || s.due > t }
	switch s.Pacer.(type) {
	case constant, ramp, steps: // an operation is found without those before it
		*s = s.first(passed)
	default:
		for !passed(*s) {
			s.advance()
		}
	}
	return s.counted - before
}

// first returns the first position from s on of which passed reports true. It takes a few
// dozen steps, however many operations there are up to there.
func (s schedule) first(passed func(schedule) bool) schedule {
	if !s.counts() && !passed(s) {
		s = s.search(func(s schedule) bool { return s.counts() || passed(s) }, 0)
	}
	return s.search(passed, 1)
}

// mostSkipped is where a search ends whose schedule does not: its rate is infinite.
const mostSkipped = 1 << 52

// search is first where each operation counts as so many.
func (s schedule) search(passed func(schedule) bool, each int64) schedule {
	at := func(n int64) schedule {
		return schedule{s.Runner, s.n + uint64(n), s.Pacer.Due(s.n+uint64(n), 0), s.counted + each*n}
	}
	if passed(s) {
		return s
	}
	low, high := int64(0), int64(1) // passed is false at low
	for high < mostSkipped && !passed(at(high)) {
		low, high = high, 2*high
	}
	for low+1 < high {
		if middle := low + (high-low)/2; passed(at(middle)) {
			high = middle
		} else {
			low = middle
		}
	}
	return at(high)
}

// length is how long the schedule takes, once it is over: n operations at a rate take n
// gaps, and the run is as long as that, or as Duration.
func (s *schedule) length() time.Duration {
	switch {
	case s.Duration > 0 && s.due >= s.Duration:
		return s.Duration
	case s.due == forever: // such a schedule has no length but what is done
		return 0
	}
	return s.due
}

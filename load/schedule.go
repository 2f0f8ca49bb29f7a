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
	for !s.over() && s.due <= t {
		s.advance()
	}
	return s.counted - before
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

package load

import "time"

// A position is a place in the operations of a Runner with a Pacer: the next one. A copy
// moves independently.
type position struct {
	*Runner
	n       uint64
	due     time.Duration // since the start of the run
	counted int64         // operations before it that are not of the warm-up
}

func newPosition(r *Runner) position {
	return position{Runner: r, due: r.Pacer.Due(0, 0)}
}

// over reports whether there is no other operation.
func (p *position) over() bool {
	return p.due == forever || p.Duration > 0 && p.due >= p.Duration || p.Count > 0 && p.counted >= p.Count && p.counts()
}

// counts reports whether the operation is due after the warm-up.
func (p *position) counts() bool { return p.due >= p.Warmup }

// advance goes to the next operation.
func (p *position) advance() {
	if p.counts() {
		p.counted++
	}
	p.n++
	p.due = p.Pacer.Due(p.n, p.due)
}

// skip goes on to the first operation that is due after t. It returns the number of
// operations before that one, without those of the warm-up.
func (p *position) skip(t time.Duration) int64 {
	before := p.counted
	passed := func(p position) bool { return p.over() || p.due > t }
	switch p.Pacer.(type) {
	case constant, ramp, steps: // an operation is found without those before it
		*p = p.first(passed)
	default:
		for !passed(*p) {
			p.advance()
		}
	}
	return p.counted - before
}

// first returns the first position from p on for which passed returns true. It takes a few
// dozen steps, however many operations there are up to there.
func (p position) first(passed func(position) bool) position {
	if !p.counts() && !passed(p) {
		p = p.search(func(p position) bool { return p.counts() || passed(p) }, 0)
	}
	return p.search(passed, 1)
}

// mostSkipped is where a search ends in a schedule that does not end, because its rate is
// infinite.
const mostSkipped = 1 << 52

// search is first for positions that each add so many to counted.
func (p position) search(passed func(position) bool, each int64) position {
	at := func(n int64) position {
		return position{p.Runner, p.n + uint64(n), p.Pacer.Due(p.n+uint64(n), 0), p.counted + each*n}
	}
	if passed(p) {
		return p
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

// length returns the length of the schedule, once it is over. n operations at a rate take
// n gaps, and the run lasts that long, or Duration.
func (p *position) length() time.Duration {
	switch {
	case p.Duration > 0 && p.due >= p.Duration:
		return p.Duration
	case p.due == forever: // such a schedule ends with its last operation
		return 0
	}
	return p.due
}

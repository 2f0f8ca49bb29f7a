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
	for !p.over() && p.due <= t {
		p.advance()
	}
	return p.counted - before
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

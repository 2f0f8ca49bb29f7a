package load

import (
	"slices"
	"time"
)

// A lagMeter finds the generator's part of the delay between the moment an operation was
// due and the moment it started: its scheduling lag. While all workers are busy, an
// operation waits for the server, and not for the generator. So the lag is the longest
// time without a break in which the operation was due, a worker was free, and the
// generator did not start it.
//
// Only the longest break counts. The sum of all of them would charge an operation that
// waited long for a slow server with each moment that a worker needed, in that time, to
// go from one operation to the next.
//
// All times count from the start of the run. Its size, and the cost of a call, do not
// depend on how late operations are.
type lagMeter struct {
	workers, busy int
	free          time.Duration // since when a worker has been free without a break
	// past has the stretches that are over, in their order. Each is shorter than the one
	// before it: what is followed by a longer one is no longer needed.
	past []stretch
}

// mostPast is more than there are in practice: a stretch is kept only while it is longer
// than all those after it.
const mostPast = 32

type stretch struct{ from, to time.Duration }

// after returns how much of the stretch lies after t.
func (s stretch) after(t time.Duration) time.Duration { return s.to - max(s.from, t) }

func (s stretch) length() time.Duration { return s.to - s.from }

// started notes that an operation started. It returns its lag, and reports whether it
// waited because all workers were busy. due is not before that of the last call.
func (m *lagMeter) started(due, at time.Duration) (lag time.Duration, queued bool) {
	current := stretch{m.free, at}
	lag = max(0, current.after(due))
	m.forget(due)
	for _, s := range m.past[:min(2, len(m.past))] { // only the first may lie partly before due
		lag = max(lag, s.after(due))
	}
	if m.busy++; m.busy == m.workers {
		m.keep(current)
	}
	return lag, m.free > due
}

// forget drops the stretches that were over before an operation was due.
func (m *lagMeter) forget(due time.Duration) {
	over := 0
	for over < len(m.past) && m.past[over].to <= due {
		over++
	}
	m.past = slices.Delete(m.past, 0, over)
}

// keep adds a stretch that is over, and drops those that it outlasts.
func (m *lagMeter) keep(s stretch) {
	n := len(m.past)
	for n > 0 && m.past[n-1].length() <= s.length() {
		n--
	}
	if m.past = m.past[:n]; n < mostPast {
		m.past = append(m.past, s)
	}
}

// ended notes that a worker is free again.
func (m *lagMeter) ended(at time.Duration) {
	if m.busy == m.workers {
		m.free = at
	}
	m.busy--
}

package load

import "time"

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
	longest       stretch       // of those that have ended, for operations due from now on
}

type stretch struct{ from, to time.Duration }

// after returns how much of the stretch lies after t.
func (s stretch) after(t time.Duration) time.Duration { return s.to - max(s.from, t) }

// started notes that an operation started. It returns its lag, and reports whether it
// waited because all workers were busy. due is not before that of the last call.
func (m *lagMeter) started(due, at time.Duration) (lag time.Duration, queued bool) {
	current := stretch{m.free, at}
	lag = max(0, current.after(due), m.longest.after(due))
	queued = m.free > due
	if m.busy++; m.busy == m.workers && current.after(due) > m.longest.after(due) {
		m.longest = current
	}
	return lag, queued
}

// ended notes that a worker is free again.
func (m *lagMeter) ended(at time.Duration) {
	if m.busy == m.workers {
		m.free = at
	}
	m.busy--
}

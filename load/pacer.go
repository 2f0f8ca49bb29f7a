package load

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Pacer is a schedule that is known in advance: when each operation is due. It is a
// value without state, so any number of runs may use one, also at the same time.
type Pacer interface {
	// Due returns when operation n is due, counted from the start of the run. Operations
	// are numbered from 0. previous is when operation n-1 is due, and 0 for the first
	// operation. The result is not before previous.
	Due(n uint64, previous time.Duration) time.Duration
}

// Constant returns a Pacer of rate operations per second, evenly spaced, starting at once.
// A rate that is not positive has one operation.
func Constant(rate float64) Pacer { return constant(rate) }

type constant float64

func (c constant) Due(n uint64, _ time.Duration) time.Duration {
	return seconds(float64(n) / float64(c))
}

// Poisson returns a Pacer whose operations are independent of each other, as those of many
// users are: the gaps between them are distributed exponentially, with a mean of 1/rate.
// The seed decides the gaps.
func Poisson(rate float64, seed uint64) Pacer { return poisson{rate, seed} }

type poisson struct {
	rate float64
	seed uint64
}

// Due draws the gap before operation n from the seed and n alone.
func (p poisson) Due(n uint64, previous time.Duration) time.Duration {
	gap := rand.New(rand.NewPCG(p.seed, n)).ExpFloat64() / p.rate
	if gap >= (forever - previous).Seconds() {
		return forever
	}
	return previous + time.Duration(math.Round(gap*1e9)) // cut off instead, the rate would be too high
}

// Ramp returns a Pacer whose rate goes from one to another in a straight line, and
// stays there.
func Ramp(from, to float64, over time.Duration) Pacer {
	return ramp{from, to, over.Seconds()}
}

type ramp struct{ from, to, over float64 }

// Due solves n = from*t + (to-from)/(2*over)*t^2 for t.
func (r ramp) Due(n uint64, _ time.Duration) time.Duration {
	if n == 0 {
		return 0
	}
	count := float64(n)
	during := (r.from + r.to) / 2 * r.over // operations while the rate changes
	if r.over <= 0 || count >= during {
		return seconds(max(0, r.over) + (count-max(0, during))/r.to)
	}
	a := (r.to - r.from) / (2 * r.over)
	if a == 0 {
		return seconds(count / r.from)
	}
	return seconds(2 * count / (r.from + math.Sqrt(r.from*r.from+4*a*count))) // the form without cancellation
}

// Steps returns a Pacer that holds each rate for a time, and the last one from then
// on. A rate of 0 is a pause.
func Steps(each time.Duration, rates ...float64) Pacer { return steps{each.Seconds(), rates} }

type steps struct {
	each  float64
	rates []float64
}

func (s steps) Due(n uint64, _ time.Duration) time.Duration {
	left, start := float64(n), 0.0
	for i, rate := range s.rates {
		if last := i == len(s.rates)-1; last || left < rate*s.each {
			return seconds(start + left/rate)
		}
		left -= rate * s.each
		start += s.each
	}
	return forever
}

// A describedPacer is a Pacer of this package, which says what it is: the arrival, the
// rate in operations per second, 0 if there is not one rate, and the time until this
// rate is reached.
type describedPacer interface {
	describe() (arrival string, rate float64, ramp time.Duration)
}

func (c constant) describe() (string, float64, time.Duration) {
	return "constant", max(0, float64(c)), 0
}
func (p poisson) describe() (string, float64, time.Duration) { return "poisson", max(0, p.rate), 0 }
func (r ramp) describe() (string, float64, time.Duration) {
	return "constant", max(0, r.to), seconds(max(0, r.over))
}
func (s steps) describe() (string, float64, time.Duration) { return "steps", 0, 0 }

// forever is a time that does not come.
const forever = time.Duration(math.MaxInt64)

func seconds(s float64) time.Duration {
	if !(s < forever.Seconds()) { // NaN too
		return forever
	}
	return time.Duration(s * 1e9)
}

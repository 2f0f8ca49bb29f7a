package load

import (
	"iter"
	"math"
	"math/bits"
	"time"
)

// A Histogram counts durations from a nanosecond to an hour, each to three significant
// digits, in the steps of an HdrHistogram. A longer duration counts as an hour. The zero
// value is empty. A Histogram has no lock.
//
// It takes about 270 kB while durations are recorded into it, and one or two octets a
// step that is not empty after Pack, or when it was read.
type Histogram struct {
	dense  []int64 // the count of each step; nil if packed
	packed []byte  // the steps that are not empty; its octets are never changed
	count  int64
}

const (
	longest = time.Hour
	digits  = 3
	slots   = 33 << 10 // the steps up to 73 minutes, where the last block of them ends
)

// A shape is how HdrHistogram numbers the steps of a histogram: first a block of
// 1<<half steps that are 1<<unit wide, then another one, and from then on blocks whose
// steps are twice as wide as those of the block before.
type shape struct{ unit, half int }

var ours = shape{unit: 0, half: 10} // from 1 ns, three digits

// step returns the step that has a value.
func (s shape) step(value int64) int {
	block := max(0, bits.Len64(uint64(value))-s.half-1-s.unit)
	return block<<s.half + int(value>>(block+s.unit))
}

// bounds returns the lowest value of a step, and the number of its values.
func (s shape) bounds(step int) (lowest, width int64) {
	block, within := max(0, step>>s.half-1), step
	if block > 0 {
		within = step - block<<s.half
	}
	return int64(within) << (block + s.unit), 1 << (block + s.unit)
}

// Pack makes h small until it is recorded into again. It is for a histogram that is kept.
func (h *Histogram) Pack() {
	if h == nil || h.dense == nil {
		return
	}
	h.packed, h.dense = h.pack(), nil
}

// drain returns h packed, and leaves h empty with its memory.
func (h *Histogram) drain() Histogram {
	packed := Histogram{packed: h.pack(), count: h.count}
	clear(h.dense)
	h.packed, h.count = nil, 0
	return packed
}

func (h *Histogram) pack() []byte {
	if h.dense == nil {
		return h.packed
	}
	var p packer
	for step, n := range h.steps() {
		p.add(step, n)
	}
	return p.pack()
}

func (h *Histogram) unpack() {
	if h.dense != nil {
		return
	}
	h.dense = make([]int64, slots)
	for c := (cursor{rest: h.packed}); c.next(); {
		h.dense[c.step] = c.count
	}
	h.packed = nil
}

// steps yields the steps that are not empty, with their counts, in order.
func (h *Histogram) steps() iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		if h == nil {
			return
		}
		for step, n := range h.dense {
			if n > 0 && !yield(step, n) {
				return
			}
		}
		for c := (cursor{rest: h.packed}); c.next(); {
			if !yield(c.step, c.count) {
				return
			}
		}
	}
}

// Record counts a duration. A negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	h.unpack()
	h.dense[ours.step(int64(min(max(0, d), longest)))]++
	h.count++
}

// Merge adds the counts of another histogram. A nil one has none.
func (h *Histogram) Merge(other *Histogram) {
	switch {
	case other.Count() == 0:
		return
	case other.dense != nil || h.dense != nil || 2*len(h.packed) > 3*len(other.packed):
		h.unpack() // more will be added, and each time all of h would be packed anew
		for step, n := range other.steps() {
			h.dense[step] += n
		}
	case h.count == 0:
		h.packed = other.packed
	default:
		h.packed = merged(h.packed, other.packed)
	}
	h.count += other.count
}

// Count returns the number of durations.
func (h *Histogram) Count() int64 {
	if h == nil {
		return 0
	}
	return h.count
}

// Mean returns the mean duration, or 0 if there is none.
func (h *Histogram) Mean() time.Duration {
	var sum float64
	for step, n := range h.steps() {
		lowest, width := ours.bounds(step)
		sum += float64(n) * float64(lowest+width/2)
	}
	return time.Duration(math.Round(sum / float64(max(1, h.Count()))))
}

// Max returns the longest duration, to three digits, or 0 if there is none.
func (h *Histogram) Max() time.Duration { return h.Quantile(1) }

// Quantile returns the nearest-rank quantile q, from 0 to 1: the shortest duration that
// at least a share q of all durations do not exceed. It is 0 if there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	left := Rank(h.Count(), q)
	for step, n := range h.steps() {
		if left -= n; left <= 0 {
			lowest, width := ours.bounds(step)
			return time.Duration(lowest + width - 1)
		}
	}
	return 0
}

// Rank returns the nearest rank of the quantile q of n values: the smallest whole number
// from 1 that is at least q*n. The value of this rank, counted from the shortest, is the
// quantile; n-Rank(n, q) values lie beyond it. q counts to twelve decimals, because a
// float64 is not exactly 0.07, and 0.07*100 is more than 7.
func Rank(n int64, q float64) int64 {
	const one = 1e12
	if !(q > 0) || n <= 0 {
		return 1
	}
	high, low := bits.Mul64(uint64(n), uint64(math.Round(min(q, 1)*one)))
	low, carry := bits.Add64(low, one-1, 0)
	rank, _ := bits.Div64(high+carry, low, one)
	return max(1, int64(rank))
}

// A Bar is one step of a Histogram: Count durations are at least From and at most To.
type Bar struct {
	From, To time.Duration
	Count    int64
}

// Bars returns the steps that are not empty, the shortest durations first.
func (h *Histogram) Bars() (bars []Bar) {
	for step, n := range h.steps() {
		lowest, width := ours.bounds(step)
		bars = append(bars, Bar{time.Duration(lowest), time.Duration(lowest + width - 1), n})
	}
	return bars
}

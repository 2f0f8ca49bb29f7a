package load

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// Whatever the schedule, skip comes to where single steps come to.
func TestSkip(t *testing.T) {
	for _, p := range []Pacer{Constant(1000), Constant(333.3), Constant(0), Ramp(0, 500, time.Second), Ramp(500, 0, time.Second), Ramp(100, 100, time.Second), Steps(time.Second, 100, 0, 300), Poisson(700, 1)} {
		for _, r := range []Runner{{}, {Duration: 2 * time.Second}, {Count: 300}, {Warmup: 700 * time.Millisecond}, {Warmup: 700 * time.Millisecond, Count: 300, Duration: 3 * time.Second}, {Warmup: time.Second, Count: 1}} {
			r.Pacer = p
			fast, slow := newPosition(&r), newPosition(&r)
			for _, until := range []time.Duration{-1, 0, time.Millisecond, 500 * time.Millisecond, 699 * time.Millisecond, 700 * time.Millisecond, time.Second, 2500 * time.Millisecond, 4 * time.Second} {
				before := slow.counted
				for !slow.over() && slow.due <= until {
					slow.advance()
				}
				if n := fast.skip(until); fast != slow || n != slow.counted-before {
					t.Errorf("%v, %+v, until %v: skipped %d to %d at %v, counted %d; want %d to %d at %v, counted %d", p, fmt.Sprint(r.Duration, r.Count, r.Warmup), until,
						n, fast.n, fast.due, fast.counted, slow.counted-before, slow.n, slow.due, slow.counted)
				}
			}
		}
	}
}

// The end of a run does not take longer the more of it was left undone.
func TestSkipOfMany(t *testing.T) {
	for _, rate := range []float64{1e9, 1e15, math.Inf(1)} {
		s := newPosition(&Runner{Pacer: Constant(rate), Duration: time.Hour})
		start := time.Now()
		if n := s.skip(time.Hour - 1); float64(n) < min(1e15, 3.5e3*rate) || time.Since(start) > time.Second {
			t.Errorf("at %v a second: %d in %v", rate, n, time.Since(start))
		}
	}
}

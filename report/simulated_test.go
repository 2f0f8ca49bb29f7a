package report

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bothends/bothends/load"
)

// simulated is a run of so many intervals without its histograms, which would take ten
// times as long: log-normal latencies at a level that drifts from interval to interval
// as a busy machine's does, so that six tenths of an interval's level are left in the
// next one; one of a hundred four times as long, and in three of a hundred intervals
// all of them half as long again.
func simulated(seed uint64, intervals int, drift, slower float64) *series {
	const memory = 0.6
	random := rand.New(rand.NewPCG(seed, 1))
	s, level := new(series), 0.0
	var all [][]load.Bar
	for range intervals {
		level = memory*level + math.Sqrt(1-memory*memory)*drift*random.NormFloat64()
		scale := slower * math.Exp(level)
		if random.Float64() < 0.03 {
			scale *= 1.5
		}
		var times []int // logarithms, to a thousandth
		for range int(100 / scale) {
			l := math.Log(scale) + 0.25*random.NormFloat64()
			if random.Float64() < 0.01 {
				l += math.Log(4)
			}
			times = append(times, int(1000*l))
		}
		slices.Sort(times)
		var bars []load.Bar
		for _, l := range times {
			d := time.Duration(math.Exp(float64(l)/1000) * 5e5)
			if n := len(bars); n == 0 || bars[n-1].To != d {
				bars = append(bars, load.Bar{From: d, To: d})
			}
			bars[len(bars)-1].Count++
		}
		s.add(1, float64(len(times)), bars)
		all = append(all, bars)
	}
	s.index(all)
	return s
}

// A server with itself is neither faster nor slower, but for 5 of 100; one that is a tenth slower is
// found to be, but for 5 of 100. The seeds decide the runs, and so the counts.
func TestVerdictsOfSimulatedRuns(t *testing.T) {
	const pairs = 100
	var wrong, found atomic.Int64
	judge := func(a, b *series) Verdict {
		c := &Comparison{Least: DefaultLeast, Metrics: measured(a, b)}
		c.judge(apart(a, b))
		return c.Verdict
	}
	var workers sync.WaitGroup
	next := new(atomic.Int64)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for pair := uint64(next.Add(1)); pair <= pairs; pair = uint64(next.Add(1)) {
				run := func(seed uint64, slower float64) *series { return simulated(3*pair+seed, 45, 0.03, slower) }
				a := run(0, 1)
				if same := judge(a, run(1, 1)); same == Slower || same == Faster {
					wrong.Add(1)
				}
				if judge(a, run(2, 1.1)) == Slower {
					found.Add(1)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("of %d pairs %d false verdicts, %d slow-downs found", pairs, wrong.Load(), found.Load())
	if wrong.Load() > 5 || found.Load() < 95 {
		t.Errorf("of %d pairs %d false verdicts, %d slow-downs found", pairs, wrong.Load(), found.Load())
	}
}

// Student's distribution, from tables.
func TestStudent(t *testing.T) {
	for _, c := range []struct{ p, freedom, want float64 }{{0.975, 3, 3.182}, {0.975, 10, 2.228}, {0.995, 7, 3.499}, {0.999, 20, 3.552}, {0.995, 1e9, 2.576}} {
		if got := student(c.p, c.freedom); math.Abs(got-c.want) > 0.02*c.want {
			t.Errorf("%v of %v degrees: %v, want %v", c.p, c.freedom, got, c.want)
		}
	}
}

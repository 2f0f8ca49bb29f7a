package report

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bothends/bothends/load"
)

// A series is the intervals of a run in a form for fast resampling, in which an interval
// occurs several times or not at all.
type series struct {
	n       int
	seconds []float64
	ok      []float64
	sums    []float64 // of latencies, in seconds
	counts  []float64
	count   int64           // of all latencies
	values  []time.Duration // the steps of all histograms
	// upTo has the number of latencies of each interval that do not exceed each value:
	// that of value v and interval i is at v*n+i.
	upTo []float64
}

func newSeries(intervals []*load.Interval) *series {
	s := new(series)
	bars := make([][]load.Bar, len(intervals))
	for n, i := range intervals {
		bars[n] = i.Latency.Bars()
		s.add((i.End - i.Start).Seconds(), float64(i.Succeeded), bars[n])
	}
	s.index(bars)
	return s
}

// add adds an interval.
func (s *series) add(seconds, ok float64, bars []load.Bar) {
	var count int64
	var sum float64
	for _, b := range bars {
		count += b.Count
		sum += float64(b.Count) * (b.From.Seconds() + b.To.Seconds()) / 2
		s.values = append(s.values, b.To)
	}
	s.n++
	s.seconds, s.ok = append(s.seconds, seconds), append(s.ok, ok)
	s.counts, s.sums = append(s.counts, float64(count)), append(s.sums, sum)
	s.count += count
}

// index fills upTo after the last call of add.
func (s *series) index(bars [][]load.Bar) {
	slices.Sort(s.values)
	s.values = slices.Compact(s.values)
	s.upTo = make([]float64, len(s.values)*s.n)
	for i, list := range bars {
		count := 0.0
		for v, value := range s.values {
			if len(list) > 0 && list[0].To == value {
				count += float64(list[0].Count)
				list = list[1:]
			}
			s.upTo[v*s.n+i] = count
		}
	}
}

// all returns the weights of the run itself.
func (s *series) all() []float64 { return slices.Repeat([]float64{1}, s.n) }

// figures returns the figures of compared, with each interval as often as in weights.
func (s *series) figures(weights []float64) (list [6]float64) {
	count := dot(s.counts, weights)
	list[0] = dot(s.ok, weights) / dot(s.seconds, weights)
	if count == 0 {
		return list
	}
	list[1] = dot(s.sums, weights) / count
	for n := 2; n < len(compared); n++ {
		list[n] = s.quantile(weights, compared[n].q, count).Seconds()
	}
	return list
}

// quantile returns load.Histogram.Quantile of the weighted intervals.
func (s *series) quantile(weights []float64, q, count float64) time.Duration {
	rank := float64(load.Rank(int64(count), q))
	low, high := 0, len(s.values)-1
	for low < high {
		middle := (low + high) / 2
		if dot(s.upTo[middle*s.n:][:s.n], weights) >= rank {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return s.values[low]
}

func dot(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// block returns the number of neighbours that are drawn together. Neighbours resemble each
// other. If they were drawn one by one, the figures would seem more certain than they are.
func (s *series) block() int { return max(2, int(math.Sqrt(float64(s.n)))) }

// A halfWidth is half the confidence interval of a figure's difference between two
// runs, as logarithms. The figures are numbered as compared has them.
type halfWidth func(figure int, confidence float64) float64

// apart is for runs that were made independently of each other. Each is resampled by a
// bootstrap of moving blocks, and the two standard errors are added (Welch).
func apart(a, b *series) halfWidth {
	ea := spreadOf(a.n, a.block(), 1, a.figures)
	eb := spreadOf(b.n, b.block(), 2, b.figures)
	freedomA, freedomB := float64(a.n)/float64(a.block())-1, float64(b.n)/float64(b.block())-1
	return func(n int, confidence float64) float64 {
		va, vb := ea[n]*ea[n], eb[n]*eb[n]
		if va+vb == 0 || math.IsInf(va+vb, 1) {
			return va + vb
		}
		freedom := (va + vb) * (va + vb) / (va*va/freedomA + vb*vb/freedomB)
		return student(1-(1-confidence)/2, freedom) * math.Sqrt(va+vb)
	}
}

// turns is for runs that alternated, with the same number of parts. Other work of the
// machine met both parts of a pair and cancels out in their ratio. Pairs are drawn one by
// one.
func turns(a, b *series) halfWidth {
	both := spreadOf(a.n, 1, 1, func(weights []float64) (ratios [6]float64) {
		of, to := a.figures(weights), b.figures(weights)
		for n := range ratios {
			ratios[n] = to[n] / of[n]
		}
		return ratios
	})
	return func(n int, confidence float64) float64 {
		return student(1-(1-confidence)/2, float64(a.n-1)) * both[n]
	}
}

// spreadOf returns the standard errors of the logarithms of figures, by resampling n
// intervals in blocks. They are corrected for the small number of blocks, and infinite for
// what was measured in so few intervals that a resample may have none.
func spreadOf(n, block int, seed uint64, figures func([]float64) [6]float64) (errors [6]float64) {
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	var sum, squares, drawn [6]float64
	weights := make([]float64, n)
	for range resamples {
		draw(weights, block, random)
		for n, v := range figures(weights) {
			if v > 0 && !math.IsInf(v, 0) { // unless all that was drawn is empty
				l := math.Log(v)
				sum[n], squares[n], drawn[n] = sum[n]+l, squares[n]+l*l, drawn[n]+1
			}
		}
	}
	blocks := float64(n) / float64(block)
	for n := range errors {
		if drawn[n] < 0.99*resamples {
			errors[n] = math.Inf(1)
			continue
		}
		mean := sum[n] / drawn[n]
		errors[n] = math.Sqrt(max(0, squares[n]/drawn[n]-mean*mean) * blocks / (blocks - 1))
	}
	return errors
}

// draw fills weights with a resample of the same number of intervals. The ends are joined
// to a ring, because intervals near them would otherwise be drawn less often.
func draw(weights []float64, block int, random *rand.Rand) {
	clear(weights)
	for left := len(weights); left > 0; left -= block {
		at := random.IntN(len(weights))
		for range min(block, left) {
			weights[at]++
			at = (at + 1) % len(weights)
		}
	}
}

// student returns the quantile of Student's distribution, by its expansion around the
// normal distribution (Abramowitz and Stegun, 26.7.5). It is good enough from 3 degrees of
// freedom; with fewer it is too small.
func student(p, freedom float64) float64 {
	x := math.Sqrt2 * math.Erfinv(2*p-1)
	x2 := x * x
	return x + x*(x2+1)/(4*freedom) +
		x*((5*x2+16)*x2+3)/(96*freedom*freedom) +
		x*(((3*x2+19)*x2+17)*x2-15)/(384*math.Pow(freedom, 3)) +
		x*((((79*x2+776)*x2+1482)*x2-1920)*x2-945)/(92160*math.Pow(freedom, 4))
}

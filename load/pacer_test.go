package load_test

import (
	"context"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bothends/bothends/load"
)

func TestPacers(t *testing.T) {
	const never = time.Duration(math.MaxInt64)
	for _, c := range []struct {
		name  string
		pacer load.Pacer
		due   map[uint64]time.Duration
	}{
		{"constant", load.Constant(100), map[uint64]time.Duration{0: 0, 1: 10 * time.Millisecond, 800: 8 * time.Second, 360_000_000: 1000 * time.Hour}},
		{"none", load.Constant(0), map[uint64]time.Duration{1: never}},
		// 10 a second after 10 s, from 0: n = t^2/2, and then 10 more each second.
		{"ramp", load.Ramp(0, 10, 10*time.Second), map[uint64]time.Duration{0: 0, 2: 2 * time.Second, 50: 10 * time.Second, 60: 11 * time.Second}},
		{"down", load.Ramp(10, 0, 10*time.Second), map[uint64]time.Duration{0: 0, 48: 8 * time.Second, 50: never}},
		{"flat", load.Ramp(5, 5, 10*time.Second), map[uint64]time.Duration{10: 2 * time.Second, 100: 20 * time.Second}},
		{"at once", load.Ramp(1, 5, 0), map[uint64]time.Duration{0: 0, 10: 2 * time.Second}},
		{"steps", load.Steps(10*time.Second, 1, 0, 5), map[uint64]time.Duration{0: 0, 9: 9 * time.Second, 10: 20 * time.Second, 15: 21 * time.Second, 100: 38 * time.Second}},
		{"no steps", load.Steps(time.Second), map[uint64]time.Duration{0: never}},
	} {
		for n, want := range c.due {
			if got := c.pacer.Due(n, 0); (got - want).Abs() > time.Microsecond {
				t.Errorf("%s: operation %d is due at %v, want %v", c.name, n, got, want)
			}
		}
	}
}

// A time never comes before the one before it, and the schedule has the rate.
func TestPacersGoOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.1, 1e6).Draw(t, "rate")
		to := rapid.Float64Range(0.1, 1e6).Draw(t, "to")
		over := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "over"))
		for _, p := range []load.Pacer{load.Constant(rate), load.Poisson(rate, 1), load.Ramp(rate, to, over), load.Steps(over+1, rate, to)} {
			last := time.Duration(0)
			for n := range uint64(1000) {
				due := p.Due(n, last)
				if due < last {
					t.Fatalf("%T: operation %d is due at %v, before %v", p, n, due, last)
				}
				last = due
			}
		}
	})
}

// The gaps of a Poisson process have the mean of the rate, and as much deviation, and do
// not depend on each other. The seed decides them.
func TestPoisson(t *testing.T) {
	p, again, other := load.Poisson(1000, 7), load.Poisson(1000, 7), load.Poisson(1000, 8)
	var sum, squares, products, before float64
	last, differ := time.Duration(0), false
	const n = 100_000
	for i := range uint64(n) {
		due := p.Due(i, last)
		if again.Due(i, last) != due || p.Due(i, last) != due {
			t.Fatal("the same seed gives another schedule")
		}
		differ = differ || other.Due(i, last) != due
		gap := (due - last).Seconds()
		sum, squares, products = sum+gap, squares+gap*gap, products+gap*before
		last, before = due, gap
	}
	mean := sum / n
	variance := squares/n - mean*mean
	if deviation := math.Sqrt(variance); math.Abs(mean-1e-3) > 2e-5 || math.Abs(deviation-1e-3) > 2e-5 || !differ {
		t.Errorf("mean gap %v s, deviation %v s, want 0.001 both; other seed differs: %v", mean, deviation, differ)
	}
	if correlation := (products/n - mean*mean) / variance; math.Abs(correlation) > 0.01 {
		t.Errorf("the correlation of a gap with the one before it is %v, want 0", correlation)
	}
	if due := load.Poisson(1e-300, 1).Due(0, 0); due != math.MaxInt64 {
		t.Errorf("an operation in ages is due at %v", due)
	}
}

// A Pacer is a value: two runs with it, one after the other, are the same.
func TestPacerOfTwoRuns(t *testing.T) {
	for name, pacer := range map[string]load.Pacer{"constant": load.Constant(100), "poisson": load.Poisson(100, 3), "ramp": load.Ramp(1, 200, time.Second), "steps": load.Steps(time.Second/2, 50, 150)} {
		synctest.Test(t, func(t *testing.T) {
			var at [2][]time.Duration
			for n := range at {
				start := time.Now()
				run(t, &load.Runner{Pacer: pacer, Duration: time.Second, Do: func(context.Context) error {
					at[n] = append(at[n], time.Since(start))
					return nil
				}})
			}
			if len(at[0]) < 50 || !slices.Equal(at[0], at[1]) {
				t.Errorf("%s: %d operations, and then %d", name, len(at[0]), len(at[1]))
			}
		})
	}
}

package load_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/bothends/bothends/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sleep waits on a bubble's clock.
func sleep(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func run(t *testing.T, r *load.Runner) (total *load.Interval, intervals []*load.Interval) {
	t.Helper()
	if r.Sleep == nil {
		r.Sleep = sleep
	}
	if r.Every == 0 {
		r.Every = time.Second
	}
	for i, err := range r.Run(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		intervals = append(intervals, i)
	}
	return load.Total(intervals), intervals
}

// near tells whether a duration is another one within a thousandth, the histogram's
// precision, and a bit for rounding.
func near(got, want time.Duration) bool {
	return math.Abs(float64(got-want)) <= 0.0011*float64(want)
}

// A server that stands still for two of eight seconds, at a hundred a second: two
// hundred fell due in that time, and waited for what was left of it.
func TestFrozenServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		frozen, thaw := start.Add(3*time.Second), start.Add(5*time.Second)
		r := &load.Runner{
			Pacer: load.Constant(100), Duration: 8 * time.Second, Workers: 10,
			Do: func(context.Context) error {
				if now := time.Now(); !now.Before(frozen) && now.Before(thaw) {
					time.Sleep(time.Until(thaw))
				}
				return nil
			},
		}
		total, intervals := run(t, r)
		if n := total.Outcomes["ok"]; n != 800 || total.Unsent != 0 || total.Latency.Count() != 800 {
			t.Errorf("%d of 800 ok, %d never sent", n, total.Unsent)
		}
		// Of 800, all but the k worst waited 2 s - k * 10 ms at the most.
		for q, want := range map[float64]time.Duration{0.5: 0, 0.75: 0, 0.9: 1200 * time.Millisecond, 0.99: 1920 * time.Millisecond, 1: 2 * time.Second} {
			if got := total.Latency.Quantile(q); !near(got, want) {
				t.Errorf("p%v from the due time: %v, want %v", 100*q, got, want)
			}
		}
		// Ten were under way, and that is all that the service time knows of.
		if got := total.Service.Quantile(0.98); got != 0 {
			t.Errorf("p98 of the service time: %v, want 0", got)
		}
		if total.Queued != 190 && total.Queued != 191 { // one is due as it thaws
			t.Errorf("%d waited in the schedule, want 190", total.Queued)
		}
		if own := total.SchedulingLag.Max(); own != 0 {
			t.Errorf("the generator is charged %v of the server's stall", own)
		}
		if len(intervals) != 8 || intervals[3].Operations() != 0 {
			t.Errorf("%d intervals, %d operations in the fourth", len(intervals), intervals[3].Operations())
		}
	})
}

// Each percentile is the injected distribution's, within the histogram's precision.
func TestPercentiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		var delays []time.Duration
		for range 20000 {
			delays = append(delays, time.Duration(math.Exp(random.NormFloat64()*1.5)*1e6)) // log-normal, about a millisecond
		}
		var mu sync.Mutex
		next := 0
		r := &load.Runner{
			Pacer: load.Constant(1000), Duration: 20 * time.Second, Workers: 2000,
			Do: func(context.Context) error {
				mu.Lock()
				d := delays[next]
				next++
				mu.Unlock()
				time.Sleep(d)
				return nil
			},
		}
		total, _ := run(t, r)
		slices.Sort(delays)
		for _, q := range []float64{0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1} {
			want := delays[int(math.Ceil(q*float64(len(delays))))-1]
			if got := total.Service.Quantile(q); !near(got, want) {
				t.Errorf("p%v of the service time: %v, want %v", 100*q, got, want)
			}
			if got := total.Latency.Quantile(q); !near(got, want) {
				t.Errorf("p%v from the due time: %v, want %v", 100*q, got, want)
			}
		}
	})
}

// The generator's own stalls are its own, and not the workers': whoever is late because
// it stood still is not said to have waited for a connection.
func TestGeneratorStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := &load.Runner{
			Pacer: load.Constant(100), Duration: 8 * time.Second, Workers: 10,
			Do: func(context.Context) error { time.Sleep(time.Millisecond); return nil },
			Sleep: func(ctx context.Context, until time.Time) {
				if since := until.Sub(start); since > 3*time.Second && since < 5*time.Second {
					until = start.Add(5 * time.Second)
				}
				sleep(ctx, until)
			},
		}
		total, _ := run(t, r)
		if p90, p99 := total.SchedulingLag.Quantile(0.9), total.SchedulingLag.Quantile(0.99); total.Operations() != 800 || !near(p90, 1190*time.Millisecond) || !near(p99, 1910*time.Millisecond) {
			t.Errorf("%d operations; late by its own fault: p90 %v, p99 %v", total.Operations(), p90, p99)
		}
	})
}

// An operation that waits because all workers are busy waits for the server: that is none
// of the generator's lag, however long it is.
func TestSlowServerIsNotTheGenerator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &load.Runner{
			Pacer: load.Constant(1000), Duration: 2 * time.Second, Workers: 2, Patience: time.Minute,
			Do: func(context.Context) error { time.Sleep(10 * time.Millisecond); return nil },
		}
		total, _ := run(t, r)
		if late := total.StartDelay.Max(); total.Operations() != 2000 || !near(late, 9990*time.Millisecond-1999*time.Millisecond) {
			t.Errorf("%d operations, the last started %v late", total.Operations(), late)
		}
		if lag := total.SchedulingLag.Max(); lag != 0 || total.Queued != 1998 {
			t.Errorf("the generator is charged %v of the server's slowness; %d queued", lag, total.Queued)
		}
	})
}

// A stall of the generator and one of the server are told apart: of operations that are
// due in both, each has the time that a worker was free.
func TestStallOfBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, stall := time.Now(), 500*time.Millisecond
		r := &load.Runner{
			Pacer: load.Constant(10), Duration: 2 * time.Second, Workers: 1,
			// The operation that starts at 1.0 s takes until 1.5 s; the generator, which should
			// wake up at 1.6 s, does so at 1.85 s.
			Do: func(context.Context) error {
				if time.Since(start) == time.Second {
					time.Sleep(stall)
				}
				return nil
			},
			Sleep: func(ctx context.Context, until time.Time) {
				if until.Sub(start) == 1600*time.Millisecond {
					until = start.Add(1850 * time.Millisecond)
				}
				sleep(ctx, until)
			},
		}
		total, _ := run(t, r)
		// Due at 1.1 to 1.4 s: started at 1.5 s. Due at 1.6, 1.7 and 1.8 s: at 1.85 s.
		if late, lag := total.StartDelay.Max(), total.SchedulingLag.Max(); !near(late, 400*time.Millisecond) || !near(lag, 250*time.Millisecond) {
			t.Errorf("late by %v, lag %v, want 400 ms and 250 ms", late, lag)
		}
		if late, lag := total.StartDelay.Mean(), total.SchedulingLag.Mean(); !near(late, (100+200+300+400+250+150+50)*time.Millisecond/20) || !near(lag, (250+150+50)*time.Millisecond/20) {
			t.Errorf("in the mean late by %v, lag %v", late, lag)
		}
	})
}

// An Interval ends when its time does, though the loop body pauses; what is measured is
// the same as without the pause.
func TestSlowConsumer(t *testing.T) {
	for name, c := range map[string]struct {
		pacer load.Pacer
		takes time.Duration
	}{"open": {load.Constant(100), 5 * time.Millisecond}, "closed": {nil, 29700 * time.Microsecond}} {
		synctest.Test(t, func(t *testing.T) {
			type measured struct {
				Start, End time.Duration
				Operations int64
			}
			measure := func(pause time.Duration) (list []measured, took time.Duration) {
				r := &load.Runner{Pacer: c.pacer, Duration: 10 * time.Second, Workers: 2, Every: time.Second, Sleep: sleep, Do: func(context.Context) error {
					time.Sleep(c.takes)
					return nil
				}}
				start := time.Now()
				for i := range r.Run(t.Context()) {
					if len(list) == 0 {
						time.Sleep(pause)
					}
					list = append(list, measured{i.Start, i.End, i.Operations()})
				}
				return list, time.Since(start)
			}
			want, wantTook := measure(0)
			got, took := measure(8 * time.Second)
			if diff := cmp.Diff(want, got); diff != "" || len(want) < 10 || took != wantTook {
				t.Errorf("%s: %v without a pause, %v with one: %s", name, wantTook, took, diff)
			}
			if _, took = measure(time.Minute); took != time.Minute+time.Second {
				t.Errorf("%s: %v with a pause longer than the run", name, took)
			}
		})
	}
}

// Each of the operations that are due is ended, unsent, or under way or waiting, at the
// end of each Interval.
func TestCountsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The server makes six a second of ten; what is left 3 s after the schedule is unsent.
		r := &load.Runner{Pacer: load.Constant(10), Duration: 10 * time.Second, Workers: 3, Patience: 3 * time.Second,
			Do: func(context.Context) error { time.Sleep(499 * time.Millisecond); return nil }}
		total, intervals := run(t, r)
		ended, unsent := int64(0), int64(0)
		for n, i := range intervals {
			ended, unsent = ended+i.Operations(), unsent+i.Unsent
			if due := min(100, 10*int64(n+1)+1); ended+unsent+i.Pending != due && ended+unsent+i.Pending != due-1 {
				t.Errorf("%d s: %d ended, %d unsent, %d pending; %d were due", n+1, ended, unsent, i.Pending, due)
			}
		}
		if len(intervals) != 14 || total.Pending != 0 || total.Unsent == 0 || total.Operations()+total.Unsent != 100 {
			t.Errorf("%d intervals, at the end %d pending, %d unsent, %d ended of 100", len(intervals), total.Pending, total.Unsent, total.Operations())
		}
		// A closed loop has what is under way.
		closed := &load.Runner{Duration: 1500 * time.Millisecond, Workers: 4, Do: func(context.Context) error { time.Sleep(4 * time.Second); return nil }}
		if _, intervals = run(t, closed); intervals[1].Pending != 4 || intervals[len(intervals)-1].Pending != 0 {
			t.Errorf("%d pending at 2 s, %d at the end", intervals[1].Pending, intervals[len(intervals)-1].Pending)
		}
	})
}

// The counts add up to what was due also while operations end by the thousand, and while
// those of the warm-up still wait for a worker.
func TestCountsAddUpWhileBusy(t *testing.T) {
	for _, warmup := range []time.Duration{0, 100 * time.Millisecond} {
		r := &load.Runner{Pacer: load.Constant(200_000), Duration: 250 * time.Millisecond, Warmup: warmup, Workers: 2, Every: 2 * time.Millisecond,
			Patience: 50 * time.Millisecond, Do: func(context.Context) error { time.Sleep(time.Nanosecond); return nil }}
		due, next, gone := int64(0), uint64(0), int64(0)
		for i, err := range r.Run(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			for ; r.Pacer.Due(next, 0) <= i.End+warmup && r.Pacer.Due(next, 0) < r.Duration; next++ {
				if r.Pacer.Due(next, 0) >= warmup {
					due++
				}
			}
			if gone += i.Operations() + i.Unsent; gone+i.Pending != due {
				t.Errorf("warm-up %v, until %v: %d ended or unsent, %d pending; %d were due", warmup, i.End, gone, i.Pending, due)
			}
		}
	}
}

// A closed loop waits after failures of which BackOff says so, longer after each, and a
// success ends that.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, broken := errors.New("refused"), errors.New("broken")
		made, start := []time.Duration(nil), time.Now()
		r := &load.Runner{Duration: time.Second, Do: func(context.Context) error {
			made = append(made, time.Since(start)/time.Millisecond)
			switch {
			case len(made) == 4:
				return nil
			case len(made) == 6:
				return broken
			}
			return refused
		}, BackOff: func(err error) bool { return err == refused }}
		total, _ := run(t, r)
		// 1, 2 and 4 ms after three; none after the success; 1 ms, none after what is not
		// refused, and then 2, 4, 8 ms and so on.
		want := []time.Duration{0, 1, 3, 7, 7, 8, 8, 10, 14, 22, 38, 70, 134, 234, 334, 434, 534, 634, 734, 834, 934}
		if !slices.Equal(made, want) {
			t.Errorf("operations at %d ms, want %d", made, want)
		}
		if total.Operations() != 21 || total.BackOffs != 19 || total.BackedOff != time.Second {
			t.Errorf("%d operations, %d waits of %v", total.Operations(), total.BackOffs, total.BackedOff)
		}
		// An open loop keeps its schedule.
		r.Pacer, made = load.Constant(100), nil
		if total, _ = run(t, r); total.Operations() != 100 || total.BackOffs != 0 {
			t.Errorf("open loop: %d operations, %d waits", total.Operations(), total.BackOffs)
		}
	})
}

// Nobody waits for a worker when there are enough.
func TestNothingQueued(t *testing.T) {
	for range 20 {
		r := &load.Runner{Pacer: load.Constant(1000), Count: 3, Workers: 4, Do: func(context.Context) error { return nil }}
		var total load.Interval
		for i := range r.Run(t.Context()) {
			total.Merge(i)
		}
		if total.Operations() != 3 || total.Queued != 0 {
			t.Fatalf("%d operations, %d of them queued", total.Operations(), total.Queued)
		}
	}
}

// What was in the warm-up is in none of the figures.
func TestWarmupIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := 0
		r := &load.Runner{
			Pacer: load.Constant(100), Duration: 2 * time.Second, Warmup: time.Second, Workers: 1, Patience: 50 * time.Second,
			Start: func(context.Context, int) (load.Op, error) {
				return load.Op{Do: func(context.Context) load.Result {
					time.Sleep(500 * time.Millisecond)
					return load.Result{}
				}, Counted: func(load.Result) { counted++ }}, nil
			},
		}
		total, _ := run(t, r)
		// What was due in the warm-up keeps the worker until 50 s; then it has 2 s more.
		if made := total.Operations(); made < 3 || made > 5 || made+total.Unsent != 100 || int64(counted) != made {
			t.Errorf("%d made, %d unsent of 100; %d were told that they count", made, total.Unsent, counted)
		}
		closed := &load.Runner{Duration: 3500 * time.Millisecond, Warmup: 500 * time.Millisecond, Workers: 10,
			Do: func(context.Context) error { time.Sleep(time.Second); return nil }}
		if total, _ = run(t, closed); math.Abs(total.Rate()-10) > 2 {
			t.Errorf("ten workers that need a second each: %v/s", total.Rate())
		}
	})
}

// Nor is the processor's time that the warm-up took.
func TestWarmupTakesNoCPU(t *testing.T) {
	begun := time.Now()
	r := &load.Runner{Duration: 400 * time.Millisecond, Warmup: 300 * time.Millisecond, Do: func(context.Context) error {
		for time.Since(begun) < 250*time.Millisecond {
		}
		timer := time.NewTimer(10 * time.Millisecond)
		<-timer.C
		return nil
	}}
	var total load.Interval
	for i := range r.Run(t.Context()) {
		total.Merge(i)
	}
	if total.Health.CPU > 150*time.Millisecond {
		t.Errorf("%v of CPU in a tenth of a second in which nothing was done", total.Health.CPU)
	}
}

// A run lasts as long as it was asked to: so the rate is over all of it.
func TestRateOfSlowSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &load.Runner{Pacer: load.Constant(0.5), Duration: 4 * time.Second, Do: func(context.Context) error { return nil }}
		if total, _ := run(t, r); total.Operations() != 2 || total.Rate() != 0.5 {
			t.Errorf("%d operations, %v/s", total.Operations(), total.Rate())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r = &load.Runner{Pacer: load.Constant(0.1), Duration: time.Minute, Sleep: sleep, Do: func(context.Context) error { return nil }}
		var total load.Interval
		for i := range r.Run(ctx) {
			total.Merge(i)
		}
		if total.Operations() != 1 || total.Unsent != 0 {
			t.Errorf("stopped when nothing was due: %d made, %d unsent", total.Operations(), total.Unsent)
		}
	})
}

// The rate is over the time of the schedule, and the throughput over all the time, the wait
// for the last operations included.
func TestRateThroughputAndWait(t *testing.T) {
	steady := func(d time.Duration) func(int, time.Time) time.Duration {
		return func(int, time.Time) time.Duration { return d }
	}
	// oneByOne is a server that makes five a second, and lets the others wait.
	oneByOne := func(n int, start time.Time) time.Duration {
		return time.Until(start.Add(time.Duration(n+1) * 200 * time.Millisecond))
	}
	straggler := func(n int, _ time.Time) time.Duration {
		return map[bool]time.Duration{n == 390: 10 * time.Second}[true]
	}
	for name, c := range map[string]struct {
		workers                int
		count                  int64
		seconds, asked         float64
		takes                  func(n int, start time.Time) time.Duration
		rate, throughput, wait float64
	}{
		"slow to answer":          {50, 0, 2, 20, steady(time.Second), 20, 40 / 2.95, 0.95},
		"slower than the run":     {50, 0, 2, 20, steady(5 * time.Second), 20, 40 / 6.95, 4.95},
		"by count":                {50, 40, 0, 20, steady(time.Second), 20, 40 / 2.95, 0.95},
		"one, by count":           {1, 1, 0, 20, steady(time.Second), 20, 1, 0.95},
		"one straggler":           {50, 0, 2, 200, straggler, 200, 400 / 11.95, 9.95},
		"one, and no more":        {50, 1, 0, 1, steady(time.Millisecond), 1, 1, 0},
		"too slow":                {50, 0, 2, 20, oneByOne, 20, 5, 6},                              // all start in time
		"too slow, and few":       {4, 0, 2, 20, oneByOne, 40 / 7.2, 5, 0.8},                       // the last one starts at 7.2 s
		"too slow, and one":       {1, 0, 2, 20, steady(200 * time.Millisecond), 40 / 7.8, 5, 0.2}, // at 7.8 s
		"a closed loop":           {1, 0, 2, 0, steady(900 * time.Millisecond), 3 / 2.7, 3 / 2.7, 0},
		"closed, ends on its own": {1, 3, 0, 0, steady(500 * time.Millisecond), 2, 2, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			made, start := new(atomic.Int64), time.Now()
			r := &load.Runner{Workers: c.workers, Count: c.count, Duration: time.Duration(c.seconds * 1e9), Do: func(context.Context) error {
				time.Sleep(c.takes(int(made.Add(1))-1, start))
				return nil
			}}
			if c.asked > 0 {
				r.Pacer = load.Constant(c.asked)
			}
			total, intervals := run(t, r)
			for figure, v := range map[string][2]float64{"rate": {total.Rate(), c.rate}, "throughput": {total.Throughput(), c.throughput}, "wait": {total.Wait.Seconds(), c.wait}} {
				if math.Abs(v[0]-v[1]) > 0.001*v[1]+1e-6 || total.Unsent > 0 {
					t.Errorf("%s: %s %v, want %v; %d in %v", name, figure, v[0], v[1], total.Operations(), total.End)
				}
			}
			for n, i := range intervals {
				if i.Wait < 0 || i.Wait > i.End-i.Start {
					t.Errorf("%s: interval %d is %v long, and its wait %v", name, n, i.End-i.Start, i.Wait)
				}
			}
		})
	}
}

// A closed loop has as many operations at once as it has workers, and begins the next
// one when the last has ended.
func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		r := &load.Runner{
			Duration: 10 * time.Second, Workers: 4,
			Do: func(context.Context) error {
				n := now.Add(1)
				defer now.Add(-1)
				most.Store(max(most.Load(), n))
				time.Sleep(100 * time.Millisecond)
				return nil
			},
		}
		total, _ := run(t, r)
		if total.Operations() != 400 || most.Load() != 4 || total.Rate() != 40 {
			t.Errorf("%d operations, %d at once, %v a second", total.Operations(), most.Load(), total.Rate())
		}
		if total.Latency.Max() != total.Service.Max() || total.StartDelay.Count() != 0 {
			t.Errorf("latency %v, service %v: in a closed loop nothing is due", total.Latency.Max(), total.Service.Max())
		}
	})
}

func TestCountWarmupAndRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		do := func(context.Context) error { made++; time.Sleep(10 * time.Millisecond); return nil }
		for name, c := range map[string]struct {
			r     load.Runner
			ops   int64
			all   int
			takes time.Duration
		}{
			"count":              {load.Runner{Count: 7}, 7, 7, 70 * time.Millisecond},
			"count, open":        {load.Runner{Count: 7, Pacer: load.Constant(10)}, 7, 7, 700 * time.Millisecond},
			"warm-up":            {load.Runner{Duration: 300 * time.Millisecond, Warmup: 100 * time.Millisecond}, 20, 30, 300 * time.Millisecond},
			"warm-up, open":      {load.Runner{Duration: 300 * time.Millisecond, Warmup: 100 * time.Millisecond, Pacer: load.Constant(50)}, 10, 15, 300 * time.Millisecond},
			"warm-up and count":  {load.Runner{Count: 5, Warmup: 100 * time.Millisecond}, 5, 15, 150 * time.Millisecond},
			"count and duration": {load.Runner{Count: 5000, Duration: 100 * time.Millisecond}, 10, 10, 100 * time.Millisecond},
			"count first":        {load.Runner{Count: 5, Duration: time.Minute}, 5, 5, 50 * time.Millisecond},
			"count first, open":  {load.Runner{Count: 5, Duration: time.Minute, Pacer: load.Constant(10)}, 5, 5, 500 * time.Millisecond},
			"duration first":     {load.Runner{Count: 500, Duration: time.Second, Pacer: load.Constant(5)}, 5, 5, time.Second},
		} {
			made = 0
			c.r.Do = do
			start := time.Now()
			total, _ := run(t, &c.r)
			if total.Operations() != c.ops || made != c.all || time.Since(start) != c.takes {
				t.Errorf("%s: %d of %d counted in %v, want %d of %d in %v", name, total.Operations(), made, time.Since(start), c.ops, c.all, c.takes)
			}
		}
		var begun []time.Duration
		start := time.Now()
		var mu sync.Mutex
		ramp := load.Runner{Workers: 4, Ramp: 4 * time.Second, Count: 4, Do: func(ctx context.Context) error {
			mu.Lock()
			begun = append(begun, time.Since(start))
			mu.Unlock()
			time.Sleep(time.Hour)
			return nil
		}}
		run(t, &ramp)
		if want := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}; !slices.Equal(begun, want) {
			t.Errorf("the workers began at %v, want %v", begun, want)
		}
	})
}

// What was due and could not be sent is counted.
func TestUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &load.Runner{
			Pacer: load.Constant(10), Duration: 10 * time.Second, Workers: 1, Patience: 5 * time.Second,
			Do: func(ctx context.Context) error { time.Sleep(time.Second); return nil },
		}
		start := time.Now()
		total, _ := run(t, r)
		// One a second, until 15 s; the one that began last ends then, too.
		if sum := total.Operations() + total.Unsent; sum != 100 || total.Operations() != 15 {
			t.Errorf("%d made and %d not, of 100", total.Operations(), total.Unsent)
		}
		if took := time.Since(start); took != 15*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Of what was due and could not be sent, that of the warm-up is not counted.
func TestUnsentOfWarmup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &load.Runner{
			Pacer: load.Constant(10), Duration: 2 * time.Second, Warmup: time.Second, Workers: 1, Patience: -1,
			Do: func(ctx context.Context) error { time.Sleep(10 * time.Second); return nil },
		}
		if total, _ := run(t, r); total.Unsent != 10 || total.Operations() != 0 {
			t.Errorf("%d made and %d not, of the 10 that count", total.Operations(), total.Unsent)
		}
	})
}

// The collector's pauses are the generator's, and told.
func TestCollections(t *testing.T) {
	r := &load.Runner{Count: 3, Do: func(context.Context) error { runtime.GC(); return nil }}
	var total load.Interval
	for i := range r.Run(t.Context()) {
		total.Merge(i)
	}
	if total.Health.GCs < 3 || total.Health.GCPause <= 0 {
		t.Errorf("%d collections, the longest pause %v", total.Health.GCs, total.Health.GCPause)
	}
}

func TestOutcomesAndPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		odd := errors.New("odd")
		n := 0
		r := &load.Runner{
			Count: 10,
			Start: func(context.Context, int) (load.Op, error) {
				phases := make([]load.Phase, 0, 2) // of all operations
				return load.Op{Do: func(context.Context) load.Result {
					n++
					phases = append(phases[:0], load.Phase{Name: "connect", Took: time.Duration(n) * time.Millisecond}, load.Phase{Name: "wait", Took: time.Second})
					time.Sleep(2 * time.Second)
					return load.Result{Err: []error{nil, odd}[n%2], Phases: phases}
				}}, nil
			},
			Timed: func(err error) bool { return err == nil },
		}
		total, _ := run(t, r)
		if total.Outcomes["ok"] != 5 || total.Outcomes["error"] != 5 || total.Latency.Count() != 5 {
			t.Errorf("%v, %d of them timed", total.Outcomes, total.Latency.Count())
		}
		connect, wait := total.Phases["connect"], total.Phases["wait"]
		if connect.Count() != 5 || !near(connect.Max(), 10*time.Millisecond) || !near(wait.Mean(), time.Second) || len(total.Phases) != 2 {
			t.Errorf("connect: %d, at most %v; wait: mean %v", connect.Count(), connect.Max(), wait.Mean())
		}
		r.Outcome = func(err error) string { return map[bool]string{true: "even", false: "odd"}[err == nil] }
		if total, _ = run(t, r); total.Outcomes["even"] != 5 || total.Outcomes["odd"] != 5 {
			t.Errorf("%v", total.Outcomes)
		}
	})
}

// Success says which outcomes succeeded.
func TestSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missing, broken := errors.New("not found"), errors.New("broken")
		var n atomic.Int64
		r := &load.Runner{Pacer: load.Constant(9), Duration: time.Second, Workers: 9, Do: func(context.Context) error {
			return []error{nil, missing, broken}[n.Add(1)%3]
		}}
		r.Outcome = func(err error) string {
			return map[error]string{nil: "200", missing: "404", broken: "ok"}[err]
		}
		for _, c := range []struct {
			success []string
			want    int64
		}{{nil, 3}, {[]string{"200", "404"}, 6}, {[]string{}, 0}} {
			r.Success = c.success
			if total, _ := run(t, r); total.Succeeded != c.want || total.Failed() != 9-c.want || total.Rate() != 9 || total.Throughput() != float64(c.want) {
				t.Errorf("%q: %d succeeded, %d failed, %v/s of %v/s, want %d", c.success, total.Succeeded, total.Failed(), total.Throughput(), total.Rate(), c.want)
			}
		}
	})
}

// What an operation does after its End is not part of its time, but keeps the worker busy.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &load.Runner{Duration: 10 * time.Second, Start: func(context.Context, int) (load.Op, error) {
			return load.Op{Do: func(ctx context.Context) load.Result {
				time.Sleep(400 * time.Millisecond)
				end := time.Now()
				time.Sleep(600 * time.Millisecond)
				return load.Result{End: end}
			}}, nil
		}}
		total, _ := run(t, r)
		if total.Operations() != 10 || !near(total.Service.Max(), 400*time.Millisecond) || !near(total.Latency.Mean(), 400*time.Millisecond) {
			t.Errorf("%d operations of %v", total.Operations(), total.Service.Max())
		}
	})
}

// If the operation of a worker cannot start, the run does not start, and those that have
// started are closed. The workers start before the clock does.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		var closed atomic.Int64
		op := load.Op{Do: func(context.Context) load.Result { return load.Result{} }, Close: func() { closed.Add(1) }}
		r := &load.Runner{Workers: 3, Count: 3, Start: func(ctx context.Context, worker int) (load.Op, error) {
			switch worker {
			case 1:
				return load.Op{}, refused
			case 2:
				<-ctx.Done() // as a connection that is not answered
				return load.Op{}, ctx.Err()
			}
			return op, nil
		}}
		record, err := r.Record(t.Context(), load.Meta{})
		if !errors.Is(err, refused) || err.Error() != "start worker 1: refused" || record != nil || closed.Load() != 1 {
			t.Errorf("%v, %v; %d closed", record, err, closed.Load())
		}
		r.Pacer, r.Start = load.Constant(1), func(context.Context, int) (load.Op, error) {
			time.Sleep(time.Minute)
			return op, nil
		}
		if total, _ := run(t, r); total.StartDelay.Max() != 0 || total.End != 3*time.Second || closed.Load() != 4 {
			t.Errorf("start delay %v, in %v; %d closed", total.StartDelay.Max(), total.End, closed.Load())
		}
	})
}

// Leaving the loop, and the end of the context, stop the run: operations under way are
// canceled, and when Run returns no goroutine is left (goleak).
func TestStop(t *testing.T) {
	for _, pacer := range []load.Pacer{nil, load.Constant(1000)} {
		var open atomic.Int64
		allOpen := func() {}
		ended := 0
		var mu sync.Mutex
		r := &load.Runner{
			Pacer: pacer, Workers: 5, Every: 10 * time.Millisecond,
			Start: func(context.Context, int) (load.Op, error) {
				do := func(ctx context.Context) load.Result {
					if open.Add(1) == 5 {
						allOpen()
					}
					defer open.Add(-1)
					<-ctx.Done()
					return load.Result{Err: ctx.Err()}
				}
				return load.Op{Do: do, Close: func() {
					mu.Lock()
					ended++
					mu.Unlock()
				}}, nil
			},
		}
		for range r.Run(t.Context()) {
			break
		}
		if open.Load() != 0 || ended != 5 {
			t.Errorf("%d operations go on, %d of 5 workers have ended", open.Load(), ended)
		}
		ctx, cancel := context.WithCancel(t.Context())
		allOpen = cancel
		var total load.Interval
		for i := range r.Run(ctx) {
			total.Merge(i)
		}
		if total.Outcomes["error"] != 5 {
			t.Errorf("what was under way when it was stopped: %+v", total.Outcomes)
		}
	}
}

// On this system's own clock a schedule is kept within a few milliseconds, and never
// begun early.
func TestRealClock(t *testing.T) {
	var early, begun atomic.Int64
	start := time.Now()
	r := &load.Runner{Pacer: load.Constant(500), Duration: 400 * time.Millisecond, Workers: 50, Do: func(context.Context) error {
		before := begun.Add(1) - 1
		if time.Since(start) < time.Duration(before)*2*time.Millisecond {
			early.Add(1)
		}
		return nil
	}}
	var total load.Interval
	for i := range r.Run(t.Context()) {
		total.Merge(i)
	}
	if total.Operations() != 200 || early.Load() > 0 {
		t.Errorf("%d of 200, %d of them early", total.Operations(), early.Load())
	}
	if total.Health.CPU <= 0 {
		t.Errorf("it used %v of CPU", total.Health.CPU)
	}
}

package load_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/load"
)

// A loop is an Engine that makes all operations in one goroutine. They are timers, as
// they would be descriptors with epoll.
type loop struct {
	takes func(at time.Duration) time.Duration
}

// An openOp is an operation under way.
type openOp struct {
	job load.Job
	end time.Time
	err error
}

func (loop) Name() string { return "loop" }

func (l loop) Run(ctx context.Context, s *load.Schedule, r *load.Recorder) error {
	if l.takes == nil {
		return errors.New("no server")
	}
	s.Start()
	log, start := r.Log(), time.Now()
	var open []openOp // the first to end first
	for {
		at, more := s.Next()
		for len(open) > 0 && !open[0].end.After(time.Now()) {
			log.Add(open[0].job, load.Result{Err: open[0].err, End: open[0].end, Phases: []load.Phase{{Name: "wait", Took: time.Millisecond}}})
			s.Done()
			open = open[1:]
		}
		free := more && len(open) < s.Workers()
		if free && (!at.After(time.Now()) || ctx.Err() != nil) {
			if job, ok := s.Take(); ok {
				open = append(open, openOp{job: job, end: time.Now().Add(l.takes(time.Since(start)))})
				slices.SortStableFunc(open, func(a, b openOp) int { return a.end.Compare(b.end) })
			}
			continue
		}
		switch {
		case len(open) > 0 && (!free || open[0].end.Before(at)):
			at = open[0].end
		case !more && !at.After(time.Now()):
			return nil
		}
		if sleep(ctx, at); ctx.Err() != nil { // the rest is canceled
			for n := range open {
				open[n].end, open[n].err = time.Now(), ctx.Err()
			}
		}
	}
}

// Two engines that have nothing in common measure the same, with the same schedule and
// recorder: when all is in time, when workers are few, by count, and in a closed loop.
func TestEngines(t *testing.T) {
	takes := func(at time.Duration) time.Duration {
		n := at / (10 * time.Millisecond)
		return (1 + n%7*n%13) * 10 * time.Millisecond
	}
	for name, r := range map[string]load.Runner{
		"in time":     {Pacer: load.Constant(90), Duration: 2 * time.Second, Workers: 1000},
		"poisson":     {Pacer: load.Poisson(90, 1), Duration: 2 * time.Second, Workers: 1000, Warmup: time.Second / 2},
		"few workers": {Pacer: load.Constant(90), Duration: 2 * time.Second, Workers: 20},
		"unsent":      {Pacer: load.Constant(90), Duration: 2 * time.Second, Workers: 5, Patience: time.Second},
		"by count":    {Pacer: load.Constant(90), Count: 77, Workers: 20},
		"closed":      {Duration: time.Second, Workers: 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			r.Every, r.Sleep = time.Second, sleep
			start := time.Now()
			r.Start = func(context.Context, int) (load.Op, error) {
				return load.Op{Do: func(context.Context) load.Result {
					time.Sleep(takes(time.Since(start)))
					return load.Result{Phases: []load.Phase{{Name: "wait", Took: time.Millisecond}}}
				}}, nil
			}
			want := measured(t, r)
			r.Engine = loop{takes}
			got := measured(t, r)
			if want.Engine != "go" || got.Engine != "loop" {
				t.Errorf("engines %q and %q", want.Engine, got.Engine)
			}
			a, b := load.Total(want.Intervals), load.Total(got.Intervals)
			type figures struct {
				Outcomes                 map[string]int64
				Queued, Unsent           int64
				End, Wait                time.Duration
				Latency, Service, Phases []load.Bar
			}
			of := func(i *load.Interval) figures {
				return figures{i.Outcomes, i.Queued, i.Unsent, i.End, i.Wait, i.Latency.Bars(), i.Service.Bars(), i.Phases["wait"].Bars()}
			}
			if diff := cmp.Diff(of(a), of(b)); diff != "" || a.Operations() == 0 {
				t.Errorf("%s: %s", name, diff)
			}
		})
	}
}

func measured(t *testing.T, r load.Runner) *load.Record {
	t.Helper()
	record, err := r.Record(t.Context(), load.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// An Engine that cannot start ends the run, and one that is stopped has what it has made.
func TestEngineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := load.Runner{Engine: loop{}, Duration: time.Second}
		if _, err := r.Record(t.Context(), load.Meta{}); err == nil || err.Error() != "no server" {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 995*time.Millisecond)
		defer cancel()
		r = load.Runner{Engine: loop{func(time.Duration) time.Duration { return 100 * time.Millisecond }}, Pacer: load.Constant(50), Workers: 10}
		record, err := r.Record(ctx, load.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		if total := load.Total(record.Intervals); total.Outcomes["ok"] != 45 || total.Outcomes["error"] != 5 {
			t.Errorf("%v", total.Outcomes)
		}
	})
}

// A run that is recorded needs nothing filled in by hand, and has enough intervals to be
// compared, whatever its length; each is as long as the others.
func TestRecordOfRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, seen := time.Now(), 0
		r := load.Runner{
			Pacer: load.Ramp(0, 100, time.Second), Duration: 3 * time.Second, Warmup: time.Second, Workers: 4, Success: []string{"200"}, Sleep: sleep,
			Do: func(context.Context) error { return nil }, Outcome: func(error) string { return "200" },
			Progress: func(*load.Interval) { seen++ },
		}
		record := measured(t, r)
		c := record.Config
		if !record.Started.Equal(start.Add(time.Second)) || record.Host.CPUs < 1 || len(record.IDs) != 1 || seen != len(record.Intervals) {
			t.Errorf("%+v, %d intervals seen", record, seen)
		}
		if c.Loop != "open" || c.Arrival != "constant" || c.RateRequested != 100 || c.Seconds != 2 || c.Warmup != 1 || c.Ramp != 1 || c.Connections != 4 || !c.IsSuccess("200") || c.IsSuccess("ok") {
			t.Errorf("%+v", c)
		}
		for name, of := range map[string]struct {
			r     load.Runner
			every time.Duration
		}{
			"2 s":             {load.Runner{Duration: 2 * time.Second}, 100 * time.Millisecond},
			"a minute":        {load.Runner{Duration: time.Minute, Pacer: load.Constant(0.1)}, time.Second},
			"by count":        {load.Runner{Pacer: load.Constant(100), Count: 400}, 200 * time.Millisecond},
			"not known":       {load.Runner{Count: 500}, 100 * time.Millisecond},
			"not known, long": {load.Runner{Count: 14_000}, 200 * time.Millisecond},
			"wished":          {load.Runner{Duration: 2 * time.Second, Every: 50 * time.Millisecond}, 50 * time.Millisecond},
		} {
			of.r.Sleep, of.r.Do = sleep, func(context.Context) error { time.Sleep(9 * time.Millisecond); return nil }
			record := measured(t, of.r)
			list := record.Intervals
			if len(list) < 20 || len(list) > 1200 {
				t.Errorf("%s: %d intervals", name, len(list))
			}
			for n, i := range list[:len(list)-1] {
				if i.End-i.Start != of.every {
					t.Errorf("%s: interval %d lasts %v, want %v", name, n, i.End-i.Start, of.every)
					break
				}
			}
		}
	})
}

package report_test

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/bothends/bothends/load"
)

// A simulation is a run without a server: latencies are log-normal, with a level that
// drifts from interval to interval as a busy machine's does (an autoregressive process
// of the first order), and now and then an interval in which something else ran.
type simulation struct {
	seed      uint64
	intervals int
	every     time.Duration
	rate      float64 // exchanges a second; a closed loop's follows the latency
	open      bool
	slower    float64 // all latencies times this; 0 is 1
	drift     float64 // standard deviation of the level, as a share of it
}

const (
	memory = 0.6  // how much of an interval's level is left in the next one
	stalls = 0.03 // the share of intervals that have one
)

func (s simulation) run() *load.Record {
	random := rand.New(rand.NewPCG(s.seed, 7))
	slower := s.slower
	if slower == 0 {
		slower = 1
	}
	r := &load.Record{
		Schema: load.RecordSchema, Started: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		Config: load.Config{Target: "127.0.0.1:1060", Loop: "closed", Connections: 4, RequestOctets: 16, ReplyOctets: 16, Seconds: float64(s.intervals) * s.every.Seconds()},
		Host:   load.Host{Name: "here", OS: "linux", Arch: "amd64", CPUs: 2, Go: "go1.26"},
	}
	if s.open {
		r.Config.Loop, r.Config.Arrival, r.Config.RateRequested = "open", "constant", s.rate
	}
	level := 0.0
	for n := range s.intervals {
		level = memory*level + math.Sqrt(1-memory*memory)*s.drift*random.NormFloat64()
		scale := slower * math.Exp(level)
		if random.Float64() < stalls {
			scale *= 1.5
		}
		i := &load.Interval{Start: time.Duration(n) * s.every, End: time.Duration(n+1) * s.every, Outcomes: map[string]int64{}, Phases: map[string]*load.Histogram{}}
		count := s.rate * s.every.Seconds()
		if !s.open {
			count /= scale
		}
		s.fill(i, random, int(count), scale)
		r.Intervals = append(r.Intervals, i)
	}
	return r
}

// fill makes the exchanges of an interval: half a millisecond in the median, and one
// of a hundred much longer.
func (s simulation) fill(i *load.Interval, random *rand.Rand, count int, scale float64) {
	connect, wait := new(load.Histogram), new(load.Histogram)
	for range count {
		d := 0.5e6 * scale * math.Exp(0.25*random.NormFloat64())
		if random.Float64() < 0.01 {
			d *= 4
		}
		i.Outcomes["ok"]++
		i.Succeeded++
		i.Latency.Record(time.Duration(d))
		i.Service.Record(time.Duration(d * 0.9))
		connect.Record(time.Duration(d / 3))
		wait.Record(time.Duration(d / 2))
		if s.open {
			i.StartDelay.Record(time.Duration(d / 10))
			i.SchedulingLag.Record(10 * time.Microsecond)
		}
	}
	i.Phases["connect"], i.Phases["wait"] = connect, wait
	i.Health = load.Health{CPU: s.every / 3, GCs: 1, GCPause: 40 * time.Microsecond}
}

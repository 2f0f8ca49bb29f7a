package report_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bothends/bothends/load"
)

var (
	longDir     = flag.String("long-dir", "", "where BenchmarkLongRecords writes its records")
	longSeconds = flag.Int("long-seconds", 3600, "how long their runs are")
	longCount   = flag.Int("long-count", 2, "number of records")
)

// distinct is the number of runs that differ; others have an ID of their own alone.
const distinct = 8

// BenchmarkLongRecords writes the records of runs with 1000 exchanges per second each, for
// test/long-records.sh. All have the same start.
func BenchmarkLongRecords(b *testing.B) {
	if *longDir == "" {
		b.Skip("needs -long-dir: it is of test/long-records.sh")
	}
	var records []*load.Record
	for n := range *longCount {
		if n < distinct {
			records = append(records, longRecord(uint64(n), *longSeconds))
		}
		r := *records[n%distinct]
		r.IDs, r.Host.Name = []string{load.NewID()}, fmt.Sprint("host", n)
		name := fmt.Sprintf("%d.json", n)
		if n < 2 {
			name = []string{"a.json", "b.json"}[n]
		}
		file, err := os.Create(filepath.Join(*longDir, name))
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Write(file); err != nil {
			b.Fatal(err)
		}
		if err := file.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// longRecord is a run of a thousand exchanges a second, with ten histograms each second
// and latencies from a tenth of a millisecond to 10 s.
func longRecord(seed uint64, seconds int) *load.Record {
	const rate = 1000
	r := simulation{open: true, rate: rate, every: time.Second}.run()
	r.Config.Seconds, r.IDs = float64(seconds), []string{load.NewID()}
	random := rand.New(rand.NewPCG(seed, 1))
	for n := range seconds {
		i := &load.Interval{
			Start: time.Duration(n) * time.Second, End: time.Duration(n+1) * time.Second,
			Outcomes: map[string]int64{"ok": rate}, Succeeded: rate, Phases: make(map[string]*load.Histogram),
			Health: load.Health{CPU: time.Second / 3, GCs: 1, GCPause: 40 * time.Microsecond},
		}
		histograms := []*load.Histogram{&i.Latency, &i.Service, &i.StartDelay, &i.SchedulingLag}
		for _, name := range []string{"resolve", "connect", "send", "wait", "receive", "close"} {
			i.Phases[name] = new(load.Histogram)
			histograms = append(histograms, i.Phases[name])
		}
		for range rate {
			d := 1e6 * math.Exp(0.5*random.NormFloat64())
			if random.Float64() < 0.01 {
				d *= 100 * random.Float64()
			}
			for k, h := range histograms {
				h.Record(time.Duration(d / float64(k+1)))
			}
		}
		i.Pack()
		r.Intervals = append(r.Intervals, i)
	}
	return r
}

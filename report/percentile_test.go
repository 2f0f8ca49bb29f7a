package report_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

// A percentile needs at least one measurement beyond its rank.
func TestTooFewAtItsEdges(t *testing.T) {
	for name, least := range map[string]int{"p50": 2, "p90": 10, "p99": 100, "p99.9": 1000, "p99.99": 10_000} {
		for _, n := range []int{least - 1, least, least + 1, 2*least - 1} {
			var h load.Histogram
			recordTimes(&h, time.Millisecond, n)
			r := &load.Record{Config: load.Config{Loop: "closed"}, Intervals: []*load.Interval{{End: time.Second, Outcomes: map[string]int64{"ok": int64(n)}, Succeeded: int64(n), Latency: h, Service: h}}}
			if few := slices.Contains(report.Summary(r).Latency.TooFew, name); few != (n < least) {
				t.Errorf("%d are too few for %s: %v", n, name, few)
			}
			var head, row []string
			for line := range strings.Lines(text(t, r, report.Style{})) {
				switch fields := strings.Fields(line); {
				case strings.HasPrefix(line, "ms "):
					head = fields
				case strings.HasPrefix(line, "latency ") || strings.HasPrefix(line, "service "):
					row = fields
				}
			}
			if at := slices.Index(head, name); at < 0 || at >= len(row) || (row[at] == "-") != (n < least) {
				t.Errorf("%s of %d: %q\n%q", name, n, head, row)
			}
		}
	}
}

// Of 6,060 exchanges p99 is the 6,000th, since 0.99 times their number is 5999.4. The 5,999
// shortest take 2 ms.
func TestPercentilesRoundUp(t *testing.T) {
	var runs []report.Run
	for _, name := range []string{"a", "b"} {
		r := simulation{intervals: 8, every: time.Second, rate: 10}.run()
		for n, i := range r.Intervals {
			fast, slow := 750, 8
			if n == 0 {
				fast, slow = 749, 5
			}
			i.Latency = load.Histogram{}
			recordTimes(&i.Latency, 2*time.Millisecond, fast)
			recordTimes(&i.Latency, 300*time.Millisecond, slow)
			i.Outcomes, i.Succeeded, i.Service, i.Phases = map[string]int64{"ok": int64(fast + slow)}, int64(fast+slow), i.Latency, map[string]*load.Histogram{"wait": &i.Latency}
		}
		runs = append(runs, report.Run{Name: name, Record: r})
	}
	f := report.Summary(runs[0].Record)
	for name, s := range map[string]*report.Spread{"latency": f.Latency, "service": f.Service, "wait": f.Phases["wait"]} {
		if *s.P99 < 0.299 || *s.P90 > 0.003 {
			t.Errorf("%s: p90 %v, p99 %v", name, *s.P90, *s.P99)
		}
	}
	c := compared(t, runs[0], runs[1], 0)
	if p90, p99 := c.Metrics[3], c.Metrics[4]; p90.A > 0.003 || p99.A < 0.299 || p99.B < 0.299 {
		t.Errorf("compare: p90 %v, p99 %v", p90.A, p99.A)
	}
}

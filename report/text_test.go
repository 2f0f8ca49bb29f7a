package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

func text(t *testing.T, r *load.Record, s report.Style) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Text(&b, r, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// frozen is the run that CONTRIBUTING's models tell of: a hundred a second for eight
// seconds, and a server that stood still for two of them.
func frozen() *load.Record {
	r := &load.Record{
		Schema: load.RecordSchema, Engine: "go", Started: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		Config: load.Config{Target: "127.0.0.1:1060", Loop: "open", Arrival: "constant", RateRequested: 100, Connections: 10, PerConnection: 1, RequestOctets: 16, ReplyOctets: 16, Seconds: 8},
		Host:   load.Host{OS: "linux", Arch: "amd64", CPUs: 2, Go: "go1.26"},
	}
	for second := range 8 {
		i := &load.Interval{Start: time.Duration(second) * time.Second, End: time.Duration(second+1) * time.Second, Outcomes: make(map[string]int64)}
		for n := range 100 {
			latency, service := time.Millisecond, time.Millisecond
			if due := second*100 + n; due >= 300 && due < 500 {
				latency = time.Duration(500-due) * 10 * time.Millisecond
				if due < 310 {
					service = latency
				}
			}
			i.Outcomes["ok"]++
			i.Succeeded++
			i.Latency.Record(latency)
			i.Service.Record(service)
			i.StartDelay.Record(latency - service)
			i.SchedulingLag.Record(20 * time.Microsecond)
		}
		r.Intervals = append(r.Intervals, i)
	}
	r.Intervals[4].Queued = 190
	return r
}

// tailed is a run of eight seconds at a hundred a second against a server that answers
// after a second: all it has is a second later, and the ninth second is a wait.
func tailed() *load.Record {
	r := frozen()
	for n := range 9 {
		i := &load.Interval{Start: time.Duration(n) * time.Second, End: time.Duration(n+1) * time.Second, Outcomes: make(map[string]int64)}
		if n > 0 {
			recordTimes(&i.Latency, time.Second, 100)
			recordTimes(&i.Service, time.Second, 100)
			recordTimes(&i.SchedulingLag, 20*time.Microsecond, 100)
			i.Outcomes["ok"], i.Succeeded = 100, 100
		}
		r.Intervals = append(r.Intervals[:n], i)
	}
	r.Intervals[8].Wait = time.Second
	return r
}

// The rate is over the time of the schedule, and the throughput over all the time, in the
// text, the JSON, the page and a comparison.
func TestWait(t *testing.T) {
	r := tailed()
	const throughput = 800.0 / 9
	if got := strings.Join(strings.Fields(text(t, r, report.Style{})), " "); !strings.Contains(got, "throughput 88.9/s succeeded, with a wait of 1.00 s for the last replies rate 100/s of 100/s requested, 800 exchanges in 9.00 s outcomes ") {
		t.Error(got)
	}
	if got := text(t, r, report.Style{}); strings.Count(got, strings.Repeat("█", 48)+"\n") != 8 { // four rows of eight columns, twice
		t.Errorf("a chart leaves out what ended in the wait\n%s", got)
	}
	if f := report.Summary(r); f.Rate != 100 || math.Abs(f.Throughput-throughput) > 1e-6 || f.Seconds != 9 || f.Wait != 1 || len(f.Generator.Limits) > 0 {
		t.Errorf("%v/s, %v/s ok, %v s, wait %v, %q", f.Rate, f.Throughput, f.Seconds, f.Wait, f.Generator.Limits)
	}
	var page bytes.Buffer
	if err := report.HTML(&page, []report.Run{{Name: "tailed", Record: r}}); err != nil || !strings.Contains(page.String(), "<b>88.9/s</b>") || !strings.Contains(page.String(), "<dt>wait</dt><dd>1.00 s</dd>") || !strings.Contains(page.String(), `"rate":[0,100,100,100,100,100,100,100,100,100]`) {
		t.Errorf("%v: the page has other figures", err)
	}
	runs := []report.Run{{Name: "a", Record: r}, {Name: "b", Record: frozen()}}
	c, err := report.Compare(runs[0], runs[1], 0)
	if err != nil || math.Abs(c.Metrics[0].A-throughput) > 1e-6 || c.Metrics[0].B != 100 {
		t.Errorf("%v, %+v", err, c)
	}
	slices := slices.Repeat(runs[:1], 8)
	if c, err = report.CompareTurns(slices, slices, 0); err != nil || math.Abs(c.Metrics[0].A-throughput) > 1e-6 {
		t.Errorf("%v, %+v", err, c)
	}
}

// How long a random schedule is by count is nobody's fault.
func TestPoissonByCount(t *testing.T) {
	r := frozen()
	r.Intervals[4].Queued, r.Intervals[7].End = 0, 12*time.Second
	r.Config.Seconds, r.Config.Arrival = 0, "poisson"
	if got := report.Summary(r).Generator.Limits; len(got) > 0 {
		t.Errorf("%q", got)
	}
	r.Intervals[0].Unsent = 20
	if got := report.Summary(r).Generator.Limits; len(got) != 1 {
		t.Errorf("what was never sent: %q", got)
	}
	r.Intervals[0].Unsent, r.Config.Arrival = 0, "constant"
	if got := report.Summary(r).Generator.Limits; len(got) != 1 || !strings.Contains(got[0], "the rate was 20.0 % below the requested rate") {
		t.Errorf("an even one has a length: %q", got)
	}
}

func TestText(t *testing.T) {
	want := `open loop, 100/s requested, constant arrival, latency from due time

target      127.0.0.1:1060, 16 octets sent, 16 received
connections 10 maximum, one exchange per connection
host        linux/amd64, 2 CPUs, go1.26, 2026-11-01 12:00:00 UTC
throughput  100/s succeeded
rate        100/s of 100/s requested, 800 exchanges in 8.00 s
outcomes    ok 800 (100.00 %)
queued      190 exchanges waited for a connection (included in latency)

ms             mean      p50      p90      p99    p99.9   p99.99      max
latency     252.000    1.000 1200.620 1920.991        -        - 2000.683
service      25.426    1.000    1.000 1920.991        -        - 2000.683
lag           0.020    0.020    0.020    0.020        -        -    0.020
generator   0.00 CPU cores
-           fewer than 1 of 800 samples is above this percentile
`
	got := text(t, frozen(), report.Style{})
	if diff := cmp.Diff(want, got[:min(len(got), len(want))]); diff != "" {
		t.Error(diff)
	}
	for _, plot := range []string{"≤  2000.683 ms ", "throughput over time", "latency over time, ms, p99 of each column"} {
		if !strings.Contains(got, plot) {
			t.Errorf("no %q in\n%s", plot, got)
		}
	}
}

// Seconds of fewer than a hundred exchanges have no p99 of their own.
func TestTextOfFew(t *testing.T) {
	got := text(t, simulation{intervals: 4, every: time.Second, rate: 99, open: true}.run(), report.Style{})
	if !strings.Contains(got, "latency over time, ms, max of each column") {
		t.Error(got)
	}
}

// Whatever a run was, its text is 80 columns wide, and ASCII alone where asked.
func TestTextFits(t *testing.T) {
	records := []*load.Record{
		frozen(), {Config: load.Config{Loop: "closed"}},
		simulation{seed: 1, intervals: 100, every: time.Second / 10, rate: 3000, drift: 0.05}.run(),
		simulation{seed: 1, intervals: 1, every: time.Second, rate: 12345, open: true}.run(),
	}
	long := simulation{seed: 2, intervals: 7, every: time.Second, rate: 1234.5, open: true}.run()
	long.Config.Label, long.Config.Target = strings.Repeat("label ", 33)+"85 %", "[2001:db8:0:0:0:0:0:1]:1060"
	long.Config.Hold, long.Config.Fault, long.Config.FaultShare, long.Config.PerConnection = 10000, "drip:3/5ms", 0.125, 7
	long.Intervals[0].Outcomes["unreachable"], long.Intervals[0].Unsent, long.Intervals[0].Queued = 1234567890, 1e9, 1e9
	long.Intervals[0].Latency.Record(time.Hour)
	long.Intervals[0].Phases["connect"].Record(time.Hour)
	long.Kernel = &load.Kernel{Connections: 1e6, Retransmissions: 12345}
	long.Kernel.RTT.Record(time.Second)
	records = append(records, long)
	for n, r := range records {
		for line := range strings.Lines(text(t, r, report.Style{})) {
			if columns := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); columns > 80 {
				t.Errorf("record %d, %d columns: %s", n, columns, line)
			}
			if first := strings.Trim(line, " ()%.,\n"); first == "" && len(line) > 1 || first == "ms" {
				t.Errorf("record %d, a unit without its number: %q", n, line)
			}
		}
		plain := text(t, r, report.Style{ASCII: true})
		if at := strings.IndexFunc(plain, func(r rune) bool { return r > '~' }); at >= 0 {
			t.Errorf("record %d, no ASCII: %q", n, plain[at:at+3])
		}
	}
	seconds := simulation{seed: 3, intervals: 50, every: time.Second, rate: 100, open: true}.run()
	for _, width := range []int{40, 60} {
		for line := range strings.Lines(text(t, seconds, report.Style{Width: width})) {
			line = strings.TrimSuffix(line, "\n")
			if columns := utf8.RuneCountInString(line); columns > width && strings.ContainsAny(line, "█≤") {
				t.Errorf("%d columns of %d: %s", columns, width, line)
			}
		}
	}
	for _, want := range []string{"1000000 connections, 12345 retransmissions", "were due but never sent: 1000000000.", "fault drip:3/5ms on 12.50 % of", "7 exchanges per connection"} {
		if got := strings.Join(strings.Fields(text(t, long, report.Style{})), " "); !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

func TestTextColor(t *testing.T) {
	r := frozen()
	r.Intervals[0].Outcomes["timeout"] = 8
	got := text(t, r, report.Style{Color: true})
	for _, want := range []string{"\x1b[1mopen loop", "\x1b[32mok ", "\x1b[1;31mtimeout ", "\x1b[33m190 exchanges waited"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// A record may come from anybody: it cannot drive the terminal.
func TestTextOfHostileRecord(t *testing.T) {
	r := frozen()
	evil := "\x1b]0;evil\a\x1b[2J\n"
	r.Config.Label, r.Config.Target, r.Config.Fault, r.Config.Arrival, r.Host.Name = evil, evil, evil, evil, evil
	r.Intervals[0].Outcomes[evil] = 1
	r.Intervals[0].Phases = map[string]*load.Histogram{evil: &r.Intervals[0].SchedulingLag}
	if got := text(t, r, report.Style{}); strings.ContainsAny(got, "\x1b\a") {
		t.Errorf("%q", got)
	}
}

// The generator is named as the limit for each reason, and for none of the server's.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*load.Record)
		want   []string
	}{
		"nothing":                        {func(*load.Record) {}, nil},
		"late":                           {func(r *load.Record) { late(r, 0, 100, 150*time.Microsecond) }, []string{"of latency p50 (13 %)"}},
		"late, as far as figures show":   {func(r *load.Record) { late(r, 0, 100, 100*time.Microsecond) }, nil},
		"late for its server":            {func(r *load.Record) { late(r, 0, 100, 2*time.Millisecond) }, []string{"of latency p50 (67 %)"}},
		"some late":                      {func(r *load.Record) { late(r, 98, 100, 1500*time.Microsecond) }, []string{"of latency p99 (60 %)"}},
		"some late, as on every machine": {func(r *load.Record) { late(r, 98, 100, 900*time.Microsecond) }, nil},
		"late behind a slow server": {func(r *load.Record) {
			recordTimes(&r.Intervals[0].SchedulingLag, time.Second, 100)
		}, []string{"scheduling lag makes up 1.00 s of the 1.20 s of latency p90 (83 %)"}},
		"this machine":        {func(r *load.Record) { r.Intervals[0].Outcomes[load.Local] = 3 }, []string{"3 exchanges failed because of a limit of this machine"}},
		"busy":                {func(r *load.Record) { r.Intervals[0].Health.CPU = 15 * time.Second }, []string{"it used 1.88 of the 2 CPUs available"}},
		"unsent":              {func(r *load.Record) { r.Intervals[0].Unsent, r.Intervals[4].Queued = 20, 0 }, []string{"the rate was 2.4 % below the requested rate"}},
		"unsent, queued":      {func(r *load.Record) { r.Intervals[0].Unsent = 20 }, nil},
		"longer":              {func(r *load.Record) { r.Intervals[7].End += 4 * time.Second; r.Intervals[4].Queued = 0 }, []string{"the rate was 20.0 % below the requested rate"}},
		"the last one longer": {func(r *load.Record) { r.Intervals[7].End += 2 * time.Second; r.Intervals[4].Queued = 0 }, nil},
		"both": {func(r *load.Record) {
			r.Intervals[0].Health.CPU = 16 * time.Second
			recordTimes(&r.Intervals[0].SchedulingLag, time.Second, 100)
		}, []string{"scheduling lag makes up 1.00 s", "it used 2.00"}},
	} {
		r := frozen()
		c.change(r)
		got := report.Summary(r).Generator.Limits
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
			continue
		}
		for n := range got {
			if !strings.Contains(got[n], c.want[n]) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		if warned := strings.Contains(text(t, r, report.Style{}), "WARNING"); warned != (len(c.want) > 0) {
			t.Errorf("%s: the text has a warning: %v", name, warned)
		}
	}
}

// late makes a run against a server that takes 1 ms, without a stall. The lag of those from
// one number to another, of each hundred exchanges, is d.
func late(r *load.Record, from, to int, d time.Duration) {
	for _, i := range r.Intervals {
		*i = load.Interval{Start: i.Start, End: i.End, Outcomes: map[string]int64{"ok": 100}, Succeeded: 100}
		recordTimes(&i.Service, time.Millisecond, 100)
		recordTimes(&i.Latency, time.Millisecond, 100-(to-from))
		recordTimes(&i.SchedulingLag, 0, 100-(to-from))
		recordTimes(&i.Latency, time.Millisecond+d, to-from)
		recordTimes(&i.SchedulingLag, d, to-from)
	}
}

func recordTimes(h *load.Histogram, d time.Duration, times int) {
	for range times {
		h.Record(d)
	}
}

// What succeeded is what the record says, whatever its outcomes are called.
func TestOutcomesByOtherNames(t *testing.T) {
	r := frozen()
	for _, i := range r.Intervals {
		i.Outcomes = map[string]int64{"200": 90, "404": 10}
		i.Succeeded = 90
	}
	r.Config.Success = []string{"200"}
	if got := text(t, r, report.Style{Color: true}); !strings.Contains(got, "\x1b[32m200 720 (90.00 %)") || !strings.Contains(got, "\x1b[1;31m404 80 (10.00 %)") {
		t.Error(got)
	}
	r.Config.Success = []string{"404"}
	if got := text(t, r, report.Style{}); !strings.Contains(got, "outcomes    404 80") {
		t.Errorf("success is not the first:\n%s", got)
	}
	if f := report.Summary(r); f.Throughput != 90 || f.Rate != 100 {
		t.Errorf("%v/s of %v/s, want 90 of 100", f.Throughput, f.Rate)
	}
}

// The headline and the chart are of what succeeded, and failures stand beside.
func TestTextOfFailures(t *testing.T) {
	r := frozen()
	for n, i := range r.Intervals {
		if n >= 4 { // the server is dead, and each connection is refused at once
			*i = load.Interval{Start: i.Start, End: i.End, Outcomes: map[string]int64{"refused": 5000}, BackOffs: 10, BackedOff: time.Second}
		}
	}
	got := text(t, r, report.Style{ASCII: true})
	for _, want := range []string{
		"\nrate        2550/s of 100/s requested, 20400 exchanges in 8.00 s\n",
		"\nthroughput  50/s succeeded, 2500/s failed\n",
		"\noutcomes    ok 400 (1.96 %)\n            refused 20000 (98.04 %)\n",
		"\nbacked off  40 waits after failures that came at once, 5.00 % of the time of all\n            connections\n",
		"\nthroughput over time, successful exchanges per second\n         100 " + strings.Repeat("#", 28) + "\n",
		"\nfailures over time, exchanges per second\n        5000 " + strings.Repeat(" ", 28) + strings.Repeat("#", 28) + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := text(t, frozen(), report.Style{}); strings.Contains(got, "fail") || strings.Contains(got, "backed off") {
		t.Errorf("failures, where there are none:\n%s", got)
	}
}

// The names of the contract, and their values.
func TestSummary(t *testing.T) {
	r := frozen()
	r.Intervals[0].Outcomes["timeout"] = 8
	r.Intervals[0].Phases = map[string]*load.Histogram{"connect": new(load.Histogram)}
	r.Intervals[0].Phases["connect"].Record(time.Millisecond)
	text, err := json.Marshal(report.Summary(r))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"schema": "bothends.load/v2", "loop": "open", "connections": 10.0, "rate_requested": 100.0, "rate": 101.0, "throughput": 100.0, "exchanges": 808.0,
		"seconds": 8.0, "outcomes": map[string]any{"ok": 800.0, "timeout": 8.0},
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	latency := got["latency"].(map[string]any)
	for _, name := range []string{"mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"} {
		for _, of := range []any{latency, got["service"], got["phases"].(map[string]any)["connect"]} {
			if v, ok := of.(map[string]any)[name].(float64); !ok || v <= 0 {
				t.Errorf("%s: %v in %v", name, v, of)
			}
		}
	}
	if v := latency["p99"].(float64); v < 1.91 || v > 1.93 {
		t.Errorf("p99 %v", v)
	}
	if diff := cmp.Diff([]any{"p99.9", "p99.99"}, latency["too_few"]); diff != "" {
		t.Error(diff)
	}
	if g := got["generator"].(map[string]any); g["engine"] != "go" || g["scheduling_lag"].(map[string]any)["p99"] == nil || g["cpu"] != 0.0 || !slices.Equal(g["limits"].([]any), []any{}) {
		t.Errorf("%v", g)
	}
	if text, err = json.Marshal(report.Summary(&load.Record{}).Latency); err != nil || !strings.HasPrefix(string(text), `{"count":0,"mean":null,"p50":null,`) {
		t.Errorf("without a measurement: %s, %v", text, err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestTextErrors(t *testing.T) {
	if err := report.Text(broken{}, frozen(), report.Style{}); err == nil {
		t.Error("it does not tell what it could not write")
	}
}

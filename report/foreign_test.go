package report_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"testing"
	"time"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

// useAll calls every function of the package with runs. None of them may panic, and
// figures can always be written as JSON.
func useAll(t *testing.T, runs []report.Run) {
	t.Helper()
	report.HTML(io.Discard, runs)
	for _, put := range []func([]report.Run) (*load.Record, []string, error){report.Merge, report.Concat} {
		if merged, _, err := put(runs); err == nil {
			report.Text(io.Discard, merged, report.Style{})
		}
	}
	for _, a := range runs {
		report.Text(io.Discard, a.Record, report.Style{ASCII: true})
		if _, err := json.Marshal(report.Summary(a.Record)); err != nil {
			t.Errorf("summary of %s: %v", a.Name, err)
		}
		if c, err := report.Compare(a, runs[len(runs)-1], 0); err == nil {
			c.Text(report.Style{})
			if _, err := json.Marshal(c); err != nil {
				t.Errorf("comparison of %s: %v", a.Name, err)
			}
		}
	}
	if c, err := report.CompareTurns(runs, runs, 0); err == nil {
		c.Text(report.Style{})
	}
	new(report.Comparison).Text(report.Style{})
}

// foreign returns runs that lack parts, or have odd ones, as a program may make them.
func foreign() map[string]*load.Record {
	changed := func(change func(*load.Record)) *load.Record {
		r := frozen()
		change(r)
		return r
	}
	each := func(change func(*load.Interval)) *load.Record {
		return changed(func(r *load.Record) {
			for _, i := range r.Intervals {
				change(i)
			}
		})
	}
	return map[string]*load.Record{
		"nil":            nil,
		"zero":           new(load.Record),
		"frozen":         frozen(),
		"zero intervals": changed(func(r *load.Record) { r.Intervals = []*load.Interval{{}, {}, {}} }),
		"nil intervals":  changed(func(r *load.Record) { r.Intervals = make([]*load.Interval, 20) }),
		"one nil":        changed(func(r *load.Record) { r.Intervals[3] = nil }),
		"no outcomes":    each(func(i *load.Interval) { i.Outcomes = nil }),
		"empty outcomes": each(func(i *load.Interval) { i.Outcomes = map[string]int64{"ok": 0, "reset": 0, "": 0} }),
		"nothing":        each(func(i *load.Interval) { *i = load.Interval{Start: i.Start, End: i.End} }),
		"no latency":     each(func(i *load.Interval) { i.Latency = load.Histogram{} }),
		"no service":     each(func(i *load.Interval) { i.Service = load.Histogram{} }),
		"zero latency":   each(func(i *load.Interval) { i.Latency = load.Histogram{}; i.Latency.Record(0) }),
		"nil phase":      each(func(i *load.Interval) { i.Phases = map[string]*load.Histogram{"connect": nil} }),
		"no time":        each(func(i *load.Interval) { i.End = i.Start }),
		"backwards":      each(func(i *load.Interval) { i.Start, i.End = i.End, i.Start }),
		"all wait":       each(func(i *load.Interval) { i.Wait = time.Hour }),
		"negative":       each(func(i *load.Interval) { i.Succeeded, i.Unsent, i.Queued, i.Outcomes["ok"] = -1, -1, -1, -1 }),
		"no success":     each(func(i *load.Interval) { i.Succeeded = 0 }),
		"long":           each(func(i *load.Interval) { i.End += math.MaxInt64 / 4 }),
		"far apart":      changed(func(r *load.Record) { r.Intervals[7].Start, r.Intervals[7].End = math.MaxInt64-2, math.MaxInt64-1 }),
		"odd config": changed(func(r *load.Record) {
			r.Config = load.Config{RateRequested: math.MaxFloat64, Seconds: math.MaxFloat64, Ramp: -1, Connections: -1, Loop: "round"}
		}),
		"no CPU":       changed(func(r *load.Record) { r.Host.CPUs = -1 }),
		"long ago":     changed(func(r *load.Record) { r.Started = time.Time{} }),
		"empty kernel": changed(func(r *load.Record) { r.Kernel = &load.Kernel{Connections: 4} }),
	}
}

// Whatever a record lacks, no function panics.
func TestForeignRecords(t *testing.T) {
	useAll(t, nil)
	var all []report.Run
	for name, r := range foreign() {
		t.Run(name, func(t *testing.T) {
			run := report.Run{Name: name, Record: r}
			useAll(t, []report.Run{run, {Name: "frozen", Record: frozen()}})
			if _, err := report.CompareTurns([]report.Run{run, run, run, run, run, run, run, run}, []report.Run{run, run, run, run, run, run, run, run}, -1); err == nil && r == nil {
				t.Error("runs without a record are compared")
			}
		})
		all = append(all, report.Run{Name: name, Record: r})
	}
	if err := report.HTML(io.Discard, all); err != nil {
		t.Error(err)
	}
}

// FuzzRecord reads any record, and uses what is accepted.
func FuzzRecord(f *testing.F) {
	var b bytes.Buffer
	r := frozen()
	r.Intervals = r.Intervals[:2]
	if err := r.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add(`{"schema":"bothends.load-record/v1","intervals":[{"end":1},{"start":1,"end":2,"outcomes":{"ok":1}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := load.ReadRecord(bytes.NewReader([]byte(text)))
		if err != nil {
			return
		}
		useAll(t, []report.Run{{Name: "a", Record: r}, {Name: "b", Record: frozen()}})
		var again bytes.Buffer
		if err := r.Write(&again); err != nil {
			t.Fatal(err)
		}
		if _, err := load.ReadRecord(&again); err != nil {
			t.Errorf("what was read and written cannot be read: %v", err)
		}
	})
}

package report_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

// written is a record as JSON, which says all of it, to the last count.
func written(t *testing.T, r *load.Record) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A deal makes the same exchanges into one record and into four, as if four machines
// had shared them.
func deal() (whole *load.Record, parts []report.Run) {
	empty := func(connections int, rate float64) *load.Record {
		r := frozen()
		r.Intervals, r.Config.Connections, r.Config.RateRequested, r.Host.CPUs = nil, connections, rate, 2
		r.Kernel = &load.Kernel{Connections: int64(connections), Retransmissions: int64(connections)}
		return r
	}
	whole = empty(40, 400)
	whole.Host.CPUs = 8
	for n := range 4 {
		parts = append(parts, report.Run{Name: fmt.Sprintf("%c.json", 'a'+n), Record: empty(10, 100)})
	}
	for second := range 8 {
		interval := func() *load.Interval {
			return &load.Interval{Start: time.Duration(second) * time.Second, End: time.Duration(second+1) * time.Second, Outcomes: map[string]int64{}, Phases: map[string]*load.Histogram{"wait": new(load.Histogram)}}
		}
		all := interval()
		whole.Intervals = append(whole.Intervals, all)
		for n, p := range parts {
			part := interval()
			p.Intervals = append(p.Intervals, part)
			for k := range 500 {
				d := time.Duration((k*k+1)*(n+1)*(second+1)) * time.Microsecond
				for _, i := range []*load.Interval{all, part} {
					i.Outcomes[[]string{"ok", "ok", "timeout", "ok"}[k%4]]++
					if k%4 != 2 {
						i.Succeeded++
					}
					i.Latency.Record(d)
					i.Service.Record(d / 2)
					i.StartDelay.Record(d / 3)
					i.SchedulingLag.Record(d / 100)
					i.Phases["wait"].Record(d / 4)
				}
			}
			for _, i := range []*load.Interval{all, part} {
				i.Queued += int64(n)
				i.Unsent++
				i.Health.CPU += time.Second / 10
				i.Health.GCs++
			}
		}
	}
	return whole, parts
}

// Four parts are the whole, histogram for histogram and count for count.
func TestMergeOfFourPartsEqualsTheWhole(t *testing.T) {
	whole, parts := deal()
	merged, notes, err := report.Merge(parts)
	if err != nil || len(notes) != 0 {
		t.Fatalf("%v, %q", err, notes)
	}
	if len(merged.IDs) != 4 {
		t.Errorf("the IDs of four runs: %q", merged.IDs)
	}
	whole.IDs = merged.IDs
	if diff := cmp.Diff(written(t, whole), written(t, merged)); diff != "" {
		t.Error(diff)
	}
	for n := range whole.Intervals {
		a, b := whole.Intervals[n], merged.Intervals[n]
		for name, h := range map[string][2]*load.Histogram{"latency": {&a.Latency, &b.Latency}, "service": {&a.Service, &b.Service}, "late": {&a.StartDelay, &b.StartDelay}, "own": {&a.SchedulingLag, &b.SchedulingLag}, "wait": {a.Phases["wait"], b.Phases["wait"]}} {
			if diff := cmp.Diff(h[0].Bars(), h[1].Bars()); diff != "" {
				t.Errorf("second %d, %s: %s", n, name, diff)
			}
		}
	}
	if a, b := text(t, whole, report.Style{}), text(t, merged, report.Style{}); a != b {
		t.Error(cmp.Diff(a, b))
	}
	if parts[0].Intervals[0].Latency.Count() != 500 {
		t.Error("the parts were changed")
	}
}

// A run that was cut into parts in time, whichever way they count their time and in
// whichever order they come.
func TestConcatOfFourPartsEqualsTheWhole(t *testing.T) {
	for _, own := range []bool{false, true} {
		whole := simulation{seed: 3, intervals: 12, every: time.Second, rate: 500, drift: 0.05}.run()
		var parts []report.Run
		for n, some := range slices.Collect(slices.Chunk(whole.Intervals, 3)) {
			part := *whole
			part.Config.Seconds = 3
			part.Intervals = nil
			for _, i := range some {
				copied := *i
				if own {
					copied.Start -= some[0].Start
					copied.End -= some[0].Start
				}
				part.Intervals = append(part.Intervals, &copied)
			}
			if own {
				part.Started = part.Started.Add(some[0].Start)
			}
			parts = append(parts, report.Run{Name: string(rune('a' + n)), Record: &part})
		}
		parts[1], parts[3] = parts[3], parts[1]
		joined, notes, err := report.Concat(parts)
		if err != nil || len(notes) != 0 {
			t.Fatalf("%v, %q", err, notes)
		}
		whole.IDs = joined.IDs
		if diff := cmp.Diff(written(t, whole), written(t, joined)); diff != "" {
			t.Error(diff)
		}
		if _, _, err := report.Merge(parts); err == nil || !strings.Contains(err.Error(), "no time in common: d started 6.00 s after a had ended") {
			t.Errorf("parts of different times, side by side: %v", err)
		}
	}
}

func TestConcatLeavesOutTheTimeBetween(t *testing.T) {
	a, b := frozen(), frozen()
	b.Started = b.Started.Add(20 * time.Second)
	joined, notes, err := report.Concat([]report.Run{{Name: "b", Record: b}, {Name: "a", Record: a}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"left out: 12.0 s between a and b"}, notes); diff != "" {
		t.Error(diff)
	}
	if total := load.Total(joined.Intervals); total.End != 16*time.Second || total.Operations() != 1600 || joined.Config.Seconds != 16 || joined.Config.RateRequested != 100 || joined.Config.Connections != 10 {
		t.Errorf("%v, %d operations, %+v", total.End, total.Operations(), joined.Config)
	}
	b.Started = a.Started.Add(3 * time.Second)
	if _, _, err := report.Concat([]report.Run{{Name: "a", Record: a}, {Name: "b", Record: b}}); err == nil || !strings.Contains(err.Error(), "b started 5.00 s before a had ended") {
		t.Errorf("runs that overlap, one behind another: %v", err)
	}
}

// Machines that do not begin at the same time have their common seconds added, and
// it is said what was left out.
func TestMergeOfShiftedRuns(t *testing.T) {
	for shift, want := range map[time.Duration][]string{
		3 * time.Second:         {"left out: 3.00 s at the start of a, 300 exchanges", "left out: 3.00 s at the end of b, 300 exchanges"},
		3400 * time.Millisecond: {"left out: 3.00 s at the start of a, 300 exchanges", "left out: 3.00 s at the end of b, 300 exchanges"},
		2600 * time.Millisecond: {"left out: 3.00 s at the start of a, 300 exchanges", "left out: 3.00 s at the end of b, 300 exchanges"},
		7 * time.Millisecond:    nil,
	} {
		a, b := frozen(), frozen()
		b.Started = b.Started.Add(shift)
		b.Config.RateRequested, b.Config.Connections = 50, 5 // as if it had been; it adds up
		merged, notes, err := report.Merge([]report.Run{{Name: "a", Record: a}, {Name: "b", Record: b}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, notes); diff != "" {
			t.Errorf("%v: %s", shift, diff)
		}
		for n, i := range merged.Intervals {
			if i.Operations() != 200 || i.End-i.Start != time.Second || i.Start != time.Duration(n)*time.Second {
				t.Errorf("%v: second %d is from %v to %v, and has %d exchanges", shift, n, i.Start, i.End, i.Operations())
			}
		}
		if merged.Config.RateRequested != 150 || merged.Config.Connections != 15 || merged.Host.CPUs != 4 || !merged.Started.Equal(b.Started) {
			t.Errorf("%+v, %+v, %v", merged.Config, merged.Host, merged.Started)
		}
	}
}

// Two generators on one machine share its CPUs; of those without a name nobody knows it.
func TestMergeCountsCPUsOnce(t *testing.T) {
	for want, names := range map[int][]string{2: {"ant", "ant"}, 4: {"ant", "bee", "ant"}, 6: {"", "ant", ""}} {
		var runs []report.Run
		for n, name := range names {
			r := frozen()
			r.Host.Name = name
			r.Started = r.Started.Add(time.Duration(n) * time.Millisecond)
			for _, i := range r.Intervals {
				i.Health.CPU = 950 * time.Millisecond
			}
			runs = append(runs, report.Run{Name: fmt.Sprint(n), Record: r})
		}
		merged, _, err := report.Merge(runs)
		if err != nil || merged.Host.CPUs != want {
			t.Errorf("%q: %v, %+v, want %d CPUs", names, err, merged.Host, want)
			continue
		}
		busy := strings.Contains(strings.Join(report.Summary(merged).Generator.Limits, ""), "it used 1.90 of the 2 CPUs")
		if busy != (want == 2) {
			t.Errorf("%q: %q", names, report.Summary(merged).Generator.Limits)
		}
	}
}

// The rates of machines add up, and slices of a run have its rate, with a wait or without.
func TestMergeWithWaits(t *testing.T) {
	a, b := tailed(), tailed()
	b.Started = b.Started.Add(time.Millisecond)
	b.Intervals[8].Wait = 500 * time.Millisecond
	merged, _, err := report.Merge([]report.Run{{Name: "a", Record: a}, {Name: "b", Record: b}})
	if err != nil {
		t.Fatal(err)
	}
	if total := load.Total(merged.Intervals); total.Wait != 750*time.Millisecond || total.Operations() != 1600 || math.Abs(total.Rate()-1600/8.25) > 1e-6 {
		t.Errorf("%d operations, wait %v, %v/s", total.Operations(), total.Wait, total.Rate())
	}
	b.Started = b.Started.Add(20 * time.Second)
	b.Intervals[8].Wait = time.Second
	joined, _, err := report.Concat([]report.Run{{Name: "a", Record: a}, {Name: "b", Record: b}})
	if err != nil {
		t.Fatal(err)
	}
	if total := load.Total(joined.Intervals); total.Wait != 2*time.Second || total.End != 18*time.Second || total.Rate() != 100 {
		t.Errorf("wait %v of %v, %v/s", total.Wait, total.End, total.Rate())
	}
}

func TestMergeRefuses(t *testing.T) {
	for want, change := range map[string]func(*load.Record){
		"a and b differ in kind: loop open and closed; arrival constant and none; only": func(r *load.Record) { r.Config.Loop, r.Config.Arrival = "closed", "" },
		"octets of the reply 16 and 17":    func(r *load.Record) { r.Config.ReplyOctets = 17 },
		"exchanges per connection 1 and 0": func(r *load.Record) { r.Config.PerConnection = 0 },
		"only one has a requested rate":    func(r *load.Record) { r.Config.RateRequested = 0 },
		"b has no interval":                func(r *load.Record) { r.Intervals = nil },
		"no time in common":                func(r *load.Record) { r.Started = r.Started.Add(time.Hour) },
		"no complete interval in common":   func(r *load.Record) { r.Started = r.Started.Add(7900 * time.Millisecond) },
		"intervals of 1.00 s and 2.00 s": func(r *load.Record) {
			for n, i := range r.Intervals {
				i.Start, i.End = time.Duration(2*n)*time.Second, time.Duration(2*n+2)*time.Second
			}
		},
	} {
		b := frozen()
		b.IDs = []string{"another run"}
		change(b)
		_, _, err := report.Merge([]report.Run{{Name: "a", Record: frozen()}, {Name: "b", Record: b}})
		if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, "; only")) {
			t.Errorf("%v, want %q", err, want)
		}
		var kind *report.KindError
		if is := errors.As(err, &kind); is != (strings.Contains(want, " and ") || strings.Contains(want, "only")) {
			t.Errorf("%v is a KindError: %v", err, is)
		}
	}
	a, b := frozen(), frozen()
	if _, _, err := report.Merge([]report.Run{{Name: "a", Record: a}, {Name: "b", Record: b}}); err == nil || !strings.HasPrefix(err.Error(), "a and b are the same run (sha256-") {
		t.Errorf("a run merged with itself: %v", err)
	}
	b.Started = b.Started.Add(time.Millisecond)
	for _, r := range []*load.Record{a, b} { // anybody may have written it
		r.Intervals[7].Start += 1e6 * time.Hour
		r.Intervals[7].End += 1e6 * time.Hour
	}
	if _, _, err := report.Merge([]report.Run{{Name: "a", Record: a}, {Name: "b", Record: b}}); err == nil || !strings.Contains(err.Error(), "a has a gap in its intervals") {
		t.Errorf("a gap of a century: %v", err)
	}
	if _, _, err := report.Merge(nil); err == nil {
		t.Error("it merges nothing")
	}
}

// A second that not every run has whole is in none of the sums, and is told.
func TestMergeLeavesOutRaggedSeconds(t *testing.T) {
	_, parts := deal()
	b := parts[1]
	last := *b.Intervals[7]
	last.End = last.Start + 300*time.Millisecond // a run that ended in the middle of a second
	b.Intervals = append(slices.Clone(b.Intervals[:7]), &last)
	b.Record = &load.Record{Schema: b.Schema, Started: b.Started, Config: b.Config, Host: b.Host, Intervals: b.Intervals}
	merged, notes, err := report.Merge([]report.Run{parts[0], {Name: "b.json", Record: b.Record}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(merged.Intervals); n != 7 || load.Total(merged.Intervals).Rate() != 1000 {
		t.Errorf("%d intervals, %v/s, want 7 of 1000/s", n, load.Total(merged.Intervals).Rate())
	}
	if !strings.Contains(strings.Join(notes, "\n"), "left out: ") {
		t.Errorf("%q", notes)
	}
}

// A run is counted once: what is merged keeps the IDs of its runs, and one that comes again
// is refused by name.
func TestMergeRefusesRepeats(t *testing.T) {
	_, parts := deal()
	for n := range parts[:3] { // the last one is of before there were IDs
		parts[n].IDs = []string{fmt.Sprintf("RUN%d", n)}
	}
	merge := func(runs ...report.Run) report.Run {
		t.Helper()
		merged, _, err := report.Merge(runs)
		if err != nil {
			t.Fatal(err)
		}
		read, err := load.ReadRecord(strings.NewReader(written(t, merged)))
		if err != nil {
			t.Fatal(err)
		}
		return report.Run{Name: "all.json", Record: read}
	}
	all, both := merge(parts...), merge(parts[0], parts[1])
	both.Name = "both.json"
	old := parts[3].RunIDs()[0]
	for want, runs := range map[string][]report.Run{
		"all.json already contains a.json (run RUN0)":        {parts[0], all},
		"all.json already contains b.json (run RUN1)":        {all, parts[1]},
		"all.json already contains d.json (run " + old + ")": {all, parts[3]},
		"all.json and both.json both contain the run RUN0":   {all, both},
		"a.json and a.json are the same run (RUN0)":          {parts[0], parts[0]},
	} {
		for _, put := range []func([]report.Run) (*load.Record, []string, error){report.Merge, report.Concat} {
			if _, _, err := put(runs); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
	if again := merge(both, parts[2], parts[3]); !slices.Equal(again.IDs, all.IDs) {
		t.Errorf("%q, want %q", again.IDs, all.IDs)
	}
}

// Records that are read one by one have the same sum as those that are read at once, and
// the first error is that of a file.
func TestMergeSources(t *testing.T) {
	const records = 105 // more than wait at a time
	var runs []report.Run
	var sources []report.Source
	for n := range records {
		r := simulation{seed: uint64(n), intervals: 20, every: time.Second / 10, rate: 100, open: true}.run()
		r.Started = r.Started.Add(time.Duration(n%3) * 200 * time.Millisecond)
		if n > 0 { // one has no ID, and gets one that is made from its measurements
			r.IDs = []string{load.NewID()}
		}
		var text bytes.Buffer
		if err := r.Write(&text); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d.json", n)
		runs = append(runs, report.Run{Name: name, Record: r})
		sources = append(sources, report.Source{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil }})
	}
	want, wantNotes, err := report.Merge(runs)
	if err != nil {
		t.Fatal(err)
	}
	got, notes, err := report.MergeSources(sources)
	if err != nil {
		t.Fatal(err)
	}
	var a, b bytes.Buffer
	want.Write(&a)
	got.Write(&b)
	if diff := cmp.Diff(a.String(), b.String()); diff != "" || len(notes) < 2*records/3 || !slices.Equal(notes, wantNotes) {
		t.Errorf("%d notes, want %d\n%s", len(notes), len(wantNotes), diff)
	}
	gone := errors.New("gone")
	sources[70].Open = func() (io.ReadCloser, error) { return nil, gone }
	if _, _, err := report.MergeSources(sources); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	sources[7].Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("{}")), nil }
	if _, _, err := report.MergeSources(sources[:20]); err == nil || err.Error() != "7.json: read load record: it has no schema" {
		t.Errorf("%v", err)
	}
}

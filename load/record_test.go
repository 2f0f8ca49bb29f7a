package load_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/load"
)

// written is what a value of ours is as JSON, which says all of it.
func written(t *testing.T, r *load.Record) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A record that was read is the one that was written, to the last count.
func TestRecord(t *testing.T) {
	i := &load.Interval{
		Start: time.Second, End: 2500 * time.Millisecond, Wait: 250 * time.Millisecond, Outcomes: map[string]int64{"ok": 999, "reset": 1}, Succeeded: 999, Queued: 2, Unsent: 1,
		Phases: map[string]*load.Histogram{"connect": new(load.Histogram)},
		Health: load.Health{CPU: 300 * time.Millisecond, GCs: 2, GCPause: 50 * time.Microsecond},
	}
	for n := range 1000 {
		i.Latency.Record(time.Duration(n*n) * time.Microsecond)
		i.Service.Record(time.Duration(n) * time.Microsecond)
	}
	i.Phases["connect"].Record(time.Millisecond)
	i.SchedulingLag.Record(time.Microsecond)
	record := &load.Record{Engine: "epoll", Started: time.Unix(1, 0).UTC(), Config: load.Config{Target: "127.0.0.1:1060", Loop: "open", RateRequested: 100}, Host: load.Host{OS: "linux"},
		Intervals: []*load.Interval{i}, Kernel: &load.Kernel{Connections: 4}}
	text := written(t, record)
	read, err := load.ReadRecord(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, written(t, read)); diff != "" {
		t.Error(diff)
	}
	again := read.Intervals[0]
	if again.Latency.Count() != 1000 || again.Latency.Quantile(0.99) != i.Latency.Quantile(0.99) || again.Latency.Max() != i.Latency.Max() ||
		again.Start != i.Start || again.End != i.End || again.Wait != i.Wait || again.Succeeded != 999 || again.Health != i.Health || again.StartDelay.Count() != 0 {
		t.Errorf("%+v\nwant %+v", again, i)
	}
}

func TestRecordsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "it is empty",
		" \n":                                    "it is empty",
		"# a text":                               "it is not valid JSON after octet 0",
		"\x00\x00\x00\x00":                       "it is not valid JSON after octet 0",
		"[]":                                     "it is not a JSON object",
		"{}":                                     "it has no schema",
		`{"schema":"x/v9"`:                       "it ends in the middle of the record",
		`{"schema":"x/v9"}`:                      `its schema is "x/v9", and this program reads "bothends.load-record/v2"`,
		`{"schema":1}`:                           "schema: unexpected number",
		`{"config":{"hold":"x"}}`:                "config: hold: unexpected string",
		`{"intervals":7}`:                        "intervals: not an array",
		`{"intervals":[{"latency":"nonsense"}]}`: "interval 0: histogram: it is not in HdrHistogram's compressed V2 encoding",
		`{"intervals":[{"latency":"!"}]}`:        "histogram: it is not base64",
		`{"intervals":[{"latency":7}]}`:          "interval 0: latency: unexpected number",
		`{"intervals":[null]}`:                   "interval 0: it is null",
		`{"intervals":[{"start":-1,"end":1}]}`:   "interval 0: it starts before the end of the interval before it",
		`{"intervals":[{"end":2},{"start":1,"end":3}]}`:                                      "interval 1: it starts before the end",
		`{"intervals":[{"start":1}]}`:                                                        "interval 0: it has no end",
		`{"intervals":[{"start":1,"end":1e300}]}`:                                            "interval 0: it has no end",
		`{"intervals":[{"start":1,"end":1}]}`:                                                "interval 0: it has no end",
		`{"schema":"bothends.load-record/v2"}{}`:                                             "unexpected data after the record",
		`{"intervals":[{"end":1,"outcomes":{"ok":-1}}]}`:                                     `the outcome "ok" has the count -1`,
		`{"intervals":[{"end":1,"outcomes":{"a":1125899906842624,"b":1}}]}`:                  "has the count",
		`{"intervals":[{"end":1,"unsent":-5}]}`:                                              "unsent is -5",
		`{"intervals":[{"end":1,"gcs":-5}]}`:                                                 "gcs is -5",
		`{"intervals":[{"start":1,"end":2,"wait":1.5}]}`:                                     "interval 0: it is 1s long, and its wait is 1.5s",
		`{"intervals":[{"end":1,"outcomes":{"a":1},"succeeded":2}]}`:                         "succeeded is 2, and the outcomes add up to 1",
		`{"schema":"bothends.load-record/v1","intervals":[{"end":1,"tail":0.5}]}`:            `its schema is "bothends.load-record/v1", and this program reads "bothends.load-record/v2"`,
		`{"intervals":[{"start":1,"end":2,"wait":-1}]}`:                                      "interval 0: it is 1s long, and its wait is -1s",
		`{"intervals":[{"end":1,"phases":{"x":null}}]}`:                                      `the phase "x" is null`,
		`{"intervals":[{"end":1,"queued":1125899906842624},{"start":1,"end":2,"queued":1}]}`: "interval 1: the counts are too large",
		`{"schema":"bothends.load-record/v2","ids":["a","a"]}`:                               `it has the run "a" twice`,
		`{"schema":"bothends.load-record/v2","ids":[""]}`:                                    "an ID has 0 characters; it needs 1 to 100",
	} {
		if _, err := load.ReadRecord(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if err := new(load.Record).Write(full{}); err == nil {
		t.Error("it does not tell what could not be written")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

// Four parts are the whole, count for count.
func TestMerge(t *testing.T) {
	var whole load.Histogram
	parts := make([]*load.Interval, 4)
	for n := range parts {
		parts[n] = &load.Interval{Start: time.Duration(n) * time.Second, End: time.Duration(n+1) * time.Second, Outcomes: map[string]int64{"ok": 1000}, Succeeded: 1000}
		if n >= 2 {
			parts[n].Wait = time.Second / 2
		}
		for k := range 1000 {
			d := time.Duration((n*1000+k)*(k+1)) * time.Microsecond
			whole.Record(d)
			parts[n].Latency.Record(d)
		}
	}
	total := load.Total(parts)
	if diff := cmp.Diff(whole.Bars(), total.Latency.Bars()); diff != "" || total.Operations() != 4000 || total.Start != 0 || total.End != 4*time.Second || total.Wait != time.Second || total.Throughput() != 1000 || total.Rate() != 4000.0/3 {
		t.Errorf("%d operations from %v to %v, wait %v, %v/s, without it %v/s\n%s", total.Operations(), total.Start, total.End, total.Wait, total.Throughput(), total.Rate(), diff)
	}
	parts[0].Latency.Record(time.Second)
	if total.Latency.Count() != 4000 {
		t.Error("the total changes with its parts")
	}
}

// A packed one has the same to say, and goes on where it was.
func TestPack(t *testing.T) {
	var h, want load.Histogram
	for n := range 1000 {
		h.Record(time.Duration(n*n) * time.Microsecond)
		want.Record(time.Duration(n*n) * time.Microsecond)
	}
	for range 2 {
		h.Pack()
		var merged load.Histogram
		merged.Merge(&h)
		if h.Count() != want.Count() || h.Mean() != want.Mean() || h.Max() != want.Max() || h.Quantile(0.99) != want.Quantile(0.99) ||
			!cmp.Equal(h.Bars(), want.Bars()) || !cmp.Equal(merged.Bars(), want.Bars()) {
			t.Errorf("%d, %v, %v", h.Count(), h.Mean(), h.Max())
		}
		text, err := json.Marshal(&h)
		plain, _ := json.Marshal(&want)
		if err != nil || !bytes.Equal(text, plain) {
			t.Errorf("%v: %d octets, want %d", err, len(text), len(plain))
		}
		h.Record(time.Second)
		want.Record(time.Second)
	}
	var empty load.Histogram
	empty.Pack()
	if empty.Count() != 0 {
		t.Error("nothing, packed, is something")
	}
}

func TestHistogram(t *testing.T) {
	var h load.Histogram
	if h.Count() != 0 || h.Max() != 0 || h.Mean() != 0 || h.Quantile(0.5) != 0 || h.Bars() != nil {
		t.Error("an empty one has something")
	}
	h.Merge(nil)
	h.Merge(new(load.Histogram))
	h.Record(-time.Second)
	h.Record(48 * time.Hour)
	if h.Count() != 2 || h.Quantile(0.5) != 0 || !near(h.Max(), time.Hour) {
		t.Errorf("%d, %v, %v", h.Count(), h.Quantile(0.5), h.Max())
	}
}

// lasting is a record of so many seconds, as text.
func lasting(t *testing.T, seconds int) string {
	t.Helper()
	r := &load.Record{}
	for n := range seconds {
		i := &load.Interval{Start: time.Duration(n) * time.Second, End: time.Duration(n+1) * time.Second, Outcomes: map[string]int64{"ok": 50}, Succeeded: 50, Health: load.Health{GCs: 1, GCPause: time.Duration(n)}}
		for k := range 50 {
			i.Latency.Record(time.Duration(1000*k+n) * time.Microsecond)
		}
		i.Pack()
		r.Intervals = append(r.Intervals, i)
	}
	return written(t, r)
}

// Joined while it is read, a run has the same total, in intervals that follow each other,
// and takes no more memory when it is longer.
func TestReadJoined(t *testing.T) {
	joined := func(text string, most int) *load.Record {
		r, err := load.ReadJoined(strings.NewReader(text), most)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for seconds := range 70 {
		text := lasting(t, seconds)
		whole, err := load.ReadRecord(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, most := range []int{-1, 2, 8, 9, 100} {
			r := joined(text, most)
			n := len(r.Intervals)
			if n > max(2, most) || n < min(seconds, max(2, most)/2) {
				t.Errorf("%d of %d intervals, at most %d", n, seconds, most)
			}
			want, got := written(t, &load.Record{Intervals: []*load.Interval{load.Total(whole.Intervals)}}), written(t, &load.Record{Intervals: []*load.Interval{load.Total(r.Intervals)}})
			if want != got {
				t.Errorf("%d seconds, at most %d: %s", seconds, most, cmp.Diff(want, got))
			}
			for k, i := range r.Intervals[:max(0, n-1)] {
				if i.End != r.Intervals[k+1].Start {
					t.Errorf("%d seconds, at most %d: one ends at %v, the next starts at %v", seconds, most, i.End, r.Intervals[k+1].Start)
				}
			}
		}
	}
	kept := func(seconds int) uint64 {
		text := lasting(t, seconds)
		_, left := heap(func() any { return joined(text, 100) })
		return left
	}
	if short, long := kept(200), kept(1600); long > short+256<<10 {
		t.Errorf("200 s take %d octets, and 1600 s %d", short, long)
	}
}

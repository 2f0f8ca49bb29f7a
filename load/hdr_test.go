package load_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/load"
)

// durations returns some that reach over all steps, and many that share a few.
func durations(seed uint64) (list []time.Duration) {
	random := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		list = append(list, time.Duration(math.Exp(28.9*random.Float64())), time.Duration(1e6*math.Exp(0.1*random.NormFloat64())))
	}
	return append(list, 0, 1, 2047, 2048, 2049, time.Hour, time.Hour-1)
}

// library returns the same counts in HdrHistogram's own library, in any of its shapes.
func library(t *testing.T, list []time.Duration, lowest int64, digits int) *hdrhistogram.Histogram {
	t.Helper()
	h := hdrhistogram.New(lowest, int64(time.Hour), digits)
	for _, d := range list {
		if err := h.RecordValue(int64(d)); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func bars(h *hdrhistogram.Histogram) (list []load.Bar) {
	for _, b := range h.Distribution() {
		if b.Count > 0 {
			list = append(list, load.Bar{From: time.Duration(b.From), To: time.Duration(b.To), Count: b.Count})
		}
	}
	return list
}

func recorded(list []time.Duration) *load.Histogram {
	h := new(load.Histogram)
	for _, d := range list {
		h.Record(d)
	}
	return h
}

// The steps, the mean and the maximum are those of HdrHistogram's own library, and so is
// the encoding, both ways.
func TestHistogramIsAnHdrHistogram(t *testing.T) {
	list := durations(1)
	want := library(t, list, 1, 3)
	for _, pack := range []bool{false, true} {
		h := recorded(list)
		if pack {
			h.Pack()
		}
		if diff := cmp.Diff(bars(want), h.Bars()); diff != "" {
			t.Fatal(diff)
		}
		if h.Mean() != time.Duration(math.Round(want.Mean())) || h.Max() != time.Duration(want.Max()) || h.Count() != want.TotalCount() {
			t.Errorf("mean %v, max %v; want %v, %v", h.Mean(), h.Max(), want.Mean(), want.Max())
		}
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		read, err := hdrhistogram.Decode(bytes.Trim(text, `"`))
		if err != nil || !read.Equals(want) {
			t.Errorf("the library reads something else: %v", err)
		}
	}
	text, err := want.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bars(want), read(t, string(text)).Bars()); diff != "" {
		t.Error(diff)
	}
}

func read(t *testing.T, text string) *load.Histogram {
	t.Helper()
	h := new(load.Histogram)
	if err := json.Unmarshal([]byte(`"`+text+`"`), h); err != nil {
		t.Fatal(err)
	}
	return h
}

// Histograms of other shapes are read as the library would merge them.
func TestHistogramsOfOtherShapes(t *testing.T) {
	for _, lowest := range []int64{1, 2, 1000, 1 << 20} {
		for digits := 1; digits <= 5; digits++ {
			other := library(t, durations(2), lowest, digits)
			want := hdrhistogram.New(1, int64(time.Hour), 3)
			want.Merge(other)
			text, err := other.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(bars(want), read(t, string(text)).Bars()); diff != "" {
				t.Errorf("from %d, %d digits: %s", lowest, digits, diff)
			}
		}
	}
}

// Merge has the same result, whether both are packed or not, and changes no other.
func TestHistogramMerge(t *testing.T) {
	some, more := durations(3), durations(4)[:500]
	want := recorded(append(append([]time.Duration(nil), some...), more...)).Bars()
	for n := range 8 {
		a, b := recorded(some), recorded(more)
		if n&1 > 0 {
			a.Pack()
		}
		if n&2 > 0 {
			b.Pack()
		}
		if n&4 > 0 {
			a, b = b, a
		}
		before := b.Bars()
		var sum load.Histogram
		sum.Merge(a)
		sum.Merge(b)
		a.Merge(b)
		if !cmp.Equal(a.Bars(), want) || !cmp.Equal(sum.Bars(), want) || sum.Count() != int64(len(some)+len(more)) {
			t.Errorf("%d: %s", n, cmp.Diff(want, a.Bars()))
		}
		a.Record(time.Second)
		if !cmp.Equal(b.Bars(), before) {
			t.Errorf("%d: the other has changed", n)
		}
	}
}

// encoded is a histogram in V2 with any counts, and any shape.
func encoded(digits int32, lowest int64, counts []byte) string {
	var plain, all bytes.Buffer
	w := zlib.NewWriter(&plain)
	binary.Write(w, binary.BigEndian, []int32{0x1c849313, int32(len(counts)), 0, digits})
	binary.Write(w, binary.BigEndian, []int64{lowest, int64(time.Hour)})
	binary.Write(w, binary.BigEndian, 1.0)
	w.Write(counts)
	w.Close()
	binary.Write(&all, binary.BigEndian, []int32{0x1c849314, int32(plain.Len())})
	return base64.StdEncoding.EncodeToString(append(all.Bytes(), plain.Bytes()...))
}

func TestHistogramsThatAreNone(t *testing.T) {
	whole := encoded(3, 1, []byte{2})
	octets, _ := base64.StdEncoding.DecodeString(whole)
	again := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	for text, want := range map[string]string{
		"*":                                  "it is not base64",
		again(octets[:7]):                    "not in HdrHistogram's compressed V2",
		again(octets[:len(octets)-1]):        " compressed octets of ",
		encoded(6, 1, nil):                   "6 digits",
		encoded(3, 1, make([]byte, 1<<20+1)): "1048577 octets of counts; at most 1048576 are read",
		encoded(3, 1, []byte{0x80}):          "a count is damaged",
		encoded(3, 1, binary.AppendVarint(nil, 1<<51)):                                  "too large",
		encoded(3, 1, binary.AppendVarint(binary.AppendVarint(nil, 1<<50), 1)):          "the counts are too large",
		encoded(3, 1, binary.AppendVarint(binary.AppendVarint(nil, -33<<10), 1)):        "a duration is longer than an hour",
		encoded(5, 1, binary.AppendVarint(binary.AppendVarint(nil, -math.MaxInt32), 1)): "a duration is longer than an hour",
		encoded(3, math.MaxInt64, []byte{0, 2}):                                         "a duration is longer than an hour",
		encoded(3, 1, binary.AppendVarint(nil, math.MinInt64)):                          "a count is damaged",
	} {
		err := json.Unmarshal([]byte(`"`+text+`"`), new(load.Histogram))
		if err == nil || !strings.HasPrefix(err.Error(), "histogram: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	if h := read(t, whole); h.Count() != 1 || h.Max() != 0 {
		t.Errorf("%v", h.Bars())
	}
}

// heap returns how many octets f has allocated, and how many are left of it.
func heap(f func() any) (allocated, left uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what is in a sync.Pool goes with the second one
	runtime.ReadMemStats(&before)
	kept := f()
	runtime.ReadMemStats(&after)
	allocated = after.TotalAlloc - before.TotalAlloc
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return allocated, after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

// A record of 72 kB with histograms of a foreign shape took 358 MB: each was unpacked
// into an array of 3 million counts.
func TestRecordOfForeignShapesTakesLittle(t *testing.T) {
	var text strings.Builder
	text.WriteString(`{"schema":"bothends.load-record/v2","intervals":[`)
	for n := 0; text.Len() < 72_000; n++ {
		fmt.Fprintf(&text, `%.*s{"start":%d,"end":%d,"outcomes":{"ok":1},"latency":%q}`, min(n, 1), ",", n, n+1, encoded(5, 1, []byte{2}))
	}
	text.WriteString("]}")
	allocated, left := heap(func() any {
		r, err := load.ReadRecord(strings.NewReader(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		return r
	})
	if allocated > 20<<20 || left > 2<<20 {
		t.Errorf("%d kB were allocated, and %d kB are kept", allocated>>10, left>>10)
	}
}

// Histograms that unpack to far more than their text are refused: what a record takes
// depends on its size.
func TestRecordOfBombs(t *testing.T) {
	counts := bytes.Repeat([]byte{2}, 33<<10)
	bomb := encoded(3, 1, counts)
	var text strings.Builder
	text.WriteString(`{"schema":"bothends.load-record/v2","intervals":[`)
	for n := range 3000 {
		fmt.Fprintf(&text, `%.*s{"start":%d,"end":%d,"outcomes":{"ok":40000},"latency":%q}`, min(n, 1), ",", n, n+1, bomb)
	}
	text.WriteString("]}")
	if _, err := load.ReadRecord(strings.NewReader(text.String())); err == nil || !strings.Contains(err.Error(), "which is too much for its size") {
		t.Errorf("%d octets with %d: %v", text.Len(), 3000*len(counts), err)
	}
}

// A record may consist of intervals that have nearly no text, or of thousands of names, of
// which each is a row of a table.
func TestRecordOfManyParts(t *testing.T) {
	var short, names, phases strings.Builder
	for n := range 200_000 {
		fmt.Fprintf(&short, `%.*s{"start":%d,"end":%d}`, min(n, 1), ",", n, n+1)
	}
	for n := range 1001 {
		fmt.Fprintf(&names, `%.*s"o%d":1`, min(n, 1), ",", n)
		fmt.Fprintf(&phases, `%.*s"p%d":""`, min(n, 1), ",", n)
	}
	record := func(intervals string) string {
		return `{"schema":"bothends.load-record/v2","intervals":[` + intervals + `]}`
	}
	for text, want := range map[string]string{
		record(short.String()):                                  "which is too much for its size",
		record(`{"end":1,"outcomes":{` + names.String() + `}}`): "more than 1000 outcomes and phases",
		record(`{"end":1,"phases":{` + phases.String() + `}}`):  "more than 1000 outcomes and phases",
	} {
		if _, err := load.ReadRecord(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
	if r, err := load.ReadJoined(strings.NewReader(record(short.String())), 100); err != nil || len(r.Intervals) > 100 {
		t.Errorf("joined: %v", err)
	}
}

// endless is a file without an end, as /dev/zero is.
type endless struct {
	before string
	octet  byte
	read   int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.before)
	e.before = e.before[n:]
	for ; n < len(p); n++ {
		p[n] = e.octet
	}
	e.read += int64(n)
	return n, nil
}

// A file without an end is not read for long, and the error has the limit.
func TestRecordWithoutEnd(t *testing.T) {
	for _, c := range []struct {
		before string
		octet  byte
		most   int64
		want   string
	}{
		{"", 0, 1 << 16, "it is not valid JSON"},
		{`{"intervals":[{"latency":"`, 'A', 64 << 20, "interval 0: a part of it is larger than 16 MiB"},
		{`{"x":"`, 'A', 64 << 20, "x: a part of it is larger than 16 MiB"},
		{`{"schema`, 'A', 64 << 20, "a part of it is larger than 16 MiB"},
		{`{"intervals":[`, ' ', 64 << 20, "a part of it is larger than 16 MiB"},
	} {
		e := &endless{before: c.before, octet: c.octet}
		if _, err := load.ReadRecord(e); err == nil || !strings.Contains(err.Error(), c.want) || e.read > c.most {
			t.Errorf("%s: %v after %d octets, want %q", c.before, err, e.read, c.want)
		}
	}
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		n    int64
		q    float64
		want int64
	}{
		{60, 0.99, 60}, {60, 0.5, 30}, {1, 0.5, 1}, {2, 0.5, 1}, {3, 0.5, 2}, {99, 0.99, 99}, {100, 0.99, 99}, {101, 0.99, 100},
		{100, 0.07, 7}, {100, 0.14, 14}, {1000, 0.999, 999}, {999, 0.999, 999}, {1001, 0.999, 1000}, {10_000, 0.9999, 9999},
		{100, 99.9 / 100, 100}, {1000, 99.9 / 100, 999}, {1 << 50, 0.5, 1 << 49}, {1 << 50, 1, 1 << 50}, {1<<50 + 1, 0.5, 1<<49 + 1},
		{10, 0, 1}, {10, -1, 1}, {10, 2, 10}, {10, math.NaN(), 1}, {0, 0.5, 1}, {10, math.Inf(1), 10},
	} {
		if got := load.Rank(c.n, c.q); got != c.want {
			t.Errorf("%v of %d: %d, want %d", c.q, c.n, got, c.want)
		}
	}
	for n := int64(1); n <= 2000; n++ {
		for of := int64(1); of < 1000; of++ {
			if got, want := load.Rank(n, float64(of)/1000), (n*of+999)/1000; got != want {
				t.Fatalf("%d/1000 of %d: %d, want %d", of, n, got, want)
			}
		}
	}
}

// Of 60 exchanges of which one takes 300 ms, p99 is 300 ms, and not the one before it.
func TestQuantileRoundsUp(t *testing.T) {
	for _, pack := range []bool{false, true} {
		var h load.Histogram
		for range 59 {
			h.Record(2 * time.Millisecond)
		}
		h.Record(300 * time.Millisecond)
		if pack {
			h.Pack()
		}
		if p98, p99 := h.Quantile(0.98), h.Quantile(0.99); !near(p98, 2*time.Millisecond) || !near(p99, 300*time.Millisecond) {
			t.Errorf("p98 %v, p99 %v", p98, p99)
		}
	}
}

// What is read is small in memory: an hour has 36,000 histograms.
func TestHistogramsThatAreReadAreSmall(t *testing.T) {
	text, err := json.Marshal(recorded(durations(5)[:200]))
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	_, left := heap(func() any {
		list := make([]load.Histogram, n)
		for k := range list {
			if err := list[k].UnmarshalJSON(text); err != nil {
				t.Fatal(err)
			}
		}
		return list
	})
	if left/n > 2000 {
		t.Errorf("%d octets each", left/n)
	}
}

// FuzzHistogram reads anything without a panic. What it accepts, it writes and reads again.
func FuzzHistogram(f *testing.F) {
	f.Add(encoded(3, 1, []byte{2, 1, 2}))
	f.Add(encoded(5, 1000, []byte{2, 1, 2}))
	f.Add("HISTFAAAACh42pJpmSzMwMDAyAABzFCakYGB2c1gxwIG+w8QAQ1AAAAA//9SzgR0")
	f.Fuzz(func(t *testing.T, text string) {
		quoted, _ := json.Marshal(text)
		var h, again load.Histogram
		if json.Unmarshal(quoted, &h) != nil {
			return
		}
		written, err := json.Marshal(&h)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &again); err != nil || !cmp.Equal(h.Bars(), again.Bars()) {
			t.Errorf("%v\n%s", err, cmp.Diff(h.Bars(), again.Bars()))
		}
		again.Merge(&h)
		if again.Count() != 2*h.Count() || again.Max() != h.Max() {
			t.Errorf("%d, %v; twice %d, %v", h.Count(), h.Max(), again.Count(), again.Max())
		}
	})
}

package load

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Histogram counts durations from a nanosecond to an hour, each to three significant
// digits (HdrHistogram); what is longer counts as an hour. The zero value is empty.
// It has no lock.
type Histogram struct {
	h      *hdrhistogram.Histogram
	packed []step // in place of h
}

const (
	longest = time.Hour
	digits  = 3
)

func newHDR() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(longest), digits) }

// Pack makes it small, some kilobytes instead of 200, until it is used again: for those
// that are kept, as the seconds of a long run are.
func (h *Histogram) Pack() {
	if h.h == nil {
		return
	}
	h.packed = make([]step, 0, 64)
	for _, b := range h.h.Distribution() {
		if b.Count > 0 {
			h.packed = append(h.packed, step{b.From, b.Count})
		}
	}
	h.h = nil
}

// A step is a value's count; the value stands for all that are equivalent to it.
type step struct{ value, count int64 }

// open returns the counts, nil for none. It does not unpack h.
func (h *Histogram) open() *hdrhistogram.Histogram {
	if h.packed == nil {
		return h.h
	}
	all := newHDR()
	addSteps(all, h.packed)
	return all
}

func addSteps(to *hdrhistogram.Histogram, steps []step) {
	for _, s := range steps {
		to.RecordValues(s.value, s.count) // they come from one with the same bounds
	}
}

// Record counts a duration; a negative one as 0.
func (h *Histogram) Record(d time.Duration) {
	h.unpack()
	if h.h == nil {
		h.h = newHDR()
	}
	h.h.RecordValue(int64(min(max(0, d), longest))) // within the bounds there is no error
}

// Merge adds the counts of another one; nil has none.
func (h *Histogram) Merge(other *Histogram) {
	if other == nil || other.h == nil && other.packed == nil {
		return
	}
	h.unpack()
	if h.h == nil {
		h.h = newHDR()
	}
	if other.packed != nil {
		addSteps(h.h, other.packed)
	} else if other.h != nil {
		h.h.Merge(other.h)
	}
}

func (h *Histogram) unpack() { h.h, h.packed = h.open(), nil }

// Count is how many durations there are.
func (h *Histogram) Count() int64 {
	if h.packed == nil && h.h != nil {
		return h.h.TotalCount()
	}
	var n int64
	for _, s := range h.packed {
		n += s.count
	}
	return n
}

// Mean is 0 when there are none, and so are Max and Quantile.
func (h *Histogram) Mean() time.Duration {
	counts := h.open()
	if counts == nil || counts.TotalCount() == 0 {
		return 0
	}
	return time.Duration(math.Round(counts.Mean()))
}

// Max is the longest, to three digits.
func (h *Histogram) Max() time.Duration {
	counts := h.open()
	if counts == nil || counts.TotalCount() == 0 {
		return 0
	}
	return time.Duration(counts.Max())
}

// Quantile is the duration that a share q of all do not exceed, 0 <= q <= 1.
func (h *Histogram) Quantile(q float64) time.Duration {
	counts := h.open()
	if counts == nil || counts.TotalCount() == 0 {
		return 0
	}
	return time.Duration(counts.ValueAtPercentile(q * 100))
}

// A Bar is one step of a Histogram: how many durations there are up to To, and beyond
// the bar before.
type Bar struct {
	From, To time.Duration
	Count    int64
}

// Bars are the steps that are not empty, the shortest first.
func (h *Histogram) Bars() (bars []Bar) {
	counts := h.open()
	if counts == nil {
		return nil
	}
	for _, b := range counts.Distribution() {
		if b.Count > 0 {
			bars = append(bars, Bar{time.Duration(b.From), time.Duration(b.To), b.Count})
		}
	}
	return bars
}

// MarshalJSON gives a string: HdrHistogram's V2 encoding, compressed, in base64, of
// nanoseconds. An empty Histogram is "".
func (h *Histogram) MarshalJSON() ([]byte, error) {
	if h.Count() == 0 {
		return []byte(`""`), nil
	}
	text, err := h.open().Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON reads what MarshalJSON gives.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var encoded string
	if err := json.Unmarshal(text, &encoded); err != nil {
		return err
	}
	h.h, h.packed = nil, nil
	if encoded == "" {
		return nil
	}
	read, err := hdrhistogram.Decode([]byte(encoded))
	if err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	h.h = newHDR()
	if dropped := h.h.Merge(read); dropped > 0 {
		return fmt.Errorf("histogram: %d of its counts are of more than an hour", dropped)
	}
	h.Pack() // a record has thousands
	return nil
}

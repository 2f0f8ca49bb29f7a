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
type Histogram struct{ h *hdrhistogram.Histogram }

const (
	longest = time.Hour
	digits  = 3
)

func newHDR() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(longest), digits) }

// Record counts a duration; a negative one as 0.
func (h *Histogram) Record(d time.Duration) {
	if h.h == nil {
		h.h = newHDR()
	}
	h.h.RecordValue(int64(min(max(0, d), longest))) // within the bounds there is no error
}

// Merge adds the counts of another one; nil has none.
func (h *Histogram) Merge(other *Histogram) {
	if other == nil || other.h == nil || other.h.TotalCount() == 0 {
		return
	}
	if h.h == nil {
		h.h = newHDR()
	}
	h.h.Merge(other.h)
}

// Count is how many durations there are.
func (h *Histogram) Count() int64 {
	if h.h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Mean is 0 when there are none, and so are Max and Quantile.
func (h *Histogram) Mean() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(math.Round(h.h.Mean()))
}

// Max is the longest, to three digits.
func (h *Histogram) Max() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Max())
}

// Quantile is the duration that a share q of all do not exceed, 0 <= q <= 1.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.ValueAtPercentile(q * 100))
}

// A Bar is one step of a Histogram: how many durations there are up to To, and beyond
// the bar before.
type Bar struct {
	From, To time.Duration
	Count    int64
}

// Bars are the steps that are not empty, the shortest first.
func (h *Histogram) Bars() (bars []Bar) {
	if h.h == nil {
		return nil
	}
	for _, b := range h.h.Distribution() {
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
	text, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
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
	h.h = nil
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
	return nil
}

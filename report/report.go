// Package report shows what load runs have measured, as text, as JSON and as a page of
// HTML. It merges the runs of several machines, and compares two runs.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/bothends/bothends/load"
)

// A Run is a record with the name that the user knows it by, such as its file's.
type Run struct {
	Name string
	*load.Record
}

// A percentile is one that is shown.
type percentile struct {
	name string
	q    float64
}

var percentiles = []percentile{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}}

// supports reports whether a percentile of n measurements is more than their maximum: at
// least one of them is beyond its rank.
func supports(n int64, q float64) bool { return beyond(n, q) >= 1 }

// beyond returns how many of n measurements lie beyond the rank of a percentile.
func beyond(n int64, q float64) int64 { return n - load.Rank(n, q) }

// usable returns an error for runs that cannot be used; their origin is not known.
func usable(runs ...Run) error {
	for _, r := range runs {
		if r.Record == nil {
			return fmt.Errorf("the run %q has no record", r.Name)
		}
		for n, i := range r.Intervals {
			if i == nil || i.End <= i.Start || n > 0 && i.Start < r.Intervals[n-1].Start {
				return fmt.Errorf("%s: interval %d has no time, or starts before the one before it", r.Name, n)
			}
		}
	}
	return nil
}

// whole returns a record as it would have been read: a nil one is empty, and none of its
// intervals is nil.
func whole(r *load.Record) *load.Record {
	if r == nil {
		return new(load.Record)
	}
	if !slices.Contains(r.Intervals, nil) {
		return r
	}
	some := *r
	some.Intervals = slices.DeleteFunc(slices.Clone(r.Intervals), func(i *load.Interval) bool { return i == nil })
	return &some
}

// filled is usable, and returns an error for a run without intervals too.
func filled(r Run) error {
	if err := usable(r); err != nil {
		return err
	}
	if len(r.Intervals) == 0 {
		return fmt.Errorf("%s has no interval", r.Name)
	}
	return nil
}

// phaseOrder is the order of an exchange; other names come after it, by name.
var phaseOrder = []string{"resolve", "connect", "secure", "send", "reply", "wait", "receive", "close"}

func phaseNames[V any](phases map[string]V) []string {
	place := func(name string) int {
		if at := slices.Index(phaseOrder, name); at >= 0 {
			return at
		}
		return len(phaseOrder)
	}
	return sortedKeys(phases, func(a, b string) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b)) })
}

func sortedKeys[V any](m map[string]V, less func(a, b string) int) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, less)
	return names
}

// usual returns the length of most intervals of a run: the median.
func usual(intervals []*load.Interval) time.Duration {
	if len(intervals) == 0 {
		return 0
	}
	lengths := make([]time.Duration, len(intervals))
	for n, i := range intervals {
		lengths[n] = i.End - i.Start
	}
	slices.Sort(lengths)
	return lengths[len(lengths)/2]
}

// even returns the intervals without short ones, such as at the end of a run: one of less
// than half the usual length is added to the one before it, because its rate is noise. If
// there are more than most, neighbours are joined. Joined intervals have the latency and
// no other histogram, because in a long run the others take ten times as long.
func even(intervals []*load.Interval, most int) []*load.Interval {
	least := usual(intervals) / 2
	list := make([]*load.Interval, 0, len(intervals))
	for _, i := range intervals {
		if n := len(list); n > 0 && i.End-i.Start < least {
			list[n-1] = joined(list[n-1], i)
			continue
		}
		list = append(list, i)
	}
	each := (len(list) + most - 1) / most
	if each <= 1 {
		return list
	}
	var fewer []*load.Interval
	for group := range slices.Chunk(list, each) {
		fewer = append(fewer, joined(group...))
	}
	return fewer
}

// joined returns the sum of intervals, with no histogram but the latency.
func joined(intervals ...*load.Interval) *load.Interval {
	some := make([]*load.Interval, len(intervals))
	for n, i := range intervals {
		one := *i
		one.Service, one.StartDelay, one.SchedulingLag, one.Phases = load.Histogram{}, load.Histogram{}, load.Histogram{}, nil
		some[n] = &one
	}
	sum := load.Total(some)
	sum.Pack()
	return sum
}

// clean returns a text of a record for a terminal, without control characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// rateText returns a rate with the digits that have a meaning.
func rateText(rate float64) string {
	switch {
	case rate == math.Trunc(rate) || rate >= 10000:
		return fmt.Sprintf("%.0f/s", rate)
	case rate >= 100:
		return fmt.Sprintf("%.1f/s", rate)
	}
	return fmt.Sprintf("%.3g/s", rate)
}

// span returns a duration for a sentence.
func span(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.3f ms", float64(d)/1e6)
}

func share(part, whole float64) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.2f %%", 100*part/whole)
}

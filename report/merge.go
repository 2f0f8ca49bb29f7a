package report

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bothends/bothends/load"
)

// ErrNotAtOnce is returned by Merge if the runs do not overlap in time. Concat accepts
// such runs.
var ErrNotAtOnce = errors.New("the runs have no time in common")

// Merge adds the runs that several machines made at the same time, over the time that
// all of them have in common: from the latest begin to the earliest end, by the clocks
// of the machines, which it takes to be right (NTP). An interval is in that time when
// its middle is; the others are left out, and notes say which. Connections and rates
// asked add up. Each record's intervals are counted from its first one in the common
// time, and added up by that number.
//
// The runs must be of one kind, but for what adds up, with intervals of one length. A run
// that is in two of the records is refused: each record has the IDs of its runs.
func Merge(runs []Run) (merged *load.Record, notes []string, err error) {
	if err := mergeable(runs, true); err != nil {
		return nil, nil, err
	}
	from, to := commonWindow(runs)
	if !from.Before(to) {
		return nil, nil, fmt.Errorf("%w: %s began %s after %s had ended", ErrNotAtOnce, latest(runs).Name, span(from.Sub(to)), earliest(runs).Name)
	}
	every := usual(runs[0].Intervals)
	var cells []*cell
	for _, r := range runs {
		kept, left := cut(r, from, to)
		notes = append(notes, left...)
		for _, i := range kept {
			n := int(math.Round(float64(i.Start-kept[0].Start) / float64(max(1, every))))
			if n > 1000*len(kept) {
				return nil, nil, fmt.Errorf("%s has a gap in its intervals, before %s", r.Name, span(i.Start))
			}
			for len(cells) <= n {
				cells = append(cells, new(cell))
			}
			cells[n].add(i, i.Start-kept[0].Start, i.End-kept[0].Start)
		}
	}
	merged = joint(runs)
	merged.Started = from
	var ragged *load.Interval
	merged.Intervals, ragged = intervalsOf(cells, len(runs))
	if n := ragged.Operations(); n > 0 {
		notes = append(notes, fmt.Sprintf("left out: %s of seconds that not all of the runs have whole", plural(int(n), "exchange")))
	}
	if len(merged.Intervals) == 0 {
		return nil, nil, fmt.Errorf("the runs have no whole interval in common: they overlap for %s", span(to.Sub(from)))
	}
	merged.Config.Seconds = end(merged.Intervals).Seconds()
	for _, r := range runs {
		c := &r.Config
		merged.Config.Connections += c.Connections
		merged.Config.RateRequested += c.RateRequested
		merged.Config.Hold += c.Hold
	}
	merged.Host.CPUs = allCPUs(runs)
	if len(notes) > 0 && merged.Kernel != nil {
		notes = append(notes, "the kernel's figures are those of the whole runs")
	}
	return merged, notes, nil
}

// allCPUs is how many the machines have: each name is a machine, and each run without one.
func allCPUs(runs []Run) (n int) {
	of := make(map[string]int)
	for _, r := range runs {
		name, cpus := r.Host.Name, r.Host.CPUs
		if name == "" {
			n += cpus
			continue
		}
		n += max(0, cpus-of[name])
		of[name] = max(of[name], cpus)
	}
	return n
}

// A cell is the intervals of all the runs with one number.
type cell struct {
	load.Interval
	start, end        time.Duration // their sums, for the mean
	shortest, longest time.Duration
	n                 int
}

func (c *cell) add(i *load.Interval, start, end time.Duration) {
	c.Merge(i)
	c.Pack() // there may be thousands
	if c.n == 0 {
		c.shortest = end - start
	}
	c.start += start
	c.end += end
	c.shortest, c.longest = min(c.shortest, end-start), max(c.longest, end-start)
	c.n++
}

// whole tells whether each of the runs has a part in the cell, and of one length: the
// rates of parts that last for different times do not add.
func (c *cell) whole(runs int) bool { return c.n == runs && c.shortest >= c.longest*9/10 }

// intervalsOf gives each cell the mean of its intervals' times, so that the rates of
// the machines add up although their seconds did not begin at the same moment.
// What not all runs have is ragged.
func intervalsOf(cells []*cell, runs int) (list []*load.Interval, ragged *load.Interval) {
	ragged = new(load.Interval)
	for _, c := range cells {
		if !c.whole(runs) {
			ragged.Merge(&c.Interval)
			continue
		}
		n := time.Duration(c.n)
		c.Start, c.End, c.Wait = c.start/n, c.end/n, c.Wait/n // Merge has added up the waits
		list = append(list, &c.Interval)
	}
	return list, ragged
}

// Concat puts runs one behind another, in the order in which they began: slices of a
// longer run, or of one that took turns with another. The time between them is left
// out, and so it is in the times of the intervals; notes say how much it was. The runs
// must be of one kind, and must not overlap.
func Concat(runs []Run) (whole *load.Record, notes []string, err error) {
	if err := mergeable(runs, false); err != nil {
		return nil, nil, err
	}
	runs = slices.SortedFunc(slices.Values(runs), func(a, b Run) int { return cmp.Compare(begin(a).UnixNano(), begin(b).UnixNano()) })
	whole = joint(runs)
	first := runs[0]
	whole.Started, whole.Config.Connections, whole.Config.RateRequested, whole.Config.Hold = first.Started, first.Config.Connections, first.Config.RateRequested, first.Config.Hold
	at, ended := first.Intervals[0].Start, begin(first)
	for n, r := range runs {
		gap := begin(r).Sub(ended)
		if gap < -usual(r.Intervals)/2 {
			return nil, nil, fmt.Errorf("%s began %s before %s had ended; runs side by side are merged otherwise", r.Name, span(-gap), runs[n-1].Name)
		}
		if gap > usual(r.Intervals)/2 {
			notes = append(notes, fmt.Sprintf("left out: %s between %s and %s", span(gap), runs[n-1].Name, r.Name))
		}
		shift := at - r.Intervals[0].Start
		for _, i := range r.Intervals {
			moved := *i
			moved.Start, moved.End = i.Start+shift, i.End+shift
			whole.Intervals = append(whole.Intervals, &moved)
		}
		at, ended = end(r.Intervals)+shift, finish(r)
		whole.Config.Seconds += r.Config.Seconds
		whole.Host.CPUs = max(whole.Host.CPUs, r.Host.CPUs)
	}
	return whole, notes, nil
}

// mergeable returns what keeps runs from being added, side by side or not.
func mergeable(runs []Run, parts bool) error {
	if len(runs) == 0 {
		return errors.New("no run to merge")
	}
	for _, r := range runs {
		if err := filled(r); err != nil {
			return err
		}
	}
	if err := unrepeated(runs); err != nil {
		return err
	}
	for _, r := range runs {
		if err := sameKind(runs[0], r, parts); err != nil {
			return err
		}
		if (r.Config.RateRequested == 0) != (runs[0].Config.RateRequested == 0) {
			return &KindError{runs[0].Name, r.Name, []string{"only one has a requested rate"}}
		}
		// A busy machine's seconds are longer now and then; other lengths are asked for.
		a, b := usual(runs[0].Intervals), usual(r.Intervals)
		if parts && min(len(runs[0].Intervals), len(r.Intervals)) > 1 && float64(max(a, b)) > 1.5*float64(min(a, b)) {
			return &KindError{runs[0].Name, r.Name, []string{fmt.Sprintf("intervals of %s and %s", span(a), span(b))}}
		}
	}
	return nil
}

// unrepeated returns an error if a run is in two of the records: it would count twice.
func unrepeated(runs []Run) error {
	in := make(map[string]Run)
	for _, r := range runs {
		for _, id := range r.RunIDs() {
			other, repeated := in[id]
			in[id] = r
			if !repeated {
				continue
			}
			switch {
			case len(r.IDs) > 1 && len(other.IDs) > 1:
				return fmt.Errorf("%s and %s both contain the run %s", other.Name, r.Name, clean(id))
			case len(r.IDs) > 1:
				return fmt.Errorf("%s already contains %s (run %s)", r.Name, other.Name, clean(id))
			case len(other.IDs) > 1:
				return fmt.Errorf("%s already contains %s (run %s)", other.Name, r.Name, clean(id))
			}
			return fmt.Errorf("%s and %s are the same run (%s)", other.Name, r.Name, clean(id))
		}
	}
	return nil
}

// joint is what the merged record has of all the runs, whichever way they are put
// together.
func joint(runs []Run) *load.Record {
	whole := &load.Record{Schema: load.RecordSchema, Config: runs[0].Config, Host: runs[0].Host}
	c := &whole.Config
	c.Connections, c.RateRequested, c.Hold, c.Seconds, whole.Host.CPUs = 0, 0, 0, 0, 0
	c.Label = inCommon(runs, func(r Run) string { return r.Config.Label })
	c.Target = inCommon(runs, func(r Run) string { return r.Config.Target })
	whole.Engine = inCommon(runs, func(r Run) string { return r.Engine })
	whole.Host.Name = inCommon(runs, func(r Run) string { return r.Host.Name })
	whole.Host.Go = inCommon(runs, func(r Run) string { return r.Host.Go })
	for _, r := range runs {
		whole.IDs = append(whole.IDs, r.RunIDs()...)
		if k := r.Kernel; k != nil {
			if whole.Kernel == nil {
				whole.Kernel = new(load.Kernel)
			}
			whole.Kernel.Connections += k.Connections
			whole.Kernel.Retransmissions += k.Retransmissions
			whole.Kernel.RTT.Merge(&k.RTT)
		}
	}
	return whole
}

// inCommon has each different text once.
func inCommon(runs []Run, of func(Run) string) string {
	var all []string
	for _, r := range runs {
		if s := of(r); s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, ", ")
}

func begin(r Run) time.Time                        { return r.Started.Add(r.Intervals[0].Start) }
func end(intervals []*load.Interval) time.Duration { return intervals[len(intervals)-1].End }
func finish(r Run) time.Time                       { return r.Started.Add(end(r.Intervals)) }

func latest(runs []Run) Run {
	return slices.MaxFunc(runs, func(a, b Run) int { return begin(a).Compare(begin(b)) })
}

func earliest(runs []Run) Run {
	return slices.MinFunc(runs, func(a, b Run) int { return finish(a).Compare(finish(b)) })
}

// commonWindow is from the latest begin to the earliest end.
func commonWindow(runs []Run) (from, to time.Time) {
	return begin(latest(runs)), finish(earliest(runs))
}

// cut is the intervals in the window, and notes on those that are left out.
func cut(r Run, from, to time.Time) (kept []*load.Interval, notes []string) {
	var before, after load.Interval
	var early, late time.Duration
	for _, i := range r.Intervals {
		switch middle := r.Started.Add(i.Start + (i.End-i.Start)/2); {
		case middle.Before(from):
			before.Merge(i)
			early += i.End - i.Start
		case middle.After(to):
			after.Merge(i)
			late += i.End - i.Start
		default:
			kept = append(kept, i)
		}
	}
	if early > 0 {
		notes = append(notes, leftOut(r, early, "beginning", &before))
	}
	if late > 0 {
		notes = append(notes, leftOut(r, late, "end", &after))
	}
	return kept, notes
}

func leftOut(r Run, time time.Duration, where string, i *load.Interval) string {
	return fmt.Sprintf("left out: %s at the %s of %s, %s", span(time), where, r.Name, plural(int(i.Operations()), "exchange"))
}

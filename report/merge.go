package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends/load"
)

// ErrNoOverlap is returned by Merge if the runs do not overlap in time. Concat accepts such
// runs.
var ErrNoOverlap = errors.New("the runs have no time in common")

// Merge adds the runs that several machines made at the same time, over the time that all
// of them have in common: from the latest start to the earliest end, by the clocks of the
// machines, which have to be right (NTP). An interval is in that time if its middle is; the
// others are left out, and notes say which. Connections and requested rates add up. Each
// record's intervals are counted from its first one in the common time, and added up by
// that number.
//
// The runs must be of one kind, except for what adds up, with intervals of one length. A
// run that is in two of the records is rejected: each record has the IDs of its runs.
func Merge(runs []Run) (merged *load.Record, notes []string, err error) {
	m, err := newMerger(runs)
	if err != nil {
		return nil, nil, err
	}
	for n, r := range runs {
		if err := m.add(n, r); err != nil {
			return nil, nil, err
		}
	}
	return m.merged()
}

// A Source is a saved run that is read when it is needed. It is opened at least twice.
type Source struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// MergeSources is Merge for any number of records. It reads each of them twice, and holds
// few at a time: the memory that it takes does not grow with their number.
func MergeSources(sources []Source) (merged *load.Record, notes []string, err error) {
	outlines := make([]Run, len(sources))
	if err := each(sources, func(n int, s Source) error {
		r, err := s.outline() // a local err: several run at once
		outlines[n] = r
		return err
	}); err != nil {
		return nil, nil, err
	}
	m, err := newMerger(outlines)
	if err != nil {
		return nil, nil, err
	}
	err = each(sources, func(n int, s Source) error {
		r, err := s.read(load.ReadRecord)
		if err != nil {
			return err
		}
		return m.add(n, r)
	})
	if err != nil {
		return nil, nil, err
	}
	return m.merged()
}

// each calls do for all sources, as many at a time as there are processors. It returns the
// error of the first source that has one.
func each(sources []Source, do func(int, Source) error) error {
	errs := make([]error, len(sources))
	var next atomic.Int64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range min(len(sources), runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(sources) && !failed.Load(); n = int(next.Add(1)) - 1 {
				if errs[n] = do(n, sources[n]); errs[n] != nil {
					failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s Source) read(read func(io.Reader) (*load.Record, error)) (Run, error) {
	from, err := s.Open()
	if err != nil {
		return Run{}, err
	}
	defer from.Close()
	record, err := read(from)
	if err != nil {
		return Run{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	return Run{s.Name, record}, nil
}

// outline reads what Merge has to know of all runs before it adds them.
func (s Source) outline() (Run, error) {
	r, err := s.read(load.ReadOutline)
	if err != nil || len(r.IDs) > 0 {
		return r, err
	}
	whole, err := s.read(load.ReadRecord) // the ID is made from all of it
	if err != nil {
		return Run{}, err
	}
	r.IDs = whole.RunIDs()
	return r, nil
}

// A merger adds runs over the time that they have in common.
type merger struct {
	outlines []Run
	from, to time.Time
	every    time.Duration

	mu      sync.Mutex // of the rest
	cells   []*cell
	waiting int        // intervals that wait in the cells
	notes   [][]string // of each run
}

// mostWaiting is the number of intervals that wait to be added. Each cell unpacks its sum
// once for all that wait in it, which takes longer than to add one.
const mostWaiting = 2000

// newMerger returns the merger of runs, of which it uses no measurements.
func newMerger(runs []Run) (*merger, error) {
	if err := mergeable(runs, true); err != nil {
		return nil, err
	}
	from, to := commonWindow(runs)
	if !from.Before(to) {
		return nil, fmt.Errorf("%w: %s started %s after %s had ended", ErrNoOverlap, latest(runs).Name, span(from.Sub(to)), earliest(runs).Name)
	}
	return &merger{outlines: runs, from: from, to: to, every: usual(runs[0].Intervals), notes: make([][]string, len(runs))}, nil
}

// add adds run n. It may be called concurrently.
func (m *merger) add(n int, r Run) error {
	kept, notes := cut(r, m.from, m.to)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes[n] = notes
	for _, i := range kept {
		at := int(math.Round(float64(i.Start-kept[0].Start) / float64(max(1, m.every))))
		if at > 1000*len(kept) {
			return fmt.Errorf("%s has a gap in its intervals, before %s", r.Name, span(i.Start))
		}
		for len(m.cells) <= at {
			m.cells = append(m.cells, new(cell))
		}
		m.cells[at].add(i, i.Start-kept[0].Start, i.End-kept[0].Start)
	}
	if m.waiting += len(kept); m.waiting >= mostWaiting {
		m.flush()
	}
	return nil
}

// flush adds the intervals that wait.
func (m *merger) flush() {
	for _, c := range m.cells {
		c.flush()
	}
	m.waiting = 0
}

// merged returns the sum of all runs, after the last call of add.
func (m *merger) merged() (merged *load.Record, notes []string, err error) {
	m.flush()
	notes = slices.Concat(m.notes...)
	merged = joint(m.outlines)
	merged.Started = m.from
	var ragged *load.Interval
	merged.Intervals, ragged = intervalsOf(m.cells, len(m.outlines))
	if n := ragged.Operations(); n > 0 {
		notes = append(notes, fmt.Sprintf("left out: %s in intervals that not all of the runs have completely", plural(int(n), "exchange")))
	}
	if len(merged.Intervals) == 0 {
		return nil, nil, fmt.Errorf("the runs have no complete interval in common: they overlap for %s", span(m.to.Sub(m.from)))
	}
	c := &merged.Config
	c.Seconds = end(merged.Intervals).Seconds()
	for _, r := range m.outlines {
		c.Connections += r.Config.Connections
		c.RateRequested += r.Config.RateRequested
		c.Hold += r.Config.Hold
	}
	merged.Host.CPUs = allCPUs(m.outlines)
	if len(notes) > 0 && merged.Kernel != nil {
		notes = append(notes, "the kernel's figures are those of the whole runs")
	}
	return merged, notes, nil
}

// allCPUs returns the number of CPUs of the machines. Each name is a machine, and so is each
// run without a name.
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
	waiting           []*load.Interval // to be added to Interval
}

func (c *cell) add(i *load.Interval, start, end time.Duration) {
	c.waiting = append(c.waiting, i)
	if c.n == 0 {
		c.shortest = end - start
	}
	c.start += start
	c.end += end
	c.shortest, c.longest = min(c.shortest, end-start), max(c.longest, end-start)
	c.n++
}

// flush adds the intervals that wait. Histograms that are added to stay unpacked until then.
func (c *cell) flush() {
	for _, i := range c.waiting {
		c.Merge(i)
	}
	c.Pack()
	c.waiting = nil
}

// whole reports whether each of the runs has a part in the cell, and of one length: the
// rates of parts that last for different times do not add up.
func (c *cell) whole(runs int) bool { return c.n == runs && c.shortest >= c.longest*9/10 }

// intervalsOf gives each cell the mean of its intervals' times, so that the rates of
// the machines add up although their intervals did not start at the same moment.
// Cells that not all runs have are ragged.
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

// Concat puts runs one after another, in the order in which they started: parts of a longer
// run, or of one that alternated with another. The time between them is left out, also in
// the times of the intervals; notes say how much it was. The runs must be of one kind, and
// must not overlap.
func Concat(runs []Run) (whole *load.Record, notes []string, err error) {
	if err := mergeable(runs, false); err != nil {
		return nil, nil, err
	}
	runs = slices.SortedFunc(slices.Values(runs), func(a, b Run) int { return cmp.Compare(start(a).UnixNano(), start(b).UnixNano()) })
	whole = joint(runs)
	first := runs[0]
	whole.Started, whole.Config.Connections, whole.Config.RateRequested, whole.Config.Hold = first.Started, first.Config.Connections, first.Config.RateRequested, first.Config.Hold
	at, ended := first.Intervals[0].Start, start(first)
	for n, r := range runs {
		gap := start(r).Sub(ended)
		if gap < -usual(r.Intervals)/2 {
			return nil, nil, fmt.Errorf("%s started %s before %s had ended; merge runs that overlap without --concat", r.Name, span(-gap), runs[n-1].Name)
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

// mergeable returns an error if runs cannot be added: side by side if parts, or one after
// another.
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
		// On a busy machine an interval may be longer; a different length was requested.
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

// joint returns what the merged record has of all runs, in both ways to merge.
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

// inCommon returns each different text once.
func inCommon(runs []Run, of func(Run) string) string {
	var all []string
	for _, r := range runs {
		if s := of(r); s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, ", ")
}

func start(r Run) time.Time                        { return r.Started.Add(r.Intervals[0].Start) }
func end(intervals []*load.Interval) time.Duration { return intervals[len(intervals)-1].End }
func finish(r Run) time.Time                       { return r.Started.Add(end(r.Intervals)) }

func latest(runs []Run) Run {
	return slices.MaxFunc(runs, func(a, b Run) int { return start(a).Compare(start(b)) })
}

func earliest(runs []Run) Run {
	return slices.MinFunc(runs, func(a, b Run) int { return finish(a).Compare(finish(b)) })
}

// commonWindow returns the latest start and the earliest end.
func commonWindow(runs []Run) (from, to time.Time) {
	return start(latest(runs)), finish(earliest(runs))
}

// cut returns the intervals in the window, and notes on those that are left out.
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
		notes = append(notes, leftOut(r, early, "start", &before))
	}
	if late > 0 {
		notes = append(notes, leftOut(r, late, "end", &after))
	}
	return kept, notes
}

func leftOut(r Run, time time.Duration, where string, i *load.Interval) string {
	return fmt.Sprintf("left out: %s at the %s of %s, %s", span(time), where, r.Name, plural(int(i.Operations()), "exchange"))
}

package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

const (
	mostRecord = 1 << 30  // octets of a record; a busy day has about that
	mostPart   = 16 << 20 // octets of an interval, or of another property
	mostFree   = 64 << 20 // octets of memory in addition
	mostTimes  = 8        // the octets of the record; 1 to 2 is usual
	eachTakes  = 1 << 10  // octets of memory of an interval without its histograms
	mostID     = 100
	mostNames  = 1000 // of outcomes and phases; a row of a table for each of them
)

// ReadRecord reads one record. It returns an error if the record is larger than 1 GiB,
// and if it holds much more than its size: anyone may have written it.
func ReadRecord(r io.Reader) (*Record, error) { return readRecord(r, math.MaxInt) }

// ReadJoined is ReadRecord for a reader that does not need each interval: if there are
// more than most, neighbours are joined while they are read, to at least half as many.
// The memory that it takes does not grow with the length of the run.
func ReadJoined(r io.Reader, most int) (*Record, error) { return readRecord(r, max(2, most&^1)) }

// ReadOutline reads a record without what was measured: its Intervals have a start and an
// end alone. It takes a fraction of the time and memory of ReadRecord. A record without
// IDs has none in its outline.
func ReadOutline(r io.Reader) (*Record, error) {
	return recordReader{outline: true}.read(r, math.MaxInt)
}

func readRecord(r io.Reader, most int) (*Record, error) { return recordReader{}.read(r, most) }

// read reads a record. The reader is used once.
func (d recordReader) read(r io.Reader, most int) (*Record, error) {
	read := &d
	read.from, read.names = &limited{r: r}, make(map[string]bool)
	read.Decoder, read.join = json.NewDecoder(read.from), joiner{most: most, each: 1}
	if err := read.record(); err != nil {
		return nil, fmt.Errorf("read load record: %w", err)
	}
	read.join.end(read.r.Intervals)
	return &read.r, nil
}

// A limited reader ends with an error at the limits of a record.
type limited struct {
	r         io.Reader
	all, part int64 // octets so far
}

func (l *limited) Read(p []byte) (int, error) {
	switch {
	case l.all > mostRecord:
		return 0, fmt.Errorf("it is larger than %d MiB", mostRecord>>20)
	case l.part > mostPart:
		return 0, fmt.Errorf("a part of it is larger than %d MiB", mostPart>>20)
	}
	n, err := l.r.Read(p)
	l.all += int64(n)
	l.part += int64(n)
	return n, err
}

// A recordReader reads a record, of which it holds one interval as text.
type recordReader struct {
	*json.Decoder
	from    *limited
	r       Record
	join    joiner
	outline bool  // without what was measured
	counts  int64 // of all intervals
	takes   int64 // octets of memory
	names   map[string]bool
}

func (d *recordReader) record() error {
	first, err := d.Token()
	switch {
	case err == io.EOF:
		return errors.New("it is empty")
	case err != nil:
		return d.reason(err)
	case first != json.Delim('{'):
		return errors.New("it is not a JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return d.reason(err)
		}
		d.from.part = 0
		if err := d.property(name.(string)); err != nil { // the names of an object are strings
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return d.reason(err)
	}
	switch _, err := d.Token(); {
	case err != io.EOF:
		return errors.New("unexpected data after the record; each record needs a file of its own")
	case d.r.Schema == "":
		return errors.New("it has no schema")
	case d.r.Schema != RecordSchema:
		return fmt.Errorf("its schema is %q, and this program reads %q", d.r.Schema, RecordSchema)
	}
	return d.r.checkIDs()
}

// property reads the value of a property.
func (d *recordReader) property(name string) error {
	to := map[string]any{"schema": &d.r.Schema, "ids": &d.r.IDs, "started": &d.r.Started, "engine": &d.r.Engine, "config": &d.r.Config, "host": &d.r.Host, "kernel": &d.r.Kernel}[name]
	switch {
	case name == "intervals":
		return d.intervals()
	case to == nil:
		to = new(json.RawMessage) // of a later version
	}
	if err := d.reason(d.Decode(to)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (d *recordReader) intervals() error {
	first, err := d.Token()
	switch {
	case err != nil:
		return d.reason(err)
	case first == nil: // null
		return nil
	case first != json.Delim('['):
		return errors.New("intervals: not an array")
	}
	for d.More() {
		d.from.part = 0
		i, err := d.interval()
		if err == nil {
			err = d.add(i)
		}
		if err != nil {
			return fmt.Errorf("interval %d: %w", d.join.added, err)
		}
	}
	_, err = d.Token()
	return d.reason(err)
}

// interval reads one interval.
func (d *recordReader) interval() (*Interval, error) {
	i := new(Interval)
	if !d.outline {
		return i, i.from(func(j **intervalJSON) error { return d.reason(d.Decode(j)) })
	}
	var times *struct{ Start, End float64 }
	if err := d.reason(d.Decode(&times)); err != nil {
		return nil, err
	}
	if times == nil {
		return nil, errNull
	}
	i.Start, i.End, i.Outcomes = seconds(times.Start), seconds(times.End), make(map[string]int64)
	return i, nil
}

// add adds an interval, if its times and counts can be relied on.
func (d *recordReader) add(i *Interval) error {
	var before time.Duration
	if n := len(d.r.Intervals); n > 0 {
		before = d.r.Intervals[n-1].End
	}
	switch {
	case i.Start < before-time.Millisecond: // they are numbers with a fraction, and may be off by a bit
		return errors.New("it starts before the end of the interval before it")
	case i.End <= i.Start || i.End >= forever:
		return errors.New("it has no end")
	case i.Wait < 0 || i.Wait > i.End-i.Start+time.Millisecond:
		return fmt.Errorf("it is %v long, and its wait is %v", i.End-i.Start, i.Wait)
	}
	if err := i.counted(); err != nil {
		return err
	}
	d.counts += i.Operations() + i.Queued + i.Unsent + i.BackOffs
	for _, h := range i.histograms() {
		d.counts += h.count
		d.takes += int64(len(h.packed))
	}
	if d.counts > mostCount {
		return errors.New("the counts are too large")
	}
	if most := mostFree + mostTimes*d.from.all; d.takes > most {
		return fmt.Errorf("the record takes more than %d MiB of memory, which is too much for its size", most>>20)
	}
	if d.name(i); len(d.names) > mostNames {
		return fmt.Errorf("the record has more than %d outcomes and phases", mostNames)
	}
	kept := len(d.r.Intervals)
	if d.r.Intervals = d.join.add(d.r.Intervals, i); len(d.r.Intervals) != kept {
		d.takes += eachTakes
	}
	return nil
}

// name notes the names of an interval's outcomes and phases.
func (d *recordReader) name(i *Interval) {
	for name := range i.Outcomes {
		d.names[name] = true
	}
	for name := range i.Phases {
		d.names[name] = true
	}
}

// A joiner keeps a list of Intervals short: if there are more than most, it joins
// neighbours, so that each has the same number of Intervals.
type joiner struct {
	most  int // to keep
	each  int // that are joined to one
	added int
}

// add adds an interval to the last one of the list, or after it.
func (j *joiner) add(list []*Interval, i *Interval) []*Interval {
	j.added++
	if (j.added-1)%j.each > 0 {
		list[len(list)-1].Merge(i)
		return list
	}
	j.end(list)
	if len(list) >= j.most {
		list = inPairs(list)
		j.each *= 2
	}
	return append(list, i)
}

// end packs the last interval of the list, to which others may have been joined.
func (j *joiner) end(list []*Interval) {
	if len(list) > 0 {
		list[len(list)-1].Pack()
	}
}

// inPairs joins the first interval and the second, and so on.
func inPairs(list []*Interval) []*Interval {
	for n, i := range list {
		if n%2 == 0 {
			list[n/2] = i
			continue
		}
		list[n/2].Merge(i)
		list[n/2].Pack()
	}
	half := (len(list) + 1) / 2
	clear(list[half:])
	return list[:half]
}

// counted returns what is wrong with an interval's counts.
func (i *Interval) counted() error {
	all := int64(0)
	for outcome, n := range i.Outcomes {
		if all += n; n < 0 || n > mostCount || all > mostCount {
			return fmt.Errorf("the outcome %q has the count %d", outcome, n)
		}
	}
	for _, of := range []struct {
		name    string
		n, most int64
	}{{"queued", i.Queued, mostCount}, {"unsent", i.Unsent, mostCount}, {"back_offs", i.BackOffs, mostCount}, {"gcs", i.Health.GCs, mostCount}, {"succeeded", i.Succeeded, all}} {
		if of.n < 0 || of.n > of.most {
			return fmt.Errorf("%s is %d, and the outcomes add up to %d", of.name, of.n, all)
		}
	}
	for name, h := range i.Phases {
		if h == nil {
			return fmt.Errorf("the phase %q is null", name)
		}
	}
	if i.Latency.count > all {
		return fmt.Errorf("%d latencies of %d exchanges", i.Latency.count, all)
	}
	return nil
}

// checkIDs returns what is wrong with the IDs.
func (r *Record) checkIDs() error {
	seen := make(map[string]bool, len(r.IDs))
	for _, id := range r.IDs {
		switch {
		case id == "" || len(id) > mostID:
			return fmt.Errorf("an ID has %d characters; it needs 1 to %d", len(id), mostID)
		case seen[id]:
			return fmt.Errorf("it has the run %q twice", id)
		}
		seen[id] = true
	}
	return nil
}

// reason returns an error of the decoder in words for the user of a file.
func (d *recordReader) reason(err error) error {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends in the middle of the record")
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not valid JSON after octet %d", d.InputOffset())
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%s: unexpected %s", wrong.Field, wrong.Value)
	case wrong != nil:
		return fmt.Errorf("unexpected %s", wrong.Value)
	}
	return err
}

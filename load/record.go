package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// RecordSchema names the form of a Record as JSON.
const RecordSchema = "bothends.load-record/v1"

// A Record is a run as it is saved: how it was made, and each of its Intervals with
// its histograms, so that runs can be merged and compared afterwards without loss.
// docs/load-record.schema.json describes its JSON.
type Record struct {
	Schema string    `json:"schema"`
	Began  time.Time `json:"began"` // the end of the warm-up, from which the Intervals count
	Config Config    `json:"config"`
	Host   Host      `json:"host"`

	Intervals []*Interval `json:"intervals"`
	// Kernel is the sum of what the kernel said of the connections; absent where it
	// was not asked.
	Kernel *Kernel `json:"kernel,omitempty"`
}

// A Config is how a run was made. Two runs are of one kind when their Configs are
// equal, but for Label, Target, Seconds and Warmup.
type Config struct {
	Label       string  `json:"label,omitempty"` // the user's own name for the run
	Target      string  `json:"target"`
	Loop        string  `json:"loop"`              // "open" or "closed"
	Arrival     string  `json:"arrival,omitempty"` // of an open loop: "constant" or "poisson"
	RateAsked   float64 `json:"rate_asked"`        // operations a second; 0: as fast as it goes
	Connections int     `json:"connections"`
	// PerConnection is the exchanges on one connection; 0 is all of them.
	PerConnection int     `json:"per_connection"`
	RequestOctets int     `json:"request_octets"`
	ReplyOctets   int     `json:"reply_octets"`
	Hold          int     `json:"hold,omitempty"` // idle connections besides
	Fault         string  `json:"fault,omitempty"`
	FaultShare    float64 `json:"fault_share,omitempty"` // of the connections, 0 to 1
	Seconds       float64 `json:"seconds"`               // asked for, without the warm-up; 0: by count
	Warmup        float64 `json:"warmup,omitempty"`      // seconds
	Ramp          float64 `json:"ramp,omitempty"`        // seconds until the rate, or all connections, were reached
	Timeout       float64 `json:"timeout,omitempty"`     // seconds for one exchange; 0: none
}

// A Host is the machine that made the run.
type Host struct {
	Name string `json:"name,omitempty"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"` // that the generator may use
	Go   string `json:"go"`
}

// A Kernel is the kernel's figures, summed over connections (tcp(7), TCP_INFO).
type Kernel struct {
	Connections     int64     `json:"connections"` // that were asked about
	Retransmissions int64     `json:"retransmissions"`
	RTT             Histogram `json:"rtt"` // smoothed, one of each connection
}

// intervalJSON is an Interval as JSON: times are seconds.
type intervalJSON struct {
	Start     float64               `json:"start"`
	End       float64               `json:"end"`
	Tail      float64               `json:"tail,omitempty"`
	Behind    int64                 `json:"behind,omitempty"`
	Outcomes  map[string]int64      `json:"outcomes"`
	Succeeded *int64                `json:"succeeded,omitempty"` // absent in old records: Outcomes["ok"]
	Latency   *Histogram            `json:"latency"`
	Service   *Histogram            `json:"service"`
	Phases    map[string]*Histogram `json:"phases,omitempty"`
	Late      *Histogram            `json:"late"`
	Own       *Histogram            `json:"own"`
	Queued    int64                 `json:"queued,omitempty"`
	Unsent    int64                 `json:"unsent,omitempty"`
	BackOffs  int64                 `json:"back_offs,omitempty"`
	BackedOff float64               `json:"backed_off,omitempty"`
	CPU       float64               `json:"cpu"`
	GCs       int64                 `json:"gcs,omitempty"`
	GCPause   float64               `json:"gc_pause,omitempty"`
}

// MarshalJSON gives times in seconds and histograms in HdrHistogram's V2 encoding.
func (i *Interval) MarshalJSON() ([]byte, error) {
	return json.Marshal(intervalJSON{
		i.Start.Seconds(), i.End.Seconds(), i.Tail.Seconds(), i.Behind, i.Outcomes, &i.Succeeded, &i.Latency, &i.Service, i.Phases, &i.Late, &i.Own,
		i.Queued, i.Unsent, i.BackOffs, i.BackedOff.Seconds(), i.Health.CPU.Seconds(), i.Health.GCs, i.Health.GCPause.Seconds(),
	})
}

// UnmarshalJSON reads what MarshalJSON gives.
func (i *Interval) UnmarshalJSON(text []byte) error {
	*i = Interval{}
	j := intervalJSON{Latency: &i.Latency, Service: &i.Service, Late: &i.Late, Own: &i.Own}
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	i.Start, i.End, i.Tail, i.Outcomes, i.Phases = seconds(j.Start), seconds(j.End), seconds(j.Tail), j.Outcomes, j.Phases
	i.Behind, i.Queued, i.Unsent = j.Behind, j.Queued, j.Unsent
	i.BackOffs, i.BackedOff = j.BackOffs, seconds(j.BackedOff)
	if i.Succeeded = j.Outcomes["ok"]; j.Succeeded != nil {
		i.Succeeded = *j.Succeeded
	}
	i.Health = Health{CPU: seconds(j.CPU), GCs: j.GCs, GCPause: seconds(j.GCPause)}
	return nil
}

// Write writes the record as one line of JSON.
func (r *Record) Write(w io.Writer) error {
	r.Schema = RecordSchema
	return json.NewEncoder(w).Encode(r)
}

// ReadRecord reads one record.
func ReadRecord(r io.Reader) (*Record, error) {
	var record Record
	from := json.NewDecoder(r)
	if err := from.Decode(&record); errors.Is(err, io.EOF) {
		return nil, errors.New("read a load record: it is empty")
	} else if err != nil {
		return nil, fmt.Errorf("read a load record: %w", err)
	}
	switch _, err := from.Token(); {
	case err != io.EOF:
		return nil, errors.New("read a load record: there is more behind it; give each record a file of its own")
	case record.Schema == "":
		return nil, errors.New("read a load record: it has no schema")
	case record.Schema != RecordSchema:
		return nil, fmt.Errorf("read a load record: its schema is %q, and this program reads %q", record.Schema, RecordSchema)
	}
	if err := inOrder(record.Intervals); err != nil {
		return nil, fmt.Errorf("read a load record: %w", err)
	}
	return &record, nil
}

// counted tells what is wrong with an interval's counts.
func (i *Interval) counted() error {
	const most = 1 << 50 // beyond it sums might not be right
	all := int64(0)
	for outcome, n := range i.Outcomes {
		if n < 0 || n > most {
			return fmt.Errorf("%d exchanges are %q", n, outcome)
		}
		all += n
	}
	for name, n := range map[string]int64{"queued": i.Queued, "unsent": i.Unsent, "back_offs": i.BackOffs} {
		if n < 0 || n > most {
			return fmt.Errorf("%s is %d", name, n)
		}
	}
	if i.Behind < 0 || i.Behind > all {
		return fmt.Errorf("%d of %d exchanges ended behind the schedule", i.Behind, all)
	}
	if i.Succeeded < 0 || i.Succeeded > all {
		return fmt.Errorf("%d of %d exchanges succeeded", i.Succeeded, all)
	}
	if timed := i.Latency.Count(); timed < 0 || timed > all {
		return fmt.Errorf("%d latencies of %d exchanges", timed, all)
	}
	return nil
}

// inOrder tells what is wrong with the times and counts of intervals that anybody may have
// written: whoever adds them up relies on their order.
func inOrder(intervals []*Interval) error {
	var last time.Duration
	for n, i := range intervals {
		switch {
		case i == nil:
			return fmt.Errorf("interval %d is null", n)
		case i.Start < last-time.Millisecond: // they are numbers with a fraction, and may be off by a bit
			return fmt.Errorf("interval %d begins before the one before it has ended", n)
		case i.End <= i.Start || i.End >= forever:
			return fmt.Errorf("interval %d ends at no time", n)
		case i.Tail < 0 || i.Tail > i.End-i.Start+time.Millisecond:
			return fmt.Errorf("interval %d is %v long, and its tail %v", n, i.End-i.Start, i.Tail)
		}
		if err := i.counted(); err != nil {
			return fmt.Errorf("interval %d: %w", n, err)
		}
		last = i.End
	}
	return nil
}

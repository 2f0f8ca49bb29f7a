package load

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// RecordSchema names the form of a Record as JSON.
const RecordSchema = "bothends.load-record/v1"

// A Record is a run as it is saved: how it was made, and each of its Intervals with
// its histograms, so that runs can be merged and compared afterwards without loss.
// docs/schema/load-record.schema.json describes its JSON.
type Record struct {
	Schema string `json:"schema"`
	// IDs identify the runs that are in the record: one, or those of all the records
	// that were merged. See RunIDs.
	IDs    []string  `json:"ids,omitempty"`
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

// MarshalJSON returns times in seconds and histograms in HdrHistogram's V2 encoding.
func (i *Interval) MarshalJSON() ([]byte, error) { return json.Marshal(i.json()) }

func (i *Interval) json() *intervalJSON {
	return &intervalJSON{
		i.Start.Seconds(), i.End.Seconds(), i.Tail.Seconds(), i.Behind, i.Outcomes, &i.Succeeded, &i.Latency, &i.Service, i.Phases, &i.Late, &i.Own,
		i.Queued, i.Unsent, i.BackOffs, i.BackedOff.Seconds(), i.Health.CPU.Seconds(), i.Health.GCs, i.Health.GCPause.Seconds(),
	}
}

// UnmarshalJSON reads what MarshalJSON returns.
func (i *Interval) UnmarshalJSON(text []byte) error {
	*i = Interval{}
	return i.from(func(j **intervalJSON) error { return json.Unmarshal(text, j) })
}

var errNull = errors.New("it is null")

// from fills i with what decode reads.
func (i *Interval) from(decode func(**intervalJSON) error) error {
	j := &intervalJSON{Latency: &i.Latency, Service: &i.Service, Late: &i.Late, Own: &i.Own}
	if err := decode(&j); err != nil {
		return err
	}
	if j == nil {
		return errNull
	}
	i.Start, i.End, i.Tail, i.Outcomes, i.Phases = seconds(j.Start), seconds(j.End), seconds(j.Tail), j.Outcomes, j.Phases
	i.Behind, i.Queued, i.Unsent = j.Behind, j.Queued, j.Unsent
	i.BackOffs, i.BackedOff = j.BackOffs, seconds(j.BackedOff)
	if i.Outcomes == nil {
		i.Outcomes = make(map[string]int64)
	}
	if i.Succeeded = j.Outcomes["ok"]; j.Succeeded != nil {
		i.Succeeded = *j.Succeeded
	}
	i.Health = Health{CPU: seconds(j.CPU), GCs: j.GCs, GCPause: seconds(j.GCPause)}
	return nil
}

// NewID returns an ID for a run that no other run has.
func NewID() string { return rand.Text() }

// RunIDs returns the IDs of the runs in the record. A record of before there were IDs
// has one that is made from its measurements.
func (r *Record) RunIDs() []string {
	if len(r.IDs) > 0 {
		return r.IDs
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %q\n", r.Began.UnixNano(), r.Host.Name)
	for _, i := range r.Intervals {
		fmt.Fprintln(sum, i.Start.Microseconds(), i.End.Microseconds())
		for _, outcome := range slices.Sorted(maps.Keys(i.Outcomes)) {
			fmt.Fprintf(sum, "%q %d\n", outcome, i.Outcomes[outcome])
		}
		for _, h := range []*Histogram{&i.Latency, &i.Service} {
			packed := h.pack()
			sum.Write(binary.AppendUvarint(nil, uint64(len(packed))))
			sum.Write(packed)
		}
	}
	return []string{"sha256-" + hex.EncodeToString(sum.Sum(nil)[:13])}
}

// Write writes the record as one line of JSON. It does not hold all of it in memory.
func (r *Record) Write(w io.Writer) error {
	r.Schema = RecordSchema
	out := bufio.NewWriterSize(w, 1<<16)
	head, err := json.Marshal(struct {
		Schema string    `json:"schema"`
		IDs    []string  `json:"ids,omitempty"`
		Began  time.Time `json:"began"`
		Config Config    `json:"config"`
		Host   Host      `json:"host"`
	}{r.Schema, r.IDs, r.Began, r.Config, r.Host})
	if err != nil {
		return err
	}
	out.Write(head[:len(head)-1])
	out.WriteString(`,"intervals":`)
	before := byte('[')
	for _, i := range r.Intervals {
		text, err := json.Marshal(i.json())
		if err != nil {
			return err
		}
		out.WriteByte(before)
		if _, err := out.Write(text); err != nil {
			return err
		}
		before = ','
	}
	if before == '[' {
		out.WriteByte(before)
	}
	out.WriteByte(']')
	if r.Kernel != nil {
		text, err := json.Marshal(r.Kernel)
		if err != nil {
			return err
		}
		out.WriteString(`,"kernel":`)
		out.Write(text)
	}
	out.WriteString("}\n")
	return out.Flush()
}

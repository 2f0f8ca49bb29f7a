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
const RecordSchema = "bothends.load-record/v2"

// A Record is a run as it is saved: how it was made, and each of its Intervals with
// its histograms, so that runs can be merged and compared afterwards without loss.
// docs/schema/load-record.schema.json describes its JSON.
type Record struct {
	Schema string `json:"schema"`
	// IDs identify the runs that are in the record: one, or those of all the records
	// that were merged. See RunIDs.
	IDs     []string  `json:"ids,omitempty"`
	Started time.Time `json:"started"` // the end of the warm-up, from which the Intervals count
	Engine  string    `json:"engine"`  // the Engine that made the operations
	Config  Config    `json:"config"`
	Host    Host      `json:"host"`

	Intervals []*Interval `json:"intervals"`
	// Kernel is what the kernel reported about the connections; nil if it was not asked.
	Kernel *Kernel `json:"kernel,omitempty"`
}

// A Config is how a run was made. Two runs are of one kind if their Configs are equal,
// except for Label, Target, Seconds and Warmup.
type Config struct {
	Label         string  `json:"label,omitempty"` // the user's name for the run
	Target        string  `json:"target"`
	Loop          string  `json:"loop"`              // "open" or "closed"
	Arrival       string  `json:"arrival,omitempty"` // of an open loop: "constant", "poisson", "ramp", "steps", or "" for another Pacer
	RateRequested float64 `json:"rate_requested"`    // operations per second; 0 is as fast as possible, or not known
	Connections   int     `json:"connections"`       // Runner.Workers
	// PerConnection is the number of exchanges on one connection. 0 is not known, and
	// negative is no limit.
	PerConnection int      `json:"per_connection"`
	RequestOctets int      `json:"request_octets"`
	ReplyOctets   int      `json:"reply_octets"`
	Success       []string `json:"success,omitempty"`     // the outcomes that are success; none is "ok"
	Hold          int      `json:"hold,omitempty"`        // additional idle connections
	Fault         string   `json:"fault,omitempty"`       // what the client does wrong on purpose
	FaultShare    float64  `json:"fault_share,omitempty"` // of the connections, 0 to 1
	Seconds       float64  `json:"seconds"`               // requested, without the warm-up; 0 is by count
	Warmup        float64  `json:"warmup,omitempty"`      // seconds
	Ramp          float64  `json:"ramp,omitempty"`        // seconds until the rate, or all connections, were reached
	Timeout       float64  `json:"timeout,omitempty"`     // seconds for one exchange; 0 is none
}

// IsSuccess reports whether an outcome is success.
func (c *Config) IsSuccess(outcome string) bool {
	if len(c.Success) == 0 {
		return outcome == OK
	}
	return slices.Contains(c.Success, outcome)
}

// A Host is the machine that made the run.
type Host struct {
	Name string `json:"name,omitempty"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"` // available to the generator
	Go   string `json:"go"`
}

// A Kernel is the sum of the kernel's figures of connections (tcp(7), TCP_INFO).
type Kernel struct {
	Connections     int64     `json:"connections"` // that the kernel was asked about
	Retransmissions int64     `json:"retransmissions"`
	RTT             Histogram `json:"rtt"` // smoothed, one value for each connection
}

// intervalJSON is an Interval as JSON: times are seconds.
type intervalJSON struct {
	Start         float64               `json:"start"`
	End           float64               `json:"end"`
	Wait          float64               `json:"wait,omitempty"`
	Outcomes      map[string]int64      `json:"outcomes"`
	Succeeded     int64                 `json:"succeeded"`
	Latency       *Histogram            `json:"latency"`
	Service       *Histogram            `json:"service"`
	Phases        map[string]*Histogram `json:"phases,omitempty"`
	StartDelay    *Histogram            `json:"start_delay"`
	SchedulingLag *Histogram            `json:"scheduling_lag"`
	Queued        int64                 `json:"queued,omitempty"`
	Unsent        int64                 `json:"unsent,omitempty"`
	BackOffs      int64                 `json:"back_offs,omitempty"`
	BackedOff     float64               `json:"backed_off,omitempty"`
	CPU           float64               `json:"cpu"`
	GCs           int64                 `json:"gcs,omitempty"`
	GCPause       float64               `json:"gc_pause,omitempty"`
}

// MarshalJSON returns times in seconds and histograms in HdrHistogram's V2 encoding.
func (i *Interval) MarshalJSON() ([]byte, error) { return json.Marshal(i.json()) }

func (i *Interval) json() *intervalJSON {
	return &intervalJSON{
		i.Start.Seconds(), i.End.Seconds(), i.Wait.Seconds(), i.Outcomes, i.Succeeded, &i.Latency, &i.Service, i.Phases, &i.StartDelay, &i.SchedulingLag,
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
	j := &intervalJSON{Latency: &i.Latency, Service: &i.Service, StartDelay: &i.StartDelay, SchedulingLag: &i.SchedulingLag}
	if err := decode(&j); err != nil {
		return err
	}
	if j == nil {
		return errNull
	}
	i.Start, i.End, i.Wait, i.Outcomes, i.Phases = seconds(j.Start), seconds(j.End), seconds(j.Wait), j.Outcomes, j.Phases
	i.Succeeded, i.Queued, i.Unsent = j.Succeeded, j.Queued, j.Unsent
	i.BackOffs, i.BackedOff = j.BackOffs, seconds(j.BackedOff)
	if i.Outcomes == nil {
		i.Outcomes = make(map[string]int64)
	}
	i.Health = Health{CPU: seconds(j.CPU), GCs: j.GCs, GCPause: seconds(j.GCPause)}
	return nil
}

// NewID returns an ID for a run that no other run has.
func NewID() string { return rand.Text() }

// RunIDs returns the IDs of the runs in the record. A record without IDs has one that is
// made from its measurements.
func (r *Record) RunIDs() []string {
	if len(r.IDs) > 0 {
		return r.IDs
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %q\n", r.Started.UnixNano(), r.Host.Name)
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
		Schema  string    `json:"schema"`
		IDs     []string  `json:"ids,omitempty"`
		Started time.Time `json:"started"`
		Engine  string    `json:"engine"`
		Config  Config    `json:"config"`
		Host    Host      `json:"host"`
	}{r.Schema, r.IDs, r.Started, r.Engine, r.Config, r.Host})
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

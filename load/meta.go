package load

import (
	"context"
	"os"
	"runtime"
	"time"
)

// Meta describes a run in its Record: what a Runner does not know. All fields are optional.
type Meta struct {
	Label  string // the user's name for the run
	Target string // what was measured, such as an address
	// RequestOctets and ReplyOctets are the sizes of an exchange.
	RequestOctets, ReplyOctets int
	// PerConnection is the number of exchanges on one connection. 0 is not known, and
	// negative is no limit.
	PerConnection int
	Hold          int           // additional idle connections
	Fault         string        // what the client does wrong on purpose
	FaultShare    float64       // of the connections, 0 to 1
	Timeout       time.Duration // for one operation; 0 is none
	// Kernel, if not nil, is called at the end of the run, for the kernel's figures of its
	// connections. It may return nil.
	Kernel func() *Kernel
}

// mostKept is the number of Intervals up to which a Record keeps each one, if the length of
// the run was not known in advance.
const mostKept = 1200

// Record makes the operations, and returns the run as it is saved. If the run could not
// start, it returns the error. The end of ctx stops the run without an error: the Record
// is then of what was measured. If the length of the run is not known in advance and Every
// is 0, neighbouring Intervals are joined when there are too many.
func (r *Runner) Record(ctx context.Context, m Meta) (*Record, error) {
	record := &Record{
		Schema: RecordSchema, IDs: []string{NewID()}, Engine: r.engine().Name(),
		Config: r.config(m), Host: thisHost(), Started: time.Now().Add(r.Warmup),
	}
	join := joiner{most: mostKept, each: 1}
	keeps := r.Every > 0 || r.length() > 0
	err := r.run(ctx, func(start time.Time, i *Interval) bool {
		record.Started = start.Add(r.Warmup)
		if r.Progress != nil {
			r.Progress(i)
		}
		if keeps {
			record.Intervals = append(record.Intervals, i)
		} else {
			record.Intervals = join.add(record.Intervals, i)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	join.end(record.Intervals)
	if m.Kernel != nil {
		record.Kernel = m.Kernel()
	}
	return record, nil
}

func (r *Runner) config(m Meta) Config {
	c := Config{
		Label: m.Label, Target: m.Target, Loop: "closed", Connections: max(1, r.Workers), PerConnection: m.PerConnection,
		RequestOctets: m.RequestOctets, ReplyOctets: m.ReplyOctets, Success: r.Success,
		Hold: m.Hold, Fault: m.Fault, FaultShare: m.FaultShare,
		Warmup: r.Warmup.Seconds(), Timeout: max(0, m.Timeout).Seconds(),
	}
	if r.Duration > 0 {
		c.Seconds = (r.Duration - r.Warmup).Seconds()
	}
	if r.Pacer != nil {
		c.Loop = "open"
	}
	if p, ok := r.Pacer.(describedPacer); ok {
		var ramp time.Duration
		c.Arrival, c.RateRequested, ramp = p.describe()
		c.Ramp = ramp.Seconds()
	} else {
		c.Ramp = r.Ramp.Seconds()
	}
	return c
}

func thisHost() Host {
	name, _ := os.Hostname()
	return Host{Name: name, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()}
}

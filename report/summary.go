package report

import (
	"fmt"
	"math"
	"time"

	"github.com/bothends/bothends/load"
)

// SummarySchema names the form of a Figures as JSON.
const SummarySchema = "bothends.load/v2"

// Figures are a run in numbers. Times are in seconds.
type Figures struct {
	Schema string `json:"schema"`
	load.Config
	Started    time.Time        `json:"started"`
	Rate       float64          `json:"rate"`       // load.Interval.Rate
	Throughput float64          `json:"throughput"` // load.Interval.Throughput
	Exchanges  int64            `json:"exchanges"`
	Seconds    float64          `json:"seconds"` // the length of the run, Wait included
	Wait       float64          `json:"wait"`    // load.Interval.Wait
	Outcomes   map[string]int64 `json:"outcomes"`
	Succeeded  int64            `json:"succeeded"`
	Failed     int64            `json:"failed"`
	Queued     int64            `json:"queued"`
	Unsent     int64            `json:"unsent"`
	// BackOffs is how often connections of a closed loop waited after a failure. BackedOff
	// is the sum of these waits.
	BackOffs  int64   `json:"back_offs"`
	BackedOff float64 `json:"backed_off"`

	Latency *Spread            `json:"latency"`
	Service *Spread            `json:"service"`
	Phases  map[string]*Spread `json:"phases"`

	Generator Generator `json:"generator"`
	Kernel    *Kernel   `json:"kernel,omitempty"`
}

// A Spread is the figures of a histogram, in seconds. Without a measurement they are null.
type Spread struct {
	Count int64    `json:"count"`
	Mean  *float64 `json:"mean"`
	P50   *float64 `json:"p50"`
	P90   *float64 `json:"p90"`
	P99   *float64 `json:"p99"`
	P999  *float64 `json:"p99.9"`
	P9999 *float64 `json:"p99.99"`
	Max   *float64 `json:"max"`
	// TooFew names the percentiles for which there are too few measurements: none is beyond
	// them, and they are the maximum, or next to it.
	TooFew []string `json:"too_few,omitempty"`
}

// Generator is what the load generator used.
type Generator struct {
	Engine string `json:"engine"`
	// StartDelay is from the moment exchanges were due to their start. SchedulingLag is the
	// part of it that the generator caused.
	StartDelay    *Spread `json:"start_delay"`
	SchedulingLag *Spread `json:"scheduling_lag"`
	CPU           float64 `json:"cpu"`   // seconds
	Cores         float64 `json:"cores"` // CPU by the time of the run: 1 is one core, all the time
	CPUs          int     `json:"cpus"`  // available to it
	GCs           int64   `json:"gcs"`
	GCPause       float64 `json:"gc_pause"` // the longest
	// Limits are the signs that the generator, and not the server, is the bottleneck.
	Limits []string `json:"limits"`
}

// Kernel is what the kernels reported about the connections.
type Kernel struct {
	Connections     int64   `json:"connections"`
	Retransmissions int64   `json:"retransmissions"`
	RTT             *Spread `json:"rtt"`
}

// Summary returns the figures of a run. docs/load-record.md describes their JSON.
func Summary(r *load.Record) *Figures {
	t := totalsOf(whole(r))
	r = t.record
	f := &Figures{
		Schema: SummarySchema, Config: r.Config, Started: r.Started, Rate: t.rate, Throughput: t.throughput,
		Exchanges: t.all, Seconds: t.seconds, Wait: t.Wait.Seconds(), Outcomes: t.Outcomes, Succeeded: t.Succeeded, Failed: t.failed,
		Queued: t.Queued, Unsent: t.Unsent, BackOffs: t.BackOffs, BackedOff: t.BackedOff.Seconds(),
		Latency: t.latency, Service: t.service, Phases: t.phases,
		Generator: Generator{
			Engine: r.Engine, SchedulingLag: t.lag, StartDelay: t.delay, CPU: t.Health.CPU.Seconds(), Cores: t.cores, CPUs: r.Host.CPUs,
			GCs: t.Health.GCs, GCPause: t.Health.GCPause.Seconds(), Limits: t.limits,
		},
	}
	if k := r.Kernel; k != nil {
		f.Kernel = &Kernel{k.Connections, k.Retransmissions, t.kernelRTT}
	}
	return f
}

func spread(h *load.Histogram) *Spread {
	s := &Spread{Count: h.Count()}
	if s.Count == 0 {
		return s
	}
	at := func(d time.Duration) *float64 { return new(d.Seconds()) }
	s.Mean, s.Max = at(h.Mean()), at(h.Max())
	for n, to := range []**float64{&s.P50, &s.P90, &s.P99, &s.P999, &s.P9999} {
		p := percentiles[n]
		*to = at(h.Quantile(p.q))
		if !supports(s.Count, p.q) {
			s.TooFew = append(s.TooFew, p.name)
		}
	}
	return s
}

// inTime returns a figure of a Spread as a duration.
func inTime(seconds float64) time.Duration { return time.Duration(math.Round(seconds * 1e9)) }

// at returns the figures of a Spread in the order of percentiles.
func (s *Spread) at() []*float64 { return []*float64{s.P50, s.P90, s.P99, s.P999, s.P9999} }

const (
	missedShare = 0.01
	lagShare    = 0.1 // of a percentile of latency
	busyShare   = 0.9
)

// lagNoise is the lag that an idle machine has as well, in one of ten exchanges and in one
// of a hundred: other programs run on it, and its clock interrupts.
var lagNoise = map[string]time.Duration{"p50": 0, "p90": 100 * time.Microsecond, "p99": time.Millisecond}

// limits returns the signs that the generator was the bottleneck, and not the server. That
// exchanges wait for a connection while all are busy is not such a sign.
func limits(t *totals) []string {
	reasons := []string{}
	if n := t.Outcomes[load.Local]; n > 0 {
		reasons = append(reasons, plural(int(n), "exchange")+" failed because of a limit of this machine")
	}
	if missed := missed(t); missed > missedShare && t.Queued == 0 {
		reasons = append(reasons, fmt.Sprintf("the rate was %.1f %% below the requested rate, and no exchange waited for a connection", 100*missed))
	}
	if reason := lagReason(t.Interval); reason != "" {
		reasons = append(reasons, reason)
	}
	if cpus := t.record.Host.CPUs; cpus > 0 && t.cores > busyShare*float64(cpus) {
		reasons = append(reasons, fmt.Sprintf("it used %.2f of the %s available to it", t.cores, plural(cpus, "CPU")))
	}
	return reasons
}

// lagReason names the percentile of latency that the scheduling lag changes most, and by how
// much; it is "" if the lag does not matter. Lag adds to a percentile no more than its own
// percentile, and no more than the difference between latency and service time.
func lagReason(total *load.Interval) (reason string) {
	most := lagShare
	for _, p := range percentiles {
		noise, judged := lagNoise[p.name]
		latency := total.Latency.Quantile(p.q)
		added := min(total.SchedulingLag.Quantile(p.q), latency-total.Service.Quantile(p.q))
		if !judged || added <= noise || !supports(total.SchedulingLag.Count(), p.q) {
			continue
		}
		if part := float64(added) / float64(max(1, latency)); part > most {
			most = part
			reason = fmt.Sprintf("scheduling lag makes up %s of the %s of latency %s (%.0f %%)", span(added), span(latency), p.name, 100*part)
		}
	}
	return reason
}

// missed returns the share of the requested rate that was missed: what was never sent, or
// how much longer than the schedule the run took. The longest exchange may come after the
// schedule, because it may be the last one.
func missed(t *totals) float64 {
	c, due := &t.record.Config, float64(t.all+t.Unsent)
	if c.RateRequested <= 0 || due == 0 || t.all == 0 {
		return 0
	}
	schedule := c.Seconds
	if c.Ramp > 0 || schedule == 0 && c.Arrival == "poisson" {
		return float64(t.Unsent) / due // the length of such a schedule is not in the record
	}
	if schedule == 0 {
		schedule = due / c.RateRequested
	}
	longer := 1 - schedule/max(schedule, (t.End-t.Start-t.Service.Max()).Seconds())
	return max(longer, float64(t.Unsent)/due)
}

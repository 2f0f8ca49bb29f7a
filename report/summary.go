package report

import (
	"fmt"
	"time"

	"github.com/bothends/bothends/load"
)

// SummarySchema names the form of a Figures as JSON.
const SummarySchema = "bothends.load/v1"

// Figures are a run in numbers; times are seconds.
type Figures struct {
	Schema string `json:"schema"`
	load.Config
	Began     time.Time        `json:"began"`
	Rate      float64          `json:"rate"`    // load.Interval.Rate
	RateOK    float64          `json:"rate_ok"` // load.Interval.Throughput
	Exchanges int64            `json:"exchanges"`
	Seconds   float64          `json:"seconds"` // that it took, the tail included
	Tail      float64          `json:"tail"`    // seconds of it after the schedule
	Behind    int64            `json:"behind"`  // exchanges that succeeded, but too late for the rates
	Outcomes  map[string]int64 `json:"outcomes"`
	Succeeded int64            `json:"succeeded"`
	Queued    int64            `json:"queued"`
	Unsent    int64            `json:"unsent"`
	// BackOffs is how often a connection of a closed loop waited after a failure, and
	// BackedOff how long in seconds, all together.
	BackOffs  int64   `json:"back_offs"`
	BackedOff float64 `json:"backed_off"`

	Latency *Spread            `json:"latency"`
	Service *Spread            `json:"service"`
	Phases  map[string]*Spread `json:"phases"`

	Generator Generator `json:"generator"`
	Kernel    *Kernel   `json:"kernel,omitempty"`
}

// A Spread is a histogram's figures, in seconds; without a measurement they are null.
type Spread struct {
	Count int64    `json:"count"`
	Mean  *float64 `json:"mean"`
	P50   *float64 `json:"p50"`
	P90   *float64 `json:"p90"`
	P99   *float64 `json:"p99"`
	P999  *float64 `json:"p99.9"`
	P9999 *float64 `json:"p99.99"`
	Max   *float64 `json:"max"`
	// TooFew names the percentiles that so few measurements do not support: nothing
	// lies beyond them, and they are the maximum, or next to it, and no more.
	TooFew []string `json:"too_few,omitempty"`
}

// Generator is the load generator's own health.
type Generator struct {
	Engine string `json:"engine"`
	// Lateness is the scheduling lag; Late is the delay from due to start, for whatever
	// reason.
	Lateness *Spread `json:"lateness"`
	Late     *Spread `json:"late"`
	CPU      float64 `json:"cpu"`   // seconds
	Cores    float64 `json:"cores"` // CPU by the run's time: 1 is one core, all the time
	CPUs     int     `json:"cpus"`  // that it may use
	GCs      int64   `json:"gcs"`
	GCPause  float64 `json:"gc_pause"` // the longest
	// Limits are the signs that the generator, and not the server, is the bottleneck.
	Limits []string `json:"limits"`
}

// Kernel is what the kernels said of the connections.
type Kernel struct {
	Connections     int64   `json:"connections"`
	Retransmissions int64   `json:"retransmissions"`
	RTT             *Spread `json:"rtt"`
}

// Summary is the JSON object of a run, of which docs/load-record.md tells.
func Summary(r *load.Record) *Figures {
	r = whole(r)
	total := load.Total(r.Intervals)
	f := &Figures{
		Schema: SummarySchema, Config: r.Config, Began: r.Began, Rate: total.Rate(), RateOK: total.Throughput(),
		Exchanges: total.Operations(), Seconds: (total.End - total.Start).Seconds(), Tail: total.Tail.Seconds(), Behind: total.Behind, Outcomes: total.Outcomes, Succeeded: total.Succeeded,
		Queued: total.Queued, Unsent: total.Unsent, BackOffs: total.BackOffs, BackedOff: total.BackedOff.Seconds(),
		Latency: spread(&total.Latency), Service: spread(&total.Service), Phases: make(map[string]*Spread),
		Generator: Generator{
			Engine: "go", Lateness: spread(&total.Own), Late: spread(&total.Late),
			CPU: total.Health.CPU.Seconds(), Cores: cores(total), CPUs: r.Host.CPUs,
			GCs: total.Health.GCs, GCPause: total.Health.GCPause.Seconds(), Limits: limits(r, total),
		},
	}
	for name, h := range total.Phases {
		f.Phases[name] = spread(h)
	}
	if k := r.Kernel; k != nil {
		f.Kernel = &Kernel{k.Connections, k.Retransmissions, spread(&k.RTT)}
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

// cores is the share of one core that the generator used.
func cores(i *load.Interval) float64 {
	if i.End <= i.Start {
		return 0
	}
	return i.Health.CPU.Seconds() / (i.End - i.Start).Seconds()
}

const (
	missedShare = 0.01
	lagShare    = 0.1 // of a percentile of latency
	busyShare   = 0.9
)

// lagNoise is the lag that an idle machine has as well, in one of ten exchanges and in one
// of a hundred: other programs run on it, and its clock interrupts.
var lagNoise = map[string]time.Duration{"p50": 0, "p90": 100 * time.Microsecond, "p99": time.Millisecond}

// limits are the signs that the generator was the bottleneck, and not the server. What
// waits for a connection while all are busy is the server's doing, and none of them.
func limits(r *load.Record, total *load.Interval) []string {
	reasons := []string{}
	if n := total.Outcomes[load.Local]; n > 0 {
		reasons = append(reasons, plural(int(n), "exchange")+" failed for a limit of this machine")
	}
	if missed := missed(r, total); missed > missedShare && total.Queued == 0 {
		reasons = append(reasons, fmt.Sprintf("the rate was %.1f %% below the requested rate, and no exchange waited for a connection", 100*missed))
	}
	if reason := lagReason(total); reason != "" {
		reasons = append(reasons, reason)
	}
	if used := cores(total); r.Host.CPUs > 0 && used > busyShare*float64(r.Host.CPUs) {
		reasons = append(reasons, fmt.Sprintf("it used %.2f of the %s that it may use", used, plural(r.Host.CPUs, "CPU")))
	}
	return reasons
}

// lagReason says which percentile of latency the scheduling lag changes most, and by how
// much; "" where it changes none to speak of. Lag adds to a percentile no more than its own
// percentile, and no more than what latency has above the service time.
func lagReason(total *load.Interval) (reason string) {
	most := lagShare
	for _, p := range percentiles {
		noise, judged := lagNoise[p.name]
		latency := total.Latency.Quantile(p.q)
		added := min(total.Own.Quantile(p.q), latency-total.Service.Quantile(p.q))
		if !judged || added <= noise || !supports(total.Own.Count(), p.q) {
			continue
		}
		if part := float64(added) / float64(max(1, latency)); part > most {
			most = part
			reason = fmt.Sprintf("scheduling lag makes up %s of the %s of latency %s (%.0f %%)", span(added), span(latency), p.name, 100*part)
		}
	}
	return reason
}

// missed is the share of the rate asked that was not made: what was never sent, or how
// much longer than the schedule the run took. The longest exchange may come on top of
// the schedule; the last one could be it.
func missed(r *load.Record, total *load.Interval) float64 {
	due := float64(total.Operations() + total.Unsent)
	if r.Config.RateAsked <= 0 || due == 0 || total.Operations() == 0 {
		return 0
	}
	schedule := r.Config.Seconds
	if r.Config.Ramp > 0 || schedule == 0 && r.Config.Arrival == "poisson" {
		return float64(total.Unsent) / due // the length of such a schedule is not in the record
	}
	if schedule == 0 {
		schedule = due / r.Config.RateAsked
	}
	longer := 1 - schedule/max(schedule, (total.End-total.Start-total.Service.Max()).Seconds())
	return max(longer, float64(total.Unsent)/due)
}

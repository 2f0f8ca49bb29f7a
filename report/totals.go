package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bothends/bothends/load"
)

// totals are all figures of a run that text, JSON and page show. These do not compute, and
// take their sentences from here.
type totals struct {
	*load.Interval // the sum
	record         *load.Record

	all, failed                  int64
	seconds                      float64
	rate, throughput, failedRate float64 // per second
	cores                        float64 // CPU time by the time of the run
	backedOff                    float64 // share of the time of all connections
	outcomes                     []outcome
	latency, service, lag, delay *Spread
	phases                       map[string]*Spread
	phaseNames                   []string
	kernelRTT                    *Spread // nil if the kernel was not asked
	limits                       []string
}

// An outcome is a row of the table of outcomes.
type outcome struct {
	name    string
	count   int64
	share   string
	success bool
}

// totalsOf returns the figures of a record, which may be of any origin.
func totalsOf(r *load.Record) *totals {
	sum := load.Total(r.Intervals)
	t := &totals{
		Interval: sum, record: r, all: sum.Operations(), failed: sum.Failed(), seconds: (sum.End - sum.Start).Seconds(),
		rate: sum.Rate(), throughput: sum.Throughput(), failedRate: load.PerSecond(sum.Failed(), sum.End-sum.Start),
		latency: spread(&sum.Latency), service: spread(&sum.Service), lag: spread(&sum.SchedulingLag), delay: spread(&sum.StartDelay),
		phases: make(map[string]*Spread), phaseNames: phaseNames(sum.Phases),
	}
	if t.seconds > 0 {
		t.cores = sum.Health.CPU.Seconds() / t.seconds
		t.backedOff = sum.BackedOff.Seconds() / (float64(max(1, r.Config.Connections)) * t.seconds)
	}
	for _, name := range outcomeNames(sum.Outcomes, &r.Config) {
		n := sum.Outcomes[name]
		t.outcomes = append(t.outcomes, outcome{name, n, t.share(n), r.Config.IsSuccess(name)})
	}
	for name, h := range sum.Phases {
		t.phases[name] = spread(h)
	}
	if k := r.Kernel; k != nil {
		t.kernelRTT = spread(&k.RTT)
	}
	t.limits = limits(t)
	return t
}

// share returns a number of exchanges as a share of all.
func (t *totals) share(n int64) string { return share(float64(n), float64(t.all)) }

// failures returns the outcomes that are failures, the most frequent first.
func (t *totals) failures() (list []outcome) {
	for _, o := range t.outcomes {
		if !o.success && o.count > 0 {
			list = append(list, o)
		}
	}
	return list
}

// outcomeNames returns success first, and then the most frequent.
func outcomeNames(outcomes map[string]int64, c *load.Config) []string {
	failure := func(name string) int {
		if c.IsSuccess(name) {
			return 0
		}
		return 1
	}
	return sortedKeys(outcomes, func(a, b string) int {
		return cmp.Or(cmp.Compare(failure(a), failure(b)), cmp.Compare(outcomes[b], outcomes[a]), cmp.Compare(a, b))
	})
}

// The sentences. They are empty if there is nothing to say.

const bottleneck = "The load generator may be the bottleneck, not the server:"

func (t *totals) rateText() string {
	words := rateText(t.rate)
	if requested := t.record.Config.RateRequested; requested > 0 {
		words += " of " + rateText(requested) + " requested"
	}
	return words + fmt.Sprintf(", %s in %s", plural(int(t.all), "exchange"), span(t.End-t.Start))
}

const seenWait = 0.001 // of the time: a shorter wait does not change the figures

func (t *totals) throughputText() string {
	words := rateText(t.throughput) + " succeeded"
	if t.failed > 0 {
		words += fmt.Sprintf(", %s failed", rateText(t.failedRate))
	}
	if t.Wait.Seconds() > seenWait*t.seconds {
		words += fmt.Sprintf(", with a wait of %s for the last replies", span(t.Wait))
	}
	return words
}

func (t *totals) failedText() string {
	if t.failed == 0 {
		return ""
	}
	return fmt.Sprintf("%d failed (%s)", t.failed, t.share(t.failed))
}

func (t *totals) queuedText() string {
	if t.Queued == 0 {
		return ""
	}
	return plural(int(t.Queued), "exchange") + " waited for a connection (included in latency)"
}

func (t *totals) unsentText() string {
	if t.Unsent == 0 {
		return ""
	}
	return fmt.Sprintf("exchanges that were due but never sent: %d. Latency would be higher with them.", t.Unsent)
}

func (t *totals) backOffText() string {
	if t.BackOffs == 0 {
		return ""
	}
	return fmt.Sprintf("%s after failures that came at once, %s of the time of all connections", plural(int(t.BackOffs), "wait"), share(t.backedOff, 1))
}

func (t *totals) generatorText() string {
	words := fmt.Sprintf("%.2f CPU cores", t.cores)
	if n := t.Health.GCs; n > 0 {
		words += fmt.Sprintf(", %s, longest pause %s", plural(int(n), "garbage collection"), span(t.Health.GCPause))
	}
	return words
}

func (t *totals) kernelText() string {
	k := t.record.Kernel
	if k == nil || k.Connections == 0 {
		return ""
	}
	words := fmt.Sprintf("%s, %s", plural(int(k.Connections), "connection"), plural(int(k.Retransmissions), "retransmission"))
	if t.kernelRTT.Count > 0 {
		words += fmt.Sprintf(", RTT p50 %s, max %s", span(inTime(*t.kernelRTT.P50)), span(inTime(*t.kernelRTT.Max)))
	}
	return words
}

// fewText explains the dashes of the table of latencies.
func (t *totals) fewText() string {
	last := percentiles[len(percentiles)-1].name
	if t.latency.Count == 0 || !slices.Contains(t.latency.TooFew, last) {
		return ""
	}
	return fmt.Sprintf("fewer than 1 of %s is above this percentile", plural(int(t.latency.Count), "sample"))
}

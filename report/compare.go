package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bothends/bothends/load"
)

// CompareSchema names the form of a Comparison as JSON.
const CompareSchema = "bothends.compare/v1"

// A Verdict is what a comparison says of the second run.
type Verdict string

// The verdicts. TooFew is that of a percentile which the counts do not support, and
// TooVaried that of a figure whose interval reaches further than a factor of two: to
// call 25 times as much no difference, because it was so in one second alone, would be
// no help. Neither is ever that of a whole comparison.
const (
	Faster       Verdict = "faster"
	Slower       Verdict = "slower"
	NoDifference Verdict = "no difference"
	TooFew       Verdict = "too few to say"
	TooVaried    Verdict = "varies too much"
)

// A Comparison is what B is in comparison with A. Of its figures the rate is that of
// exchanges that ended with ok, and the others are latencies.
type Comparison struct {
	Schema     string   `json:"schema"`
	A          string   `json:"a"`
	B          string   `json:"b"`
	Verdict    Verdict  `json:"verdict"` // slower if any figure is, or else faster if any is
	Least      float64  `json:"least"`
	Confidence float64  `json:"confidence"` // of each interval, so that all together hold at 98 %
	Metrics    []Metric `json:"metrics"`
	Warnings   []string `json:"warnings"`
}

// A Metric is one figure in comparison. A and B are exchanges a second, or seconds; 0
// is a percentile that is no more than the maximum.
type Metric struct {
	Name    string  `json:"name"`
	A       float64 `json:"a,omitzero"`
	B       float64 `json:"b,omitzero"`
	Ratio   float64 `json:"ratio,omitzero"` // B by A, and its confidence interval
	Low     float64 `json:"low,omitzero"`   // absent where nothing is known of it
	High    float64 `json:"high,omitzero"`
	Verdict Verdict `json:"verdict"`
}

const (
	// DefaultLeast is the smallest difference that is one.
	DefaultLeast = 0.02

	leastIntervals = 8    // with fewer, nothing is known of how they vary
	mostIntervals  = 600  // neighbours of longer runs are joined
	leastBeyond    = 30   // measurements beyond a percentile that is compared
	resamples      = 2000 // of the bootstrap
	errorRate      = 0.02 // of all figures together
)

// Compare says whether B is faster or slower than A, by more than least (0 is
// DefaultLeast, negative is none) and by more than chance. It returns a *KindError for runs that cannot
// be compared, and an error for runs that are too short.
func Compare(a, b Run, least float64) (*Comparison, error) {
	if err := sameKind(a, b, false); err != nil {
		return nil, err
	}
	ia, ib := even(a.Intervals, mostIntervals), even(b.Intervals, mostIntervals)
	for _, r := range []Run{{a.Name, &load.Record{Intervals: ia}}, {b.Name, &load.Record{Intervals: ib}}} {
		if n := len(r.Intervals); n < leastIntervals {
			return nil, fmt.Errorf("too short to say: %s has %s, and a comparison needs %d", r.Name, plural(n, "interval"), leastIntervals)
		}
	}
	if err := alive([]Run{a}, []Run{b}); err != nil {
		return nil, err
	}
	sa, sb := newSeries(ia), newSeries(ib)
	c := newComparison([]Run{a}, []Run{b}, least)
	c.Metrics = measured(sa, sb)
	c.judge(apart(sa, sb))
	return c, nil
}

// CompareTurns is Compare for two that took turns: the first slice of A and the first
// of B are a pair, and so on. It sees smaller differences than Compare, since what the
// machine did besides met both slices of a pair.
func CompareTurns(a, b []Run, least float64) (*Comparison, error) {
	if len(a) != len(b) {
		return nil, fmt.Errorf("%s of A and %d of B are no pairs", plural(len(a), "slice"), len(b))
	}
	if len(a) < leastIntervals {
		return nil, fmt.Errorf("too short to say: there are %s, and a comparison needs %d", plural(len(a), "pair"), leastIntervals)
	}
	var totals [2][]*load.Interval
	for which, slices := range [2][]Run{a, b} {
		for _, r := range slices {
			if err := sameKind(a[0], r, false); err != nil {
				return nil, err
			}
			totals[which] = append(totals[which], load.Total(r.Intervals))
		}
	}
	if err := alive(a, b); err != nil {
		return nil, err
	}
	sa, sb := newSeries(totals[0]), newSeries(totals[1])
	c := newComparison(a, b, least)
	c.Metrics = measured(sa, sb)
	c.judge(turns(sa, sb))
	return c, nil
}

// mostFailed is how much larger a share of one's exchanges may have failed: how long
// the others took says little of a server that has stopped to answer.
const mostFailed = 0.01

// alive refuses runs of which one has failed more than the other.
func alive(a, b []Run) error {
	failed := func(runs []Run) (share float64, words string) {
		var bad, all int64
		for _, r := range runs {
			total := load.Total(r.Intervals)
			bad += total.Operations() + total.Unsent - total.Outcomes["ok"] - total.Outcomes["canceled"]
			all += total.Operations() + total.Unsent
		}
		return float64(bad) / float64(max(1, all)), fmt.Sprintf("%s: %d of %s", names(runs), bad, plural(int(all), "exchange"))
	}
	sa, wa := failed(a)
	sb, wb := failed(b)
	if math.Abs(sa-sb) > mostFailed || sa > 0.5 {
		return fmt.Errorf("too many failed to compare the rest; %s; %s", wa, wb)
	}
	return nil
}

func newComparison(a, b []Run, least float64) *Comparison {
	if least == 0 {
		least = DefaultLeast
	}
	least = max(0, least)
	return &Comparison{Schema: CompareSchema, A: names(a), B: names(b), Least: least, Warnings: warnings(slices.Concat(a, b))}
}

func names(runs []Run) string {
	if len(runs) == 1 {
		return runs[0].Name
	}
	return fmt.Sprintf("%s and %d more", runs[0].Name, len(runs)-1)
}

// The figures that are compared; those behind mean are percentiles.
var compared = []struct {
	name string
	q    float64
}{{"rate", 0}, {"mean", 0}, {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}

// measured is the figures without a verdict, or with TooFew.
func measured(a, b *series) (list []Metric) {
	va, vb := a.figures(a.all()), b.figures(b.all())
	for n, of := range compared {
		m, few := Metric{Name: of.name, A: va[n], B: vb[n]}, min(a.count, b.count)
		if !supports(few, of.q) {
			m.A, m.B = 0, 0 // no more than the maximum
		}
		switch {
		case m.A <= 0 || m.B <= 0, of.q > 0 && beyond(few, of.q) < leastBeyond:
			m.Verdict = TooFew
		default:
			m.Ratio = m.B / m.A
		}
		list = append(list, m)
	}
	return list
}

// judge gives each figure its confidence interval and verdict. The error rate is
// shared out over the figures (Bonferroni), so that it holds for the whole.
func (c *Comparison) judge(half halfWidth) {
	tested := 0
	for _, m := range c.Metrics {
		if m.Verdict == "" {
			tested++
		}
	}
	c.Confidence = 1 - errorRate/float64(max(1, tested))
	c.Verdict = NoDifference
	for n := range c.Metrics {
		m := &c.Metrics[n]
		if m.Verdict != "" {
			continue
		}
		at, by := math.Log(m.Ratio), half(n, c.Confidence)
		if math.IsInf(by, 1) { // it was measured in so few intervals that nothing is known
			m.Verdict = TooVaried
			continue
		}
		m.Low, m.High, m.Verdict = math.Exp(at-by), math.Exp(at+by), NoDifference
		if by > math.Ln2 {
			m.Verdict = TooVaried
		}
		if math.Abs(at) > by && math.Abs(at) >= math.Log1p(c.Least) {
			m.Verdict = Slower
			if (m.Ratio > 1) == (m.Name == "rate") {
				m.Verdict = Faster
			}
		}
		if m.Verdict == Slower || m.Verdict == Faster && c.Verdict == NoDifference {
			c.Verdict = m.Verdict
		}
	}
}

// warnings are what makes a comparison doubtful.
func warnings(runs []Run) []string {
	list := []string{}
	for what, of := range hostTraits {
		for _, r := range runs[1:] {
			if va, vb := of(&runs[0].Host), of(&r.Host); va != vb {
				list = append(list, fmt.Sprintf("the load came from different %s: %v and %v", what, shown(va), shown(vb)))
				break
			}
		}
	}
	slices.Sort(list)
	for n, r := range runs {
		if slices.ContainsFunc(runs[:n], func(before Run) bool { return before.Name == r.Name }) {
			continue // a run may be compared with itself
		}
		total := load.Total(r.Intervals)
		if all, ok := total.Operations(), total.Outcomes["ok"]; ok < all {
			list = append(list, fmt.Sprintf("%s: %d of %s did not end with ok", r.Name, all-ok, plural(int(all), "exchange")))
		}
		if total.Unsent > 0 {
			list = append(list, fmt.Sprintf("%s: %s and never sent", r.Name, wereDue(total.Unsent)))
		}
		if reasons := limits(r.Record, total); len(reasons) > 0 {
			list = append(list, fmt.Sprintf("%s: the generator may have been the limit: %s", r.Name, strings.Join(reasons, "; ")))
		}
	}
	return list
}

var hostTraits = map[string]func(*load.Host) any{
	"machines":        func(h *load.Host) any { return h.Name },
	"systems":         func(h *load.Host) any { return h.OS + "/" + h.Arch },
	"numbers of CPUs": func(h *load.Host) any { return h.CPUs },
	"versions of Go":  func(h *load.Host) any { return h.Go },
}

// Text is the comparison as a table, with the verdict below.
func (c *Comparison) Text(s Style) string {
	t := &text{Style: s}
	t.sentence("A", "", clean(c.A))
	t.sentence("B", "", clean(c.B))
	t.line("")
	t.line("%s", t.paint(bold, fmt.Sprintf("%-10s%11s%11s%9s  %-17s  %s", "", "A", "B", "B/A", "between", "verdict")))
	for _, m := range c.Metrics {
		t.line("%s", t.metric(m))
	}
	t.line("")
	for _, w := range c.Warnings {
		t.sentence("warning", yellow, clean(w))
	}
	color := map[Verdict]string{Slower: red, Faster: green}[c.Verdict]
	for _, line := range wrapped(c.Sentence(), textWidth) {
		t.line("%s", t.paint(color, line))
	}
	return t.b.String()
}

func (t *text) metric(m Metric) string {
	name, show := m.Name+", ms", func(v float64) string { return ms(time.Duration(v * 1e9)) }
	if m.Name == "rate" {
		name, show = "rate", func(v float64) string { return rateText(v) }
	}
	a, b := none, none
	if m.A > 0 || m.B > 0 {
		a, b = show(m.A), show(m.B)
	}
	line := fmt.Sprintf("%-10s%11s%11s", name, a, b)
	if m.Ratio == 0 {
		return fmt.Sprintf("%s%9s  %-17s  %s", line, none, "", m.Verdict)
	}
	between := ""
	if m.High > 0 {
		between = t.ascii(ratioText(m.Low) + " – " + ratioText(m.High))
	}
	color := map[Verdict]string{Slower: red, Faster: green}[m.Verdict]
	return fmt.Sprintf("%s%9s  %-17s  %s", line, ratioText(m.Ratio), between, t.paint(color, string(m.Verdict)))
}

// ratioText has no decimals where they would mean nothing.
func ratioText(ratio float64) string {
	if ratio >= 100 {
		return fmt.Sprintf("%.3g", ratio)
	}
	return fmt.Sprintf("%.3f", ratio)
}

// Sentence is the verdict in words.
func (c *Comparison) Sentence() string {
	names := make(map[Verdict][]string)
	for _, m := range c.Metrics {
		names[m.Verdict] = append(names[m.Verdict], m.Name)
	}
	rule := fmt.Sprintf("of %.3g %% or more that chance does not explain (each interval holds at %.1f %%, all together at %.0f %%)", 100*c.Least, 100*c.Confidence, 100*(1-errorRate))
	switch {
	case len(names[TooFew]) == len(c.Metrics):
		return "too few exchanges to say anything"
	case c.Verdict == NoDifference:
		return fmt.Sprintf("no difference %s; a latency of up to %.0f %% more could go unseen", rule, 100*c.unseen())
	case c.Verdict == Slower && len(names[Faster]) > 0:
		return fmt.Sprintf("B is slower in %s, and faster in %s: differences %s", strings.Join(names[Slower], ", "), strings.Join(names[Faster], ", "), rule)
	}
	return fmt.Sprintf("B is %s in %s: differences %s", c.Verdict, strings.Join(names[c.Verdict], ", "), rule)
}

// unseen is the largest difference that the surest latency could have without a verdict.
// The rate of an open loop is what was asked, and says nothing of the server.
func (c *Comparison) unseen() float64 {
	least := math.Inf(1)
	for _, m := range c.Metrics {
		if m.High > 0 && m.Name != "rate" {
			least = min(least, max(m.High, 1/m.Low)-1)
		}
	}
	return max(c.Least, least)
}

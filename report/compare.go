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
const CompareSchema = "bothends.compare/v2"

// A Verdict is what a comparison says of the second run.
type Verdict string

// The verdicts. A figure is faster or slower if its interval excludes 1 and it differs by
// at least Least. There is no difference if the whole interval is within Least. In all
// other cases it is CannotTell. TooFew is the verdict on a percentile which the counts do
// not support, and never that of a whole comparison.
const (
	Faster       Verdict = "faster"
	Slower       Verdict = "slower"
	NoDifference Verdict = "no difference"
	CannotTell   Verdict = "cannot tell"
	TooFew       Verdict = "too few to say"
)

// A Comparison compares run B with run A: the throughput and the latencies.
type Comparison struct {
	Schema     string   `json:"schema"`
	A          string   `json:"run_a"`
	B          string   `json:"run_b"`
	Verdict    Verdict  `json:"finding"`    // the first of slower, faster and cannot tell that a figure has
	Least      float64  `json:"least"`      // the smallest difference that counts, and the bound of no difference
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
	Verdict Verdict `json:"finding"`
}

const (
	// DefaultLeast is the smallest difference that counts.
	DefaultLeast = 0.02

	// LeastIntervals is the smallest number of intervals of a run that is compared, and the
	// smallest number of pairs: with fewer, their variation is not known.
	LeastIntervals = 8

	mostIntervals = 600  // neighbours of longer runs are joined
	leastBeyond   = 30   // measurements beyond a percentile that is compared
	resamples     = 2000 // of the bootstrap
	errorRate     = 0.02 // of all figures together
)

// Compare reports whether B is faster or slower than A, by at least least (0 means
// DefaultLeast, negative means none) and by more than chance. It returns a *KindError for
// runs that cannot be compared, and an error for runs that are too short.
func Compare(a, b Run, least float64) (*Comparison, error) {
	if err := usable(a, b); err != nil {
		return nil, err
	}
	if err := sameKind(a, b, false); err != nil {
		return nil, err
	}
	ia, ib := even(a.Intervals, mostIntervals), even(b.Intervals, mostIntervals)
	for _, of := range []struct {
		name string
		n    int
	}{{a.Name, len(ia)}, {b.Name, len(ib)}} {
		if of.n < LeastIntervals {
			return nil, fmt.Errorf("cannot compare %s: it has %s, at least %d are needed", of.name, plural(of.n, "interval"), LeastIntervals)
		}
	}
	return compare(sidesOf([]Run{a}), sidesOf([]Run{b}), ia, ib, apart, least)
}

// CompareTurns is Compare for two servers that were measured alternately: the first run of
// A and the first of B are a pair, and so on. It detects smaller differences than Compare,
// because other work of the machine met both runs of a pair.
func CompareTurns(a, b []Run, least float64) (*Comparison, error) {
	if len(a) != len(b) {
		return nil, fmt.Errorf("unequal numbers: A has %s and B has %d, pairs are needed", plural(len(a), "slice"), len(b))
	}
	if len(a) < LeastIntervals {
		return nil, fmt.Errorf("cannot compare %s: at least %d are needed", plural(len(a), "pair"), LeastIntervals)
	}
	for _, r := range slices.Concat(a, b) {
		if err := filled(r); err != nil {
			return nil, err
		}
		if err := sameKind(a[0], r, false); err != nil {
			return nil, err
		}
	}
	sa, sb := sidesOf(a), sidesOf(b)
	return compare(sa, sb, sumsOf(sa), sumsOf(sb), turns, least)
}

// A side is a run of A or B with its totals, which take long for a long run.
type side struct {
	Run
	total *totals
}

func sidesOf(runs []Run) []side {
	sides := make([]side, len(runs))
	for n, r := range runs {
		sides[n] = side{r, totalsOf(r.Record)}
	}
	return sides
}

func sumsOf(sides []side) []*load.Interval {
	totals := make([]*load.Interval, len(sides))
	for n, s := range sides {
		totals[n] = s.total.Interval
	}
	return totals
}

// compare compares the intervals of A and B.
func compare(a, b []side, ia, ib []*load.Interval, way func(a, b *series) halfWidth, least float64) (*Comparison, error) {
	if err := alive(a, b); err != nil {
		return nil, err
	}
	if least == 0 {
		least = DefaultLeast
	}
	c := &Comparison{Schema: CompareSchema, A: names(a), B: names(b), Least: max(0, least), Warnings: warnings(slices.Concat(a, b))}
	sa, sb := newSeries(ia), newSeries(ib)
	c.Metrics = measured(sa, sb)
	c.judge(way(sa, sb))
	return c, nil
}

// mostFailed is the largest difference between the shares of failed exchanges: if a server
// has stopped replying, the latency of the other exchanges has little meaning.
const mostFailed = 0.01

// alive returns an error if one run has failed more than the other.
func alive(a, b []side) error {
	failed := func(sides []side) (share float64, words string) {
		var bad, all int64
		for _, s := range sides {
			all += s.total.all + s.total.Unsent
			bad += s.total.failed + s.total.Unsent - s.total.Outcomes[load.Canceled]
		}
		return float64(bad) / float64(max(1, all)), fmt.Sprintf("%s: %d of %s", names(sides), bad, plural(int(all), "exchange"))
	}
	sa, wa := failed(a)
	sb, wb := failed(b)
	if math.Abs(sa-sb) > mostFailed || sa > 0.5 {
		return fmt.Errorf("too many failed to compare the rest; %s; %s", wa, wb)
	}
	return nil
}

func names(sides []side) string {
	if len(sides) == 1 {
		return sides[0].Name
	}
	return fmt.Sprintf("%s and %d more", sides[0].Name, len(sides)-1)
}

const throughput = "throughput"

// The figures that are compared; those after mean are percentiles.
var compared = []struct {
	name string
	q    float64
}{{throughput, 0}, {"mean", 0}, {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}

// measured returns the figures without a verdict, or with TooFew.
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
	for n := range c.Metrics {
		if m := &c.Metrics[n]; m.Verdict == "" {
			m.judge(half(n, c.Confidence), c.Least)
		}
	}
	c.Verdict = CannotTell
	for _, v := range []Verdict{Slower, Faster, CannotTell, NoDifference} {
		if len(c.with(v)) > 0 {
			c.Verdict = v
			return
		}
	}
}

// judge sets the verdict on a figure whose logarithm may be off by as much as by.
func (m *Metric) judge(by, least float64) {
	m.Verdict = CannotTell
	if math.IsInf(by, 1) { // it was measured in so few intervals that nothing is known
		return
	}
	at, bound := math.Log(m.Ratio), math.Log1p(least)
	m.Low, m.High = math.Exp(at-by), math.Exp(at+by)
	switch {
	case math.Abs(at) > by && math.Abs(at) >= bound:
		m.Verdict = Slower
		if (m.Ratio > 1) == (m.Name == throughput) {
			m.Verdict = Faster
		}
	case math.Abs(at)+by <= bound:
		m.Verdict = NoDifference
	}
}

// with returns the figures with a verdict.
func (c *Comparison) with(v Verdict) (list []Metric) {
	for _, m := range c.Metrics {
		if m.Verdict == v {
			list = append(list, m)
		}
	}
	return list
}

// warnings returns what makes a comparison doubtful.
func warnings(sides []side) []string {
	list := []string{}
	for what, of := range hostTraits {
		for _, s := range sides[1:] {
			if va, vb := of(sides[0].Record), of(s.Record); va != vb {
				list = append(list, fmt.Sprintf("the load came from different %s: %v and %v", what, shown(va), shown(vb)))
				break
			}
		}
	}
	slices.Sort(list)
	for n, s := range sides {
		if slices.ContainsFunc(sides[:n], func(before side) bool { return before.Name == s.Name }) {
			continue // a run may be compared with itself
		}
		if words := s.total.failedText(); words != "" {
			list = append(list, fmt.Sprintf("%s: of %s %s", s.Name, plural(int(s.total.all), "exchange"), words))
		}
		if words := s.total.unsentText(); words != "" {
			list = append(list, fmt.Sprintf("%s: %s", s.Name, words))
		}
		if reasons := s.total.limits; len(reasons) > 0 {
			list = append(list, fmt.Sprintf("%s: %s %s", s.Name, bottleneck, strings.Join(reasons, "; ")))
		}
	}
	return list
}

var hostTraits = map[string]func(*load.Record) any{
	"engines":         func(r *load.Record) any { return r.Engine },
	"machines":        func(r *load.Record) any { return r.Host.Name },
	"systems":         func(r *load.Record) any { return r.Host.OS + "/" + r.Host.Arch },
	"numbers of CPUs": func(r *load.Record) any { return r.Host.CPUs },
	"versions of Go":  func(r *load.Record) any { return r.Host.Go },
}

// Text returns the comparison as a table, with the verdict below it.
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
	if m.Name == throughput {
		name, show = throughput, func(v float64) string { return rateText(v) }
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

// ratioText returns a ratio with the digits that have a meaning.
func ratioText(ratio float64) string {
	if ratio >= 100 {
		return fmt.Sprintf("%.3g", ratio)
	}
	return fmt.Sprintf("%.3f", ratio)
}

// Sentence returns the verdict in words. It names each figure with its verdict.
func (c *Comparison) Sentence() string {
	var parts []string
	for _, v := range []Verdict{Slower, Faster, CannotTell, NoDifference, TooFew} {
		if list := c.with(v); len(list) > 0 {
			parts = append(parts, c.part(v, list))
		}
	}
	if len(parts) == 0 {
		return "nothing was compared"
	}
	parts[0] = map[Verdict]string{Slower: "B is ", Faster: "B is "}[c.Verdict] + parts[0]
	rule := fmt.Sprintf("A difference counts if it is at least %.3g %% and larger than chance.", 100*c.Least)
	if c.Confidence > 0 {
		rule += fmt.Sprintf(" Each interval holds at %.1f %%, all together at %.0f %%.", 100*c.Confidence, 100*(1-errorRate))
	}
	return strings.Join(parts, "; ") + ". " + rule
}

// part returns the part of a sentence with the figures of one verdict.
func (c *Comparison) part(v Verdict, list []Metric) string {
	each := make([]string, len(list))
	most := 0.0 // difference that there may be
	for n, m := range list {
		each[n] = m.Name
		if m.High == 0 {
			most = math.Inf(1)
			continue
		}
		most = max(most, m.High-1, 1/m.Low-1)
	}
	figures := strings.Join(each, ", ")
	switch {
	case v == NoDifference:
		return fmt.Sprintf("no difference of %.3g %% or more in %s", 100*c.Least, figures)
	case v == CannotTell && most < 10:
		return fmt.Sprintf("cannot tell for %s: a difference of up to %.0f %% is possible", figures, math.Ceil(100*most))
	case v == CannotTell:
		return "cannot tell for " + figures
	case v == TooFew:
		return "too few exchanges for " + figures
	}
	return fmt.Sprintf("%s in %s", v, figures)
}

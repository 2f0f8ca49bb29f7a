package report

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bothends/bothends/load"
)

// A Style is how text is written.
type Style struct {
	Color bool
	ASCII bool // without Unicode
	Width int  // columns of the output, for the charts; 0 means 80
}

const (
	textWidth = 80
	keyWidth  = 12
	seenTail  = 0.001 // of the time: a longer tail makes the rate another one
)

// Text writes the summary of a run, 80 columns wide.
func Text(w io.Writer, r *load.Record, s Style) error {
	r = whole(r)
	t := &text{Style: s, r: r, total: load.Total(r.Intervals)}
	t.heading()
	t.rate()
	t.outcomes()
	t.times()
	t.kernel()
	t.generator()
	t.plots()
	_, err := io.WriteString(w, t.b.String())
	return err
}

type text struct {
	Style
	r     *load.Record
	total *load.Interval
	b     strings.Builder
}

// The colours, as SGR parameters.
const (
	bold   = "1"
	dim    = "2"
	red    = "1;31"
	green  = "32"
	yellow = "33"
)

func (s Style) paint(color, words string) string {
	if !s.Color || color == "" || words == "" {
		return words
	}
	return "\x1b[" + color + "m" + words + "\x1b[0m"
}

// ascii is words that have no other characters where those are ruled out.
func (s Style) ascii(words string) string {
	if s.ASCII {
		return asciiOf.Replace(words)
	}
	return words
}

var asciiOf = strings.NewReplacer("≤", "<=", "–", "-", "×", "x")

func (t *text) line(format string, args ...any) {
	fmt.Fprintf(&t.b, format+"\n", args...)
}

// key writes lines under a key: the first one after it, the others below.
func (t *text) key(key string, lines ...string) {
	for _, line := range lines {
		t.line("%s%s", t.paint(bold, fmt.Sprintf("%-*s", keyWidth, key)), line)
		key = ""
	}
}

// sentence is key with a text that is wrapped.
func (t *text) sentence(key, color, words string) {
	lines := wrapped(words, textWidth-keyWidth)
	for n := range lines {
		if color != "" {
			lines[n] = t.paint(color, lines[n])
		}
	}
	t.key(key, lines...)
}

// unit matches a word that must stay on the line of the number before it.
var unit = regexp.MustCompile(`^(ms|s|%)\pP*$`)

func wrapped(words string, width int) (lines []string) {
	line := ""
	fields := strings.Fields(words)
	for n := 0; n < len(fields); n++ {
		word := fields[n]
		if n+1 < len(fields) && unit.MatchString(fields[n+1]) {
			n++
			word += " " + fields[n]
		}
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// meaning says what kind of a run it was, and what its latencies count.
func meaning(c *load.Config) string {
	if c.Loop == "open" {
		arrival := ""
		if c.Arrival != "" {
			arrival = ", " + c.Arrival + " arrival"
		}
		return fmt.Sprintf("open loop, %s requested%s, latency from due time", rateText(c.RateAsked), arrival)
	}
	return fmt.Sprintf("closed loop, %s, latency is service time", plural(c.Connections, "connection"))
}

func (t *text) heading() {
	c := &t.r.Config
	for _, line := range wrapped(clean(meaning(c)), textWidth) {
		t.line("%s", t.paint(bold, line))
	}
	t.line("")
	if c.Label != "" {
		t.sentence("run", "", clean(c.Label))
	}
	t.sentence("target", "", clean(target(c)))
	t.sentence("connections", "", clean(connections(c)))
	t.sentence("host", "", clean(host(t.r)))
}

// rate is of what succeeded, with the failures beside it.
func (t *text) rate() {
	all, ok := t.total.Rate(), t.total.Throughput()
	words := rateText(ok)
	if asked := t.r.Config.RateAsked; asked > 0 {
		words += " of " + rateText(asked)
	}
	if t.total.Succeeded < t.total.Operations() {
		words += fmt.Sprintf(" succeeded, %s failed", rateText(all-ok))
	}
	words += fmt.Sprintf(", %s in %s", plural(int(t.total.Operations()), "exchange"), span(t.total.End-t.total.Start))
	if tail := t.total.Tail; float64(tail) > seenTail*float64(t.total.End-t.total.Start) {
		words += fmt.Sprintf(" (%s of it waiting for the last ones)", span(tail))
	}
	if n := t.total.Behind; n > 0 {
		words += fmt.Sprintf(", %d too late for the rate", n)
	}
	t.sentence("rate", "", words)
}

// setting is what was done, in a line.
func setting(c *load.Config) string { return target(c) + ", " + connections(c) }

func target(c *load.Config) string {
	return fmt.Sprintf("%s, %s sent, %d received", c.Target, plural(c.RequestOctets, "octet"), c.ReplyOctets)
}

func connections(c *load.Config) string {
	parts := []string{fmt.Sprint(c.Connections)}
	if c.Loop == "open" {
		parts[0] += " maximum"
	}
	switch c.PerConnection {
	case 0:
		parts = append(parts, "all exchanges on the same ones")
	case 1:
		parts = append(parts, "one exchange per connection")
	default:
		parts = append(parts, fmt.Sprintf("%d exchanges per connection", c.PerConnection))
	}
	if c.Hold > 0 {
		parts = append(parts, fmt.Sprintf("%d more idle", c.Hold))
	}
	if c.Warmup > 0 {
		parts = append(parts, fmt.Sprintf("%g s of warm-up", c.Warmup))
	}
	if c.Ramp > 0 {
		parts = append(parts, fmt.Sprintf("%g s of ramp", c.Ramp))
	}
	if c.Fault != "" {
		parts = append(parts, fmt.Sprintf("fault %s on %s of them", c.Fault, share(c.FaultShare, 1)))
	}
	return strings.Join(parts, ", ")
}

func host(r *load.Record) string {
	h := r.Host
	words := fmt.Sprintf("%s/%s, %s, %s", h.OS, h.Arch, plural(h.CPUs, "CPU"), h.Go)
	if h.Name != "" {
		words = h.Name + ", " + words
	}
	if !r.Began.IsZero() {
		words += ", " + r.Began.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return words
}

func (t *text) outcomes() {
	var lines []string
	all := t.total.Operations()
	for _, name := range outcomeNames(t.total.Outcomes) {
		n := t.total.Outcomes[name]
		color := red
		if name == "ok" || t.total.Succeeded == all {
			color = green
		}
		lines = append(lines, t.paint(color, fmt.Sprintf("%s %d (%s)", clean(name), n, share(float64(n), float64(all)))))
	}
	if len(lines) == 0 {
		lines = []string{t.paint(red, "none, no exchange ended")}
	}
	t.key("outcomes", lines...)
	if n := t.total.Queued; n > 0 {
		t.sentence("queued", yellow, plural(int(n), "exchange")+" waited for a connection (included in latency)")
	}
	if n := t.total.Unsent; n > 0 {
		t.sentence("unsent", red, fmt.Sprintf("exchanges that were due but never sent: %d. Latency would be higher with them.", n))
	}
	if n := t.total.BackOffs; n > 0 {
		whole := float64(max(1, t.r.Config.Connections)) * (t.total.End - t.total.Start).Seconds()
		t.sentence("backed off", yellow, fmt.Sprintf("%s after failures that came at once, %s of the time of all connections", plural(int(n), "wait"), share(t.total.BackedOff.Seconds(), whole)))
	}
	t.line("")
}

const none = "-" // where so many measurements do not support the figure

var cellNames = []string{"mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"}

// cells are a histogram's figures in the order of cellNames.
func cells(h *load.Histogram) []string {
	n := h.Count()
	if n == 0 {
		return strings.Fields(strings.Repeat(none+" ", len(cellNames)))
	}
	list := []string{ms(h.Mean())}
	for _, p := range percentiles {
		if supports(n, p.q) {
			list = append(list, ms(h.Quantile(p.q)))
		} else {
			list = append(list, none)
		}
	}
	return append(list, ms(h.Max()))
}

// ms is a duration in milliseconds; from 10 s on without decimals, to stay in its column.
func ms(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.0f", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3f", float64(d)/1e6)
}

// times is the table of latency and its parts, and of the scheduling lag.
func (t *text) times() {
	head := fmt.Sprintf("%-*s", nameWidth, "ms")
	for _, name := range cellNames {
		head += fmt.Sprintf(" %*s", columnWidth, name)
	}
	t.line("%s", t.paint(bold, head))
	t.row("latency", &t.total.Latency)
	if t.r.Config.Loop == "open" {
		t.row("service", &t.total.Service)
	}
	for _, name := range phaseNames(t.total.Phases) {
		t.row("  "+clean(name), t.total.Phases[name])
	}
	if t.total.Own.Count() > 0 {
		t.row("lag", &t.total.Own)
	}
}

const (
	nameWidth   = 10
	columnWidth = 8 // seven of them, with a space before each
)

func (t *text) row(name string, h *load.Histogram) {
	row := fmt.Sprintf("%-*s", nameWidth, name)
	for _, figure := range cells(h) {
		cell := fmt.Sprintf("%*s", columnWidth, figure)
		if figure == none {
			cell = t.paint(dim, cell)
		}
		row += " " + cell
	}
	t.line("%s", row)
}

func (t *text) kernel() {
	k := t.r.Kernel
	if k == nil || k.Connections == 0 {
		return
	}
	words := fmt.Sprintf("%s, %s", plural(int(k.Connections), "connection"), plural(int(k.Retransmissions), "retransmission"))
	if k.RTT.Count() > 0 {
		words += fmt.Sprintf(", RTT p50 %s, max %s", span(k.RTT.Quantile(0.5)), span(k.RTT.Max()))
	}
	t.sentence("kernel", "", words)
}

// generator says what the generator used, and warns when it was the limit.
func (t *text) generator() {
	words, health := fmt.Sprintf("%.2f CPU cores", cores(t.total)), t.total.Health
	if health.GCs > 0 {
		words += fmt.Sprintf(", %s, longest pause %s", plural(int(health.GCs), "garbage collection"), span(health.GCPause))
	}
	t.sentence("generator", "", words)
	if reasons := limits(t.r, t.total); len(reasons) > 0 {
		t.sentence("WARNING", yellow, "The load generator may be the bottleneck, not the server:")
		for _, reason := range reasons {
			t.sentence("", yellow, reason)
		}
	}
	if n := t.total.Latency.Count(); n > 0 && !supports(n, percentiles[len(percentiles)-1].q) {
		t.sentence(none, dim, fmt.Sprintf("fewer than 1 of %s is above this percentile", plural(int(n), "sample")))
	}
}

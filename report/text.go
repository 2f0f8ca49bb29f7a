package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bothends/bothends/load"
)

// A Style is how text is written.
type Style struct {
	Color bool
	ASCII bool // without Unicode
}

const (
	textWidth = 80
	keyWidth  = 12
	seenTail  = 0.001 // of the time: a longer tail makes the rate another one
)

// Text writes the summary of a run, 80 columns wide.
func Text(w io.Writer, r *load.Record, s Style) error {
	t := &text{Style: s, r: r, total: load.Total(r.Intervals)}
	t.heading()
	t.outcomes()
	t.latency()
	t.phases()
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

// key writes lines under a key: the first behind it, the rest below.
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

func wrapped(words string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(words) {
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
			arrival = ", " + c.Arrival
		}
		return fmt.Sprintf("open loop, %s asked%s: latency is counted from the moment an exchange was due", rateText(c.RateAsked), arrival)
	}
	return fmt.Sprintf("closed loop, %s: each begins its next exchange when the last has ended; latency is service time, and says nothing of what users would have waited",
		plural(c.Connections, "connection"))
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
	t.sentence("to", "", clean(setting(c)))
	t.sentence("from", "", clean(host(t.r)))
	words := rateText(t.total.Rate())
	if c.RateAsked > 0 {
		words += fmt.Sprintf(" of the %s asked", rateText(c.RateAsked))
	}
	words += fmt.Sprintf("; %s in %s", plural(int(t.total.Operations()), "exchange"), span(t.total.End-t.total.Start))
	if tail := t.total.Tail; float64(tail) > seenTail*float64(t.total.End-t.total.Start) {
		words += fmt.Sprintf(", of which %s was spent waiting for the last ones", span(tail))
	}
	if n := t.total.Behind; n > 0 {
		words += fmt.Sprintf("; %d of them ended too late for the rate", n)
	}
	if ok := t.total.Throughput(); ok < t.total.Rate() {
		words += fmt.Sprintf("; %s ended well", rateText(ok))
	}
	t.sentence("rate", "", words)
}

// setting is what was done, in a line.
func setting(c *load.Config) string {
	parts := []string{c.Target}
	if c.Loop == "open" {
		parts = append(parts, plural(c.Connections, "connection")+" at most")
	}
	switch c.PerConnection {
	case 0:
		parts = append(parts, "all exchanges on the same ones")
	case 1:
		parts = append(parts, "one exchange on each")
	default:
		parts = append(parts, fmt.Sprintf("%d exchanges on each", c.PerConnection))
	}
	parts = append(parts, fmt.Sprintf("%d octets there, %d back", c.RequestOctets, c.ReplyOctets))
	if c.Hold > 0 {
		parts = append(parts, fmt.Sprintf("%d idle besides", c.Hold))
	}
	if c.Warmup > 0 {
		parts = append(parts, fmt.Sprintf("%g s of warm-up before", c.Warmup))
	}
	if c.Ramp > 0 {
		parts = append(parts, fmt.Sprintf("%g s of ramp in it", c.Ramp))
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
		line := fmt.Sprintf("%-11s %10d  %8s", clean(name), n, share(float64(n), float64(all)))
		color := red
		if name == "ok" {
			color = green
		}
		lines = append(lines, t.paint(color, line))
	}
	if len(lines) == 0 {
		lines = []string{t.paint(red, "none: no exchange has ended")}
	}
	t.key("outcomes", lines...)
	if n := t.total.Queued; n > 0 {
		t.sentence("queued", yellow, wereDue(n)+" while all connections were busy, and waited; the wait is in the latency from the moment due")
	}
	if n := t.total.Unsent; n > 0 {
		t.sentence("unsent", red, wereDue(n)+" and never sent; no latency below has that, and it would be longer with it")
	}
	t.line("")
}

const none = "-" // where so many measurements do not support the figure

// latency is the table of latencies; in an open loop both of them.
func (t *text) latency() {
	open := t.r.Config.Loop == "open"
	if open {
		t.line("%s", t.paint(bold, fmt.Sprintf("%-*s%20s%20s", keyWidth, "latency, ms", "from the moment due", "from sending it")))
		t.line("%*s%20s%20s", keyWidth, "", "(what users wait)", "(service time)")
	} else {
		t.line("%s", t.paint(bold, fmt.Sprintf("%-*s%20s", keyWidth, "latency, ms", "service time")))
	}
	due, sent := cells(&t.total.Latency), cells(&t.total.Service)
	missing := false
	for n, name := range cellNames {
		row := fmt.Sprintf("  %-*s%s", keyWidth-2, name, t.cell(20, due[n]))
		if open {
			row += t.cell(20, sent[n])
		}
		t.line("%s", row)
		missing = missing || due[n] == none
	}
	if missing {
		t.line("  %s", t.paint(dim, fmt.Sprintf("%s  %d measured: too few for this percentile, nothing lies beyond it", none, t.total.Latency.Count())))
	}
	t.line("")
}

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

func (t *text) cell(width int, figure string) string {
	cell := fmt.Sprintf("%*s", width, figure)
	if figure == none {
		return t.paint(dim, cell)
	}
	return cell
}

func (t *text) phases() {
	if len(t.total.Phases) == 0 {
		return
	}
	t.table("phases, ms")
	for _, name := range phaseNames(t.total.Phases) {
		t.row(clean(name), t.total.Phases[name])
	}
	t.line("")
}

const columnWidth = 8 // seven of them, with a space before each

func (t *text) table(title string) {
	head := fmt.Sprintf("%-*s", keyWidth, title)
	for _, name := range cellNames {
		head += fmt.Sprintf(" %*s", columnWidth, name)
	}
	t.line("%s", t.paint(bold, head))
}

func (t *text) row(name string, h *load.Histogram) {
	row := fmt.Sprintf("  %-*s", keyWidth-2, name)
	for _, figure := range cells(h) {
		row += " " + t.cell(columnWidth, figure)
	}
	t.line("%s", row)
}

func (t *text) kernel() {
	k := t.r.Kernel
	if k == nil || k.Connections == 0 {
		return
	}
	words := fmt.Sprintf("%s in %s asked about", plural(int(k.Retransmissions), "retransmission"), plural(int(k.Connections), "connection"))
	if k.RTT.Count() > 0 {
		words += fmt.Sprintf("; smoothed round trip: mean %s, p50 %s, max %s", span(k.RTT.Mean()), span(k.RTT.Quantile(0.5)), span(k.RTT.Max()))
	}
	t.sentence("kernel", "", words)
}

// generator says how the generator itself was, and warns when it was the limit.
func (t *text) generator() {
	own, health := &t.total.Own, t.total.Health
	var parts []string
	if own.Count() > 0 {
		words := fmt.Sprintf("late by its own fault: p50 %s, ", span(own.Quantile(0.5)))
		if supports(own.Count(), 0.99) {
			words += fmt.Sprintf("p99 %s, ", span(own.Quantile(0.99)))
		}
		parts = append(parts, words+"max "+span(own.Max()))
	}
	parts = append(parts, fmt.Sprintf("CPU %.2f of a core", cores(t.total)))
	if health.GCs > 0 {
		parts = append(parts, fmt.Sprintf("%s, the longest pause %s", plural(int(health.GCs), "garbage collection"), span(health.GCPause)))
	}
	t.sentence("generator", "", strings.Join(parts, "; "))
	reasons := limits(t.r, t.total)
	if len(reasons) == 0 {
		return
	}
	t.sentence("WARNING", yellow, "the generator may have been the limit, and not the server:")
	for _, reason := range reasons {
		for n, line := range wrapped(reason, textWidth-keyWidth-2) {
			t.key("", t.paint(yellow, [2]string{"- ", "  "}[min(n, 1)]+line))
		}
	}
}

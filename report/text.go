package report

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
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
)

// Text writes the summary of a run, 80 columns wide.
func Text(w io.Writer, r *load.Record, s Style) error {
	r = whole(r)
	t := &text{Style: s, totals: totalsOf(r)}
	t.heading()
	t.sentence("throughput", "", t.throughputText()) // first, because failures are part of the rate
	t.sentence("rate", "", t.rateText())
	t.outcomeLines()
	t.times()
	t.sentence("kernel", "", t.kernelText())
	t.generator()
	t.plots()
	_, err := io.WriteString(w, t.b.String())
	return err
}

type text struct {
	Style
	*totals
	b strings.Builder
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

// sentence is key with a text that is wrapped, if there is one.
func (t *text) sentence(key, color, words string) {
	if words == "" {
		return
	}
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

// meaning returns the kind of the run, and what its latencies count.
func meaning(c *load.Config) string {
	if c.Loop == "open" {
		arrival := ""
		if c.Arrival != "" {
			arrival = ", " + c.Arrival + " arrival"
		}
		if c.RateRequested > 0 {
			arrival = ", " + rateText(c.RateRequested) + " requested" + arrival
		}
		return "open loop" + arrival + ", latency from due time"
	}
	return fmt.Sprintf("closed loop, %s, latency is service time", plural(c.Connections, "connection"))
}

func (t *text) heading() {
	c := &t.record.Config
	for _, line := range wrapped(clean(meaning(c)), textWidth) {
		t.line("%s", t.paint(bold, line))
	}
	t.line("")
	if c.Label != "" {
		t.sentence("run", "", clean(c.Label))
	}
	t.sentence("target", "", clean(target(c)))
	t.sentence("connections", "", clean(connections(c)))
	t.sentence("host", "", clean(host(t.record)))
}

// setting is the target and the connections in one line.
func setting(c *load.Config) string { return target(c) + ", " + connections(c) }

func target(c *load.Config) string {
	if c.RequestOctets == 0 && c.ReplyOctets == 0 {
		return cmp.Or(c.Target, "not known")
	}
	return fmt.Sprintf("%s, %s sent, %d received", c.Target, plural(c.RequestOctets, "octet"), c.ReplyOctets)
}

func connections(c *load.Config) string {
	parts := []string{fmt.Sprint(c.Connections)}
	if c.Loop == "open" {
		parts[0] += " maximum"
	}
	switch {
	case c.PerConnection < 0:
		parts = append(parts, "all exchanges on the same ones")
	case c.PerConnection == 1:
		parts = append(parts, "one exchange per connection")
	case c.PerConnection > 1:
		parts = append(parts, fmt.Sprintf("%d exchanges per connection", c.PerConnection))
	}
	if c.Hold > 0 {
		parts = append(parts, fmt.Sprintf("%d additional idle", c.Hold))
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
	if !r.Started.IsZero() {
		words += ", " + r.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return words
}

func (t *text) outcomeLines() {
	var lines []string
	for _, o := range t.outcomes {
		color := red
		if o.success {
			color = green
		}
		lines = append(lines, t.paint(color, fmt.Sprintf("%s %d (%s)", clean(o.name), o.count, o.share)))
	}
	if len(lines) == 0 {
		lines = []string{t.paint(red, "none, no exchange ended")}
	}
	t.key("outcomes", lines...)
	t.sentence("queued", yellow, t.queuedText())
	t.sentence("unsent", red, t.unsentText())
	t.sentence("backed off", yellow, t.backOffText())
	t.line("")
}

const none = "-" // for a figure with too few measurements

var cellNames = []string{"mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"}

// cells returns the figures of a Spread in the order of cellNames.
func cells(s *Spread) []string {
	if s.Count == 0 {
		return strings.Fields(strings.Repeat(none+" ", len(cellNames)))
	}
	list := []string{ms(inTime(*s.Mean))}
	for n, v := range s.at() {
		if slices.Contains(s.TooFew, percentiles[n].name) {
			list = append(list, none)
		} else {
			list = append(list, ms(inTime(*v)))
		}
	}
	return append(list, ms(inTime(*s.Max)))
}

// ms is a duration in milliseconds; from 10 s on without decimals, to stay in its column.
func ms(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.0f", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3f", float64(d)/1e6)
}

// times writes the table of latency and its parts, and of the scheduling lag.
func (t *text) times() {
	head := fmt.Sprintf("%-*s", nameWidth, "ms")
	for _, name := range cellNames {
		head += fmt.Sprintf(" %*s", columnWidth, name)
	}
	t.line("%s", t.paint(bold, head))
	t.row("latency", t.latency)
	if t.record.Config.Loop == "open" {
		t.row("service", t.service)
	}
	for _, name := range t.phaseNames {
		t.row("  "+clean(name), t.phases[name])
	}
	if t.lag.Count > 0 {
		t.row("lag", t.lag)
	}
}

const (
	nameWidth   = 10
	columnWidth = 8 // seven of them, with a space before each
)

func (t *text) row(name string, s *Spread) {
	row := fmt.Sprintf("%-*s", nameWidth, name)
	for _, figure := range cells(s) {
		cell := fmt.Sprintf("%*s", columnWidth, figure)
		if figure == none {
			cell = t.paint(dim, cell)
		}
		row += " " + cell
	}
	t.line("%s", row)
}

// generator shows what the generator used, and warns if it was the limit.
func (t *text) generator() {
	t.sentence("generator", "", t.generatorText())
	if len(t.limits) > 0 {
		t.sentence("WARNING", yellow, bottleneck)
		for _, reason := range t.limits {
			t.sentence("", yellow, reason)
		}
	}
	t.sentence(none, dim, t.fewText())
}

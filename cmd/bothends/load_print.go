package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

// A progress shows a run while it goes: one line on a terminal, which is replaced each
// second, or a line of JSON each second.
type progress struct {
	line  io.Writer // a terminal; nil for none
	json  io.Writer
	plain io.Writer // for messages if there is no terminal; nil for none

	ends        time.Duration // 0: not known
	connections int64
	timeout     time.Duration // for one exchange; 0 for none
	waiting     bool          // it was printed that the run waits for its last exchanges

	sum load.Interval // of the Intervals since the last line
}

func (f *loadFlags) progress(cmd *cobra.Command) *progress {
	p := &progress{ends: f.lasts(), connections: int64(f.connections), timeout: time.Duration(f.timeout)}
	if f.quiet {
		return p
	}
	p.plain = cmd.ErrOrStderr()
	switch {
	case f.output.value == "json":
		p.json = cmd.OutOrStdout()
	case controls(p.plain):
		p.line, p.plain = p.plain, nil
	}
	return p
}

// lasts returns the length of the run without the warm-up; 0 if it is not known.
func (f *loadFlags) lasts() time.Duration {
	byTime, byCount := time.Duration(f.duration)-time.Duration(f.warmup), f.countLasts()
	switch {
	case f.duration == 0:
		return byCount
	case byCount == 0:
		return byTime
	}
	return min(byTime, byCount)
}

// countLasts returns how long -n takes at --rate, without the warm-up; 0 without either.
// For poisson it is the mean.
func (f *loadFlags) countLasts() time.Duration {
	if f.rate == 0 || f.count == 0 {
		return 0
	}
	warmup, ramp := time.Duration(f.warmup), time.Duration(f.ramp)
	before := f.rate * (warmup - ramp/2).Seconds() // what is due in the warm-up
	if warmup < ramp {
		before = f.rate * warmup.Seconds() * warmup.Seconds() / (2 * ramp.Seconds())
	}
	return load.Ramp(0, f.rate, ramp).Due(uint64(before)+uint64(f.count), 0) - warmup
}

// intervalSchema names the form of a line of progress.
const intervalSchema = "bothends.load-interval/v2"

// begin shows the warm-up, in which nothing is measured.
func (p *progress) begin(warmup time.Duration) {
	if p.line != nil && warmup > 0 {
		p.draw(fmt.Sprintf("warming up for %v", warmup))
	}
}

// draw replaces the line. It is narrower than the terminal, because only one line can be
// replaced.
func (p *progress) draw(line string) {
	letters := []rune(line)
	fmt.Fprintf(p.line, "\r\x1b[K%s", string(letters[:min(len(letters), columns(p.line)-1)]))
}

// secondsPerLine is the time between two lines, unless an Interval is longer.
const secondsPerLine = time.Second

// tell adds an Interval, and prints a line for each second.
func (p *progress) tell(i *load.Interval) {
	p.sum.Merge(i)
	if p.sum.End-p.sum.Start+secondsPerLine/100 >= secondsPerLine {
		p.flush()
	}
}

// flush prints a line for what has not been printed yet.
func (p *progress) flush() {
	i := p.sum
	if i.End == 0 {
		return
	}
	p.sum = load.Interval{}
	waits := p.waits(&i)
	if p.line != nil {
		left := ""
		if waits != "" {
			left = ", " + waits
		} else if p.ends > i.End {
			left = fmt.Sprintf(", %v left", (p.ends - i.End).Round(time.Second))
		}
		local := ""
		if n := i.Outcomes[load.Local]; n > 0 {
			local = fmt.Sprintf(", %d local", n)
		}
		p.draw(fmt.Sprintf("%.0f/s, p99 %v, %d errors%s%s", i.Throughput(), threeDigits(i.Latency.Quantile(0.99)), i.Errors(), local, left))
	}
	if p.plain != nil && waits != "" && !p.waiting {
		p.waiting = true
		fmt.Fprintln(p.plain, "bothends: "+waits)
	}
	if p.json == nil {
		return
	}
	measured := func(d time.Duration) *float64 {
		if i.Latency.Count() == 0 {
			return nil
		}
		return new(d.Seconds())
	}
	json.NewEncoder(p.json).Encode(struct {
		Schema     string           `json:"schema"`
		At         float64          `json:"at"`         // seconds since the warm-up
		Seconds    float64          `json:"seconds"`    // the length of the interval; the last one may be short
		Rate       float64          `json:"rate"`       // exchanges per second that ended in it
		Throughput float64          `json:"throughput"` // those that succeeded
		P50        *float64         `json:"p50"`        // of latency, in seconds; null without a measurement
		P99        *float64         `json:"p99"`
		Max        *float64         `json:"max"`
		Outcomes   map[string]int64 `json:"outcomes"`
		Errors     int64            `json:"errors"`
		Queued     int64            `json:"queued"`
		Unsent     int64            `json:"unsent"`
		Pending    int64            `json:"pending"` // under way, or waiting for a connection
	}{intervalSchema, i.End.Seconds(), (i.End - i.Start).Seconds(), i.EndedRate(), i.Throughput(), measured(i.Latency.Quantile(0.5)), measured(i.Latency.Quantile(0.99)),
		measured(i.Latency.Max()), i.Outcomes, i.Errors(), i.Queued, i.Unsent, i.Pending})
}

// waits returns what the run waits for after its time, and "" before that. Exchanges under
// way end within their timeout. Those that wait for a connection have DefaultPatience to
// start.
func (p *progress) waits(i *load.Interval) string {
	if p.ends == 0 || i.End < p.ends || i.Pending == 0 {
		return ""
	}
	words := "waiting for " + exchangeCount(i.Pending)
	if p.timeout == 0 {
		return words + ", without a time limit (--timeout 0)"
	}
	most := p.timeout
	if i.Pending > p.connections {
		most += load.DefaultPatience
	}
	return fmt.Sprintf("%s, at most %v", words, max(0, most-(i.End-p.ends)).Round(time.Second))
}

// exchangeCount returns a number of exchanges in words.
func exchangeCount(n int64) string {
	if n == 1 {
		return "1 exchange"
	}
	return fmt.Sprintf("%d exchanges", n)
}

// threeDigits returns d in three significant digits, such as 3.88s, and in whole seconds
// from a minute on.
func threeDigits(d time.Duration) time.Duration {
	if d >= time.Minute {
		return d.Round(time.Second)
	}
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

func (p *progress) end() {
	p.flush()
	if p.line != nil {
		fmt.Fprint(p.line, "\r\x1b[K")
	}
}

// print prints the run, as text or as the last line of JSON.
func (f *loadFlags) print(out io.Writer, record *load.Record) error {
	if f.output.value == "json" {
		return json.NewEncoder(out).Encode(report.Summary(record))
	}
	return report.Text(folding(out), record, report.Style{Color: wantsColor(out, f.color.value), ASCII: asciiOnly(), Width: columns(out)})
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

// A progress tells how a run goes while it goes: one line on a terminal, written over
// again each second, or a line of JSON each second.
type progress struct {
	line io.Writer // nil for none
	json io.Writer
	ends time.Duration // 0: not known
}

func (f *loadFlags) progress(cmd *cobra.Command) *progress {
	p := &progress{ends: f.lasts()}
	switch errs, ok := cmd.ErrOrStderr().(*os.File); {
	case f.quiet:
	case f.output.value == "json":
		p.json = cmd.OutOrStdout()
	case ok && term.IsTerminal(int(errs.Fd())):
		p.line = errs
	}
	return p
}

// lasts is how long the run is to be, without the warm-up; 0 where nobody knows.
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

// countLasts is how long -n takes at --rate, without the warm-up; 0 without either. Of
// poisson it is the mean.
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
const intervalSchema = "bothends.load-interval/v1"

// begin tells of the warm-up: nothing is measured in it, and tell has nothing to tell.
func (p *progress) begin(warmup time.Duration) {
	if p.line != nil && warmup > 0 {
		fmt.Fprintf(p.line, "\r\x1b[Kwarming up for %v", warmup)
	}
}

func (p *progress) tell(i *load.Interval) {
	if p.line != nil {
		left := ""
		if p.ends > 0 {
			left = fmt.Sprintf(", %v left", max(0, p.ends-i.End).Round(time.Second))
		}
		fmt.Fprintf(p.line, "\r\x1b[K%.0f/s, p99 %v, %d errors%s", i.EndedRate(), i.Latency.Quantile(0.99), errorsIn(i), left)
	}
	if p.json == nil {
		return
	}
	json.NewEncoder(p.json).Encode(struct {
		Schema   string           `json:"schema"`
		At       float64          `json:"at"`      // seconds since the warm-up
		Seconds  float64          `json:"seconds"` // that the line is of; the last one's may be few
		Rate     float64          `json:"rate"`    // of the exchanges that ended in them
		P50      float64          `json:"p50"`
		P99      float64          `json:"p99"`
		Max      float64          `json:"max"`
		Outcomes map[string]int64 `json:"outcomes"`
		Errors   int64            `json:"errors"`
		Queued   int64            `json:"queued"`
	}{intervalSchema, i.End.Seconds(), (i.End - i.Start).Seconds(), i.EndedRate(), i.Latency.Quantile(0.5).Seconds(), i.Latency.Quantile(0.99).Seconds(),
		i.Latency.Max().Seconds(), i.Outcomes, errorsIn(i), i.Queued})
}

func (p *progress) end() {
	if p.line != nil {
		fmt.Fprint(p.line, "\r\x1b[K")
	}
}

// print prints the run: in words, or as the last line of JSON.
func (f *loadFlags) print(out io.Writer, record *load.Record) error {
	if f.output.value == "json" {
		return json.NewEncoder(out).Encode(report.Summary(record))
	}
	return report.Text(out, record, report.Style{Color: wantsColor(out, f.color.value), ASCII: asciiOnly()})
}

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
	p := &progress{}
	if f.duration > 0 {
		p.ends = time.Duration(f.duration) - time.Duration(f.warmup)
	}
	switch errs, ok := cmd.ErrOrStderr().(*os.File); {
	case f.quiet:
	case f.output.value == "json":
		p.json = cmd.OutOrStdout()
	case ok && term.IsTerminal(int(errs.Fd())):
		p.line = errs
	}
	return p
}

// intervalSchema names the form of a line of progress.
const intervalSchema = "bothends.load-interval/v1"

func (p *progress) tell(i *load.Interval) {
	if p.line != nil {
		left := ""
		if p.ends > 0 {
			left = fmt.Sprintf(", %v left", max(0, p.ends-i.End).Round(time.Second))
		}
		fmt.Fprintf(p.line, "\r\x1b[K%.0f/s, p99 %v, %d errors%s", i.Rate(), i.Latency.Quantile(0.99), errorsIn(i), left)
	}
	if p.json == nil {
		return
	}
	json.NewEncoder(p.json).Encode(struct {
		Schema   string           `json:"schema"`
		At       float64          `json:"at"` // seconds since the warm-up
		Rate     float64          `json:"rate"`
		P50      float64          `json:"p50"`
		P99      float64          `json:"p99"`
		Max      float64          `json:"max"`
		Outcomes map[string]int64 `json:"outcomes"`
		Errors   int64            `json:"errors"`
		Queued   int64            `json:"queued"`
	}{intervalSchema, i.End.Seconds(), i.Rate(), i.Latency.Quantile(0.5).Seconds(), i.Latency.Quantile(0.99).Seconds(),
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

package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/bothends/bothends/load"
)

// uPlot 1.6.32, as npm has it; its license is in the same directory. The directory is not called
// vendor: Go leaves such ones out of a module.
var (
	//go:embed page.html.tmpl
	pageTemplate string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
	//go:embed uplot/uPlot.iife.min.js
	uplotJS string
	//go:embed uplot/uPlot.min.css
	uplotCSS string
)

var page = template.Must(template.New("page").Parse(pageTemplate))

// HTML writes a page with the runs drawn over one another, and their figures as tables. The
// page is self-contained: it loads nothing, and its policy forbids it to.
func HTML(w io.Writer, runs []Run) error {
	complete := make([]Run, len(runs))
	for n, r := range runs {
		complete[n] = Run{r.Name, whole(r.Record)}
	}
	p := pageOf(complete)
	p.UPlotCSS, p.CSS, p.UPlotJS, p.JS = template.CSS(uplotCSS), template.CSS(pageCSS), template.JS(uplotJS), template.JS(pageJS)
	return page.Execute(w, p)
}

type htmlPage struct {
	UPlotCSS, CSS template.CSS
	UPlotJS, JS   template.JS
	Columns       []string
	Runs          []htmlRun
	Phases        []htmlRow
	Open          bool // at least one is
	Failures      bool // at least one has
	Latencies     bool // at least one has
	Data          chartData
}

type htmlRun struct {
	Name, Throughput, Requested, Meaning string
	Failed                               string // how many failed; empty for none
	Color                                int
	Highlights, Outcomes, Made           []htmlRow
	Latencies                            []htmlRow
	Limits                               []string
	Unsent                               string // empty for none
}

// An htmlRow is a row of a table. Each table uses some of its fields.
type htmlRow struct {
	Key, Value string
	Bad        bool
	Count      int64
	Color      int
	Cells      []string
}

// chartData is the JSON that page.js draws from. Times are seconds, latencies
// milliseconds.
type chartData struct {
	Nines []float64  `json:"nines"` // -log10(1-q) for each point of a curve
	Heat  heatScale  `json:"heat"`
	Runs  []chartRun `json:"runs"`
}

type heatScale struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	Bins int     `json:"bins"`
}

type chartRun struct {
	Name      string         `json:"name"`
	Color     int            `json:"color"`
	Open      bool           `json:"open"`
	Requested float64        `json:"requested"`
	Latency   []*float64     `json:"latency"` // at each of Nines; null where the count supports none
	Service   []*float64     `json:"service"`
	Times     []float64      `json:"times"`  // the start of each interval, and the end of the last one
	Rate      []float64      `json:"rate"`   // of exchanges that succeeded
	Failed    []float64      `json:"failed"` // null if nothing failed in the run
	Failures  []chartFailure `json:"failures"`
	Heat      [][]int64      `json:"heat"` // for each interval the counts of the bins
}

type chartFailure struct {
	Name string    `json:"name"`
	Rate []float64 `json:"rate"`
}

const (
	pageColors = 8
	heatBins   = 44
	mostTimes  = 240 // columns of a chart over time
	ninesStep  = 0.02
	mostNines  = 6
)

func pageOf(runs []Run) *htmlPage {
	p := &htmlPage{Columns: cellNames}
	sums := make([]*totals, len(runs))
	var most int64
	for n, r := range runs {
		sums[n] = totalsOf(r.Record)
		most = max(most, sums[n].Latency.Count())
	}
	p.Data.Heat = scaleOf(sums)
	p.Data.Nines = []float64{}
	for x := 0.0; x <= mostNines && supports(most, 1-math.Pow(10, -x)); x += ninesStep {
		p.Data.Nines = append(p.Data.Nines, math.Round(x*1000)/1000)
	}
	for n, r := range runs {
		run := htmlRunOf(r, sums[n], n%pageColors)
		p.Runs = append(p.Runs, run)
		p.Open = p.Open || r.Config.Loop == "open"
		chart := chartOf(r, sums[n], &p.Data)
		chart.Name, chart.Color = run.Name, run.Color
		p.Failures = p.Failures || chart.Failed != nil
		p.Latencies = p.Latencies || sums[n].Latency.Count() > 0
		p.Data.Runs = append(p.Data.Runs, chart)
	}
	p.Phases = phaseRows(p.Runs, sums)
	return p
}

func htmlRunOf(r Run, total *totals, color int) htmlRun {
	c := &r.Config
	h := htmlRun{Name: r.Name, Color: color, Throughput: rateText(total.throughput), Meaning: meaning(c), Failed: total.failedText(), Limits: total.limits, Unsent: total.unsentText()}
	if c.Label != "" {
		h.Name = clean(c.Label)
	}
	if c.RateRequested > 0 {
		h.Requested = rateText(c.RateRequested)
	}
	h.Highlights = []htmlRow{{Key: "exchanges", Value: strconv.FormatInt(total.all, 10)}, {Key: "succeeded", Value: total.share(total.Succeeded)}, {Key: "rate", Value: rateText(total.rate)}}
	if total.Wait > 0 {
		h.Highlights = append(h.Highlights, htmlRow{Key: "wait", Value: brief(total.Wait)})
	}
	for n, v := range total.latency.at() {
		if p := percentiles[n].name; v != nil && p != "p90" && !slices.Contains(total.latency.TooFew, p) {
			h.Highlights = append(h.Highlights, htmlRow{Key: p, Value: brief(inTime(*v))})
		}
	}
	if v := total.latency.Max; v != nil {
		h.Highlights = append(h.Highlights, htmlRow{Key: "max", Value: brief(inTime(*v))})
	}
	for _, o := range total.outcomes {
		h.Outcomes = append(h.Outcomes, htmlRow{Key: o.name, Bad: !o.success && o.count > 0, Count: o.count, Value: o.share})
	}
	h.Latencies = []htmlRow{{Key: "start", Cells: cells(total.latency)}}
	if c.Loop == "open" {
		h.Latencies = []htmlRow{{Key: "due time", Cells: cells(total.latency)}, {Key: "start", Cells: cells(total.service)}, {Key: "scheduling lag", Cells: cells(total.lag)}}
	}
	h.Made = made(r, total)
	return h
}

// brief returns a duration in three digits.
func brief(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if v := float64(d) / float64(unit.of); v >= 1 {
			return fmt.Sprintf("%.*f %s", max(0, 2-int(math.Log10(v))), v, unit.name)
		}
	}
	return d.String()
}

// made returns how the run was made, and what its generator used.
func made(r Run, total *totals) []htmlRow {
	rows := []htmlRow{{Key: "record", Value: r.Name}, {Key: "target", Value: setting(&r.Config)}, {Key: "host", Value: host(r.Record)}, {Key: "generator", Value: total.generatorText()}}
	for _, row := range []htmlRow{{Key: "queued", Value: total.queuedText()}, {Key: "backed off", Value: total.backOffText()}, {Key: "kernel", Value: total.kernelText()}} {
		if row.Value != "" {
			rows = append(rows, row)
		}
	}
	return rows
}

// phaseRows returns the rows of each phase, one for each run.
func phaseRows(runs []htmlRun, sums []*totals) (rows []htmlRow) {
	every := make(map[string]bool)
	for _, total := range sums {
		for name := range total.phases {
			every[name] = true
		}
	}
	for _, name := range phaseNames(every) {
		for n, total := range sums {
			if h := total.phases[name]; h != nil {
				rows = append(rows, htmlRow{Key: name, Value: runs[n].Name, Color: runs[n].Color, Cells: cells(h)})
			}
		}
	}
	return rows
}

// scaleOf returns the scale for the latencies of all runs.
func scaleOf(sums []*totals) heatScale {
	low, high := math.Inf(1), 0.0
	for _, total := range sums {
		if bars := total.Latency.Bars(); len(bars) > 0 {
			low, high = min(low, inMS(bars[0].To)), max(high, inMS(bars[len(bars)-1].To))
		}
	}
	if high == 0 {
		return heatScale{1, 10, heatBins}
	}
	return heatScale{low / 1.1, high * 1.1, heatBins}
}

// inMS returns milliseconds, at least a nanosecond, because the scales are logarithmic.
func inMS(d time.Duration) float64 { return float64(max(1, d)) / 1e6 }

func chartOf(r Run, total *totals, data *chartData) chartRun {
	c := chartRun{
		Open: r.Config.Loop == "open", Requested: r.Config.RateRequested,
		Latency: curveOf(&total.Latency, data.Nines), Service: curveOf(&total.Service, data.Nines),
		Times: []float64{}, Rate: []float64{}, Heat: [][]int64{}, Failures: []chartFailure{},
	}
	intervals := even(r.Intervals, mostTimes)
	for _, i := range intervals {
		c.Times, c.Heat = append(c.Times, i.Start.Seconds()), append(c.Heat, column(&i.Latency, data.Heat))
	}
	if n := len(intervals); n > 0 {
		c.Times = append(c.Times, intervals[n-1].End.Seconds())
	}
	c.Rate = append(c.Rate, overTime(intervals, func(i *load.Interval) int64 { return i.Succeeded })...)
	if total.failed > 0 {
		c.Failed = overTime(intervals, (*load.Interval).Failed)
	}
	for _, o := range total.failures() {
		c.Failures = append(c.Failures, chartFailure{o.name, overTime(intervals, func(i *load.Interval) int64 { return i.Outcomes[o.name] })})
	}
	return c
}

// overTime returns the number per second in each interval, and the last one again, because
// a step is as wide as its interval.
func overTime(intervals []*load.Interval, of func(*load.Interval) int64) (rates []float64) {
	for _, i := range intervals {
		rates = append(rates, load.PerSecond(of(i), i.End-i.Start))
	}
	if n := len(rates); n > 0 {
		rates = append(rates, rates[n-1])
	}
	return rates
}

func curveOf(h *load.Histogram, nines []float64) []*float64 {
	points := make([]*float64, len(nines))
	for n, x := range nines {
		if q := 1 - math.Pow(10, -x); supports(h.Count(), q) {
			points[n] = new(inMS(h.Quantile(q)))
		}
	}
	return points
}

// column returns the column of an interval in the heat map.
func column(h *load.Histogram, s heatScale) []int64 {
	bins := make([]int64, s.Bins)
	for _, b := range h.Bars() {
		at := math.Log(inMS(b.To)/s.Low) / math.Log(s.High/s.Low) * float64(s.Bins)
		bins[max(0, min(s.Bins-1, int(at)))] += b.Count
	}
	return bins
}

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

// uPlot 1.6.32, as npm has it; its licence is beside it. The directory is not called
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

// HTML writes a page with the runs drawn over one another, and their figures as
// tables. It is whole: it loads nothing, and its policy forbids it to.
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
	Named         bool // and at least one says which outcomes they are
	Latencies     bool // at least one has
	Data          chartData
}

type htmlRun struct {
	Name, Rate, Asked, Meaning string
	Failed                     string // how many failed; empty for none
	Color                      int
	Highlights, Outcomes, Made []htmlRow
	Latencies                  []htmlRow
	Limits                     []string
	Unsent                     string // that some were due and never sent
}

// A htmlRow is a row of a table, which uses of it what it needs.
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
	Name     string         `json:"name"`
	Color    int            `json:"color"`
	Open     bool           `json:"open"`
	Asked    float64        `json:"asked"`
	Latency  []*float64     `json:"latency"` // at each of Nines; null where the count supports none
	Service  []*float64     `json:"service"`
	Times    []float64      `json:"times"`  // where each interval begins, and where the last one ends
	Rate     []float64      `json:"rate"`   // of what succeeded
	Failed   []float64      `json:"failed"` // null where nothing failed in the whole run
	Failures []chartFailure `json:"failures"`
	Heat     [][]int64      `json:"heat"` // for each interval the counts of the bins
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
	totals := make([]*load.Interval, len(runs))
	var most int64
	for n, r := range runs {
		totals[n] = load.Total(r.Intervals)
		most = max(most, totals[n].Latency.Count())
	}
	p.Data.Heat = scaleOf(totals)
	p.Data.Nines = []float64{}
	for x := 0.0; x <= mostNines && supports(most, 1-math.Pow(10, -x)); x += ninesStep {
		p.Data.Nines = append(p.Data.Nines, math.Round(x*1000)/1000)
	}
	for n, r := range runs {
		run := htmlRunOf(r, totals[n], n%pageColors)
		p.Runs = append(p.Runs, run)
		p.Open = p.Open || r.Config.Loop == "open"
		chart := chartOf(r, totals[n], &p.Data)
		chart.Name, chart.Color = run.Name, run.Color
		p.Failures, p.Named = p.Failures || chart.Failed != nil, p.Named || len(chart.Failures) > 0
		p.Latencies = p.Latencies || totals[n].Latency.Count() > 0
		p.Data.Runs = append(p.Data.Runs, chart)
	}
	p.Phases = phaseRows(p.Runs, totals)
	return p
}

func htmlRunOf(r Run, total *load.Interval, color int) htmlRun {
	c := &r.Config
	h := htmlRun{Name: r.Name, Color: color, Rate: rateText(total.Throughput()), Meaning: meaning(c), Limits: limits(r.Record, total)}
	if total.Unsent > 0 {
		h.Unsent = wereDue(total.Unsent) + " but never sent. Latency would be higher with them."
	}
	if c.Label != "" {
		h.Name = clean(c.Label)
	}
	if c.RateAsked > 0 {
		h.Asked = rateText(c.RateAsked)
	}
	all := total.Operations()
	if failed := all - total.Succeeded; failed > 0 {
		h.Failed = fmt.Sprintf("%d failed (%s)", failed, share(float64(failed), float64(all)))
	}
	h.Highlights = append(h.Highlights, htmlRow{Key: "exchanges", Value: strconv.FormatInt(all, 10)}, htmlRow{Key: "succeeded", Value: share(float64(total.Succeeded), float64(all))})
	figures := cells(&total.Latency)
	for _, q := range percentiles {
		if n := total.Latency.Count(); q.name != "p90" && n > 0 && supports(n, q.q) {
			h.Highlights = append(h.Highlights, htmlRow{Key: q.name, Value: brief(total.Latency.Quantile(q.q))})
		}
	}
	if total.Latency.Count() > 0 {
		h.Highlights = append(h.Highlights, htmlRow{Key: "max", Value: brief(total.Latency.Max())})
	}
	for _, name := range outcomeNames(total.Outcomes) {
		h.Outcomes = append(h.Outcomes, htmlRow{Key: name, Bad: slices.Contains(failures(total), name), Count: total.Outcomes[name], Value: share(float64(total.Outcomes[name]), float64(all))})
	}
	if c.Loop == "open" {
		h.Latencies = []htmlRow{{Key: "due time", Cells: figures}, {Key: "start", Cells: cells(&total.Service)}, {Key: "scheduling lag", Cells: cells(&total.Own)}}
	} else {
		h.Latencies = []htmlRow{{Key: "start", Cells: figures}}
	}
	h.Made = made(r, total)
	return h
}

// brief is a duration in three digits.
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

// made is how the run was made, and how its generator was.
func made(r Run, total *load.Interval) []htmlRow {
	rows := []htmlRow{
		{Key: "record", Value: r.Name}, {Key: "target", Value: setting(&r.Config)}, {Key: "host", Value: host(r.Record)},
		{Key: "generator", Value: fmt.Sprintf("%.2f of a core; %s, the longest pause %s", cores(total), plural(int(total.Health.GCs), "garbage collection"), span(total.Health.GCPause))},
	}
	if total.Queued > 0 {
		rows = append(rows, htmlRow{Key: "queued", Value: wereDue(total.Queued) + " while all connections were busy, and waited"})
	}
	if k := r.Kernel; k != nil && k.Connections > 0 {
		rows = append(rows, htmlRow{Key: "kernel", Value: fmt.Sprintf("%s in %s; smoothed round trip: p50 %s, max %s",
			plural(int(k.Retransmissions), "retransmission"), plural(int(k.Connections), "connection"), span(k.RTT.Quantile(0.5)), span(k.RTT.Max()))})
	}
	return rows
}

// phaseRows has the runs beside each other in each phase.
func phaseRows(runs []htmlRun, totals []*load.Interval) (rows []htmlRow) {
	every := make(map[string]bool)
	for _, total := range totals {
		for name := range total.Phases {
			every[name] = true
		}
	}
	for _, name := range phaseNames(every) {
		for n, total := range totals {
			if h := total.Phases[name]; h != nil {
				rows = append(rows, htmlRow{Key: name, Value: runs[n].Name, Color: runs[n].Color, Cells: cells(h)})
			}
		}
	}
	return rows
}

// scaleOf has room for all latencies, and is the same for all runs.
func scaleOf(totals []*load.Interval) heatScale {
	low, high := math.Inf(1), 0.0
	for _, total := range totals {
		if bars := total.Latency.Bars(); len(bars) > 0 {
			low, high = min(low, inMS(bars[0].To)), max(high, inMS(bars[len(bars)-1].To))
		}
	}
	if high == 0 {
		return heatScale{1, 10, heatBins}
	}
	return heatScale{low / 1.1, high * 1.1, heatBins}
}

// inMS is at least a nanosecond: the scales are logarithmic.
func inMS(d time.Duration) float64 { return float64(max(1, d)) / 1e6 }

func chartOf(r Run, total *load.Interval, data *chartData) chartRun {
	c := chartRun{
		Open: r.Config.Loop == "open", Asked: r.Config.RateAsked,
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
	if total.Operations() > total.Succeeded {
		c.Failed = overTime(intervals, func(i *load.Interval) int64 { return i.Operations() - i.Succeeded })
	}
	for _, name := range failures(total) {
		c.Failures = append(c.Failures, chartFailure{name, overTime(intervals, func(i *load.Interval) int64 { return i.Outcomes[name] })})
	}
	return c
}

// failures returns the outcomes that are failures, the most frequent first. Where it is not
// ok that has succeeded, it is not known which outcomes those are.
func failures(total *load.Interval) []string {
	if total.Outcomes["ok"] != total.Succeeded {
		return nil
	}
	return slices.DeleteFunc(outcomeNames(total.Outcomes), func(name string) bool { return name == "ok" || total.Outcomes[name] == 0 })
}

// overTime returns how many there are a second in each interval, and the last one again: a
// step is as wide as its interval.
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

// column is an interval's part of the heat map.
func column(h *load.Histogram, s heatScale) []int64 {
	bins := make([]int64, s.Bins)
	for _, b := range h.Bars() {
		at := math.Log(inMS(b.To)/s.Low) / math.Log(s.High/s.Low) * float64(s.Bins)
		bins[max(0, min(s.Bins-1, int(at)))] += b.Count
	}
	return bins
}

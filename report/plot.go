package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bothends/bothends/load"
)

const (
	plotWidth = 60 // maximum
	plotRows  = 4
	barWidth  = 40 // maximum
	barRows   = 10
)

// plots draws the distribution of latency, and the rate and the latency over time.
func (t *text) plots() {
	if t.Latency.Count() > 0 {
		t.line("")
		t.distribution(&t.Latency)
	}
	seconds := even(t.record.Intervals, t.plotWidth())
	if len(seconds) < 2 {
		return
	}
	rates, failed, slow := make([]float64, len(seconds)), make([]float64, len(seconds)), make([]float64, len(seconds))
	name, q := slowest(seconds)
	for n, i := range seconds {
		rates[n], failed[n], slow[n] = i.Throughput(), load.PerSecond(i.Failed(), i.End-i.Start), float64(i.Latency.Quantile(q))/1e6
	}
	from, to := axis(seconds[0].Start.Seconds())+" s", axis(seconds[len(seconds)-1].End.Seconds())+" s"
	t.line("")
	t.chart("throughput over time, successful exchanges per second", rates, from, to)
	if t.failed > 0 {
		t.line("")
		t.chart("failures over time, exchanges per second", failed, from, to)
	}
	t.line("")
	t.chart("latency over time, ms, "+name+" of each column", slow, from, to)
}

// plotWidth returns the number of columns of a chart, without its axis.
func (t *text) plotWidth() int { return t.room(plotWidth, keyWidth+1) }

// barWidth returns the number of columns of the longest bar of the distribution.
func (t *text) barWidth() int { return t.room(barWidth, 26) }

// room returns most, or less if the output does not have so many columns in addition to others.
func (t *text) room(most, others int) int {
	if t.Width == 0 {
		return most
	}
	return max(1, min(most, t.Width-others))
}

// slowest returns the percentile that each of the intervals supports: p99, or the maximum.
func slowest(intervals []*load.Interval) (name string, q float64) {
	for _, i := range intervals {
		if n := i.Latency.Count(); n > 0 && !supports(n, 0.99) {
			return "max", 1
		}
	}
	return "p99", 0.99
}

// distribution draws a row for each step of latency. Each step is longer than the one
// before by the same factor.
func (t *text) distribution(h *load.Histogram) {
	t.line("%s", t.paint(bold, "distribution of latency"))
	for _, s := range steps(h, barRows) {
		part := float64(s.Count) / float64(h.Count())
		bar := t.bar(part)
		t.line("  %s %9s ms %s%s %8s", t.ascii("≤"), ms(s.To), bar, strings.Repeat(" ", t.barWidth()-len([]rune(bar))), share(part, 1))
	}
}

// steps divides a histogram between its shortest and longest duration into most steps of
// equal width on a logarithmic scale.
func steps(h *load.Histogram, most int) []load.Bar {
	bars := h.Bars()
	low, high := math.Log(float64(max(1, bars[0].To))), math.Log(float64(max(1, bars[len(bars)-1].To)))
	if high-low < 1e-9 {
		return []load.Bar{{From: bars[0].From, To: bars[0].To, Count: h.Count()}}
	}
	list := make([]load.Bar, most)
	for n := range list {
		list[n].To = time.Duration(math.Exp(low + (high-low)*float64(n+1)/float64(most)))
	}
	for _, b := range bars {
		at := int((math.Log(float64(max(1, b.To))) - low) / (high - low) * float64(most))
		list[min(at, most-1)].Count += b.Count
	}
	return list
}

var (
	eighthsRight = []rune(" ▏▎▍▌▋▊▉█")
	eighthsUp    = []rune(" ▁▂▃▄▅▆▇█")
	asciiUp      = []rune(" ..::||##")
)

// bar returns a bar as long as the part of a whole. Only a part of 0 is invisible.
func (t *text) bar(part float64) string {
	if t.ASCII {
		return strings.Repeat("#", int(math.Ceil(part*float64(t.barWidth()))))
	}
	n := int(math.Ceil(part * float64(t.barWidth()) * 8))
	bar := strings.Repeat("█", n/8)
	if n%8 > 0 {
		bar += string(eighthsRight[n%8])
	}
	return bar
}

// chart draws values in columns from 0 to their maximum.
func (t *text) chart(title string, values []float64, from, to string) {
	t.line("%s", t.paint(bold, title))
	most, wide := 0.0, max(1, t.plotWidth()/len(values))
	for _, v := range values {
		most = max(most, v)
	}
	levels := eighthsUp
	if t.ASCII {
		levels = asciiUp
	}
	for row := plotRows - 1; row >= 0; row-- {
		var line strings.Builder
		for _, v := range values {
			height := 0
			if most > 0 {
				height = int(math.Ceil(v / most * plotRows * 8))
			}
			line.WriteString(strings.Repeat(string(levels[max(0, min(8, height-8*row))]), wide))
		}
		label := ""
		if row == plotRows-1 {
			label = axis(most)
		} else if row == 0 {
			label = "0"
		}
		t.line("%*s %s", keyWidth, label, strings.TrimRight(line.String(), " "))
	}
	width := wide * len(values)
	t.line("%*s %s%*s", keyWidth, "", from, max(1, width-len(from)), to)
}

func axis(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

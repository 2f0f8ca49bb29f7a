package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bothends/bothends/load"
)

// A limit is a condition of --fail-if.
type limit struct {
	text     string
	metric   string
	over     bool // the condition is that the metric is more than value; otherwise less
	value    float64
	relative bool // value is a percentage of all exchanges
}

var limitPattern = regexp.MustCompile(`^\s*((?:service\.)?(?:p[0-9]{1,2}(?:\.[0-9]+)?|mean|max)|errors|unsent|rate|throughput)\s*([<>])\s*([0-9.]+)\s*([a-zµ%]*)\s*$`)

// parseLimit reads METRIC>VALUE or METRIC<VALUE. METRIC is p50, p99.9, mean or max of the
// latency, or of the service time with "service." before it; errors or unsent, as a number
// or a percentage; rate or throughput.
func parseLimit(text string) (limit, error) {
	m := limitPattern.FindStringSubmatch(text)
	if m == nil {
		return limit{}, fmt.Errorf("--fail-if %q: must be a condition such as p99>5ms, service.max>1s, errors>0.1%% or throughput<100", text)
	}
	l := limit{text: strings.TrimSpace(text), metric: m[1], over: m[2] == ">"}
	counts := l.metric == "errors" || l.metric == "unsent" || perSecond(l.metric)
	var err error
	if !counts {
		var d time.Duration
		d, err = time.ParseDuration(m[3] + m[4])
		l.value = d.Seconds()
	} else if l.value, err = strconv.ParseFloat(m[3], 64); err == nil {
		switch {
		case m[4] == "%" && !perSecond(l.metric):
			l.relative = true
		case m[4] != "":
			err = errors.New("unit")
		}
	}
	if err != nil {
		return limit{}, fmt.Errorf("--fail-if %q: %s needs %s", text, l.metric, l.wants(counts))
	}
	return l, nil
}

// wants returns what the value of the metric has to be.
func (l limit) wants(counts bool) string {
	switch {
	case !counts:
		return "a duration, such as 5ms"
	case perSecond(l.metric):
		return "a number, such as 100"
	}
	return "a number or a percentage, such as 0.1%"
}

// brokenBy reports whether the condition is true, and what the value is. If nothing was
// measured, the latency is less than any.
func (l limit) brokenBy(total *load.Interval) (broken bool, instead string) {
	got := l.of(total)
	switch {
	case l.relative:
		instead = "it is " + strconv.FormatFloat(got, 'g', 3, 64) + "%"
	case l.metric == "errors" || l.metric == "unsent":
		instead = "it is " + strconv.FormatFloat(got, 'f', 0, 64)
	case perSecond(l.metric):
		instead = "it is " + strconv.FormatFloat(got, 'f', 1, 64) + "/s"
	case total.Latency.Count() == 0:
		instead = "there is none, no exchange was measured"
	default:
		instead = "it is " + time.Duration(got*1e9).String()
	}
	if l.over {
		return got > l.value, instead
	}
	return got < l.value, instead
}

func (l limit) of(total *load.Interval) float64 {
	share := func(n int64) float64 {
		if !l.relative {
			return float64(n)
		}
		all := total.Operations()
		if l.metric == "unsent" { // of all that were due
			all += total.Unsent
		}
		return 100 * float64(n) / float64(max(1, all))
	}
	switch l.metric {
	case "errors":
		return share(total.Errors())
	case "unsent":
		return share(total.Unsent)
	case "rate":
		return total.Rate()
	case "throughput":
		return total.Throughput()
	}
	h, name := &total.Latency, l.metric
	if service, ok := strings.CutPrefix(l.metric, "service."); ok {
		h, name = &total.Service, service
	}
	switch name {
	case "mean":
		return h.Mean().Seconds()
	case "max":
		return h.Max().Seconds()
	}
	p, _ := strconv.ParseFloat(name[1:], 64) // the pattern allows only numbers
	return h.Quantile(p / 100).Seconds()
}

// perSecond reports whether a metric is a number per second.
func perSecond(metric string) bool { return metric == "rate" || metric == "throughput" }

// limited reports whether the user has set a limit for a metric.
func limited(limits []limit, metric string) bool {
	return slices.ContainsFunc(limits, func(l limit) bool { return l.metric == metric })
}

// parseTime reads a time of day, of which it returns the next, or a time in RFC 3339.
func parseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		if t.Before(now.Truncate(time.Second)) {
			return t, fmt.Errorf("--start-at %s is in the past", text)
		}
		return t, nil
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		clock, err := time.ParseInLocation(layout, text, now.Location())
		if err != nil {
			continue
		}
		y, m, d := now.Date()
		t := time.Date(y, m, d, clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
		if t.Before(now.Truncate(time.Second)) {
			t = t.AddDate(0, 0, 1)
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--start-at %q: must be 15:04, 15:04:05 or RFC 3339", text)
}

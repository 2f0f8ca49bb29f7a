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

// A limit is a --fail-if: what must not be.
type limit struct {
	text     string
	metric   string
	over     bool // it is broken by what is more; otherwise by what is less
	value    float64
	relative bool // of all exchanges
}

var limitPattern = regexp.MustCompile(`^\s*((?:service\.)?(?:p[0-9]{1,2}(?:\.[0-9]+)?|mean|max)|errors|unsent|rate)\s*([<>])\s*([0-9.]+)\s*([a-zµ%]*)\s*$`)

// parseLimit reads METRIC>VALUE or METRIC<VALUE: p50, p99.9, mean, max of the latency or
// with service. before them, errors and unsent as a number or a percentage, rate.
func parseLimit(text string) (limit, error) {
	m := limitPattern.FindStringSubmatch(text)
	if m == nil {
		return limit{}, fmt.Errorf("--fail-if %q: want for example p99>5ms, service.max>1s, errors>0.1%% or rate<100", text)
	}
	l := limit{text: strings.TrimSpace(text), metric: m[1], over: m[2] == ">"}
	counts := l.metric == "errors" || l.metric == "unsent" || l.metric == "rate"
	var err error
	if !counts {
		var d time.Duration
		d, err = time.ParseDuration(m[3] + m[4])
		l.value = d.Seconds()
	} else if l.value, err = strconv.ParseFloat(m[3], 64); err == nil {
		switch {
		case m[4] == "%" && l.metric != "rate":
			l.relative = true
		case m[4] != "":
			err = errors.New("unit")
		}
	}
	if err != nil {
		return limit{}, fmt.Errorf("--fail-if %q: %s%s is no value of %s", text, m[3], m[4], l.metric)
	}
	return l, nil
}

// brokenBy reports whether the run breaks the limit, and what it has instead. A latency of
// which nothing was measured is less than any.
func (l limit) brokenBy(total *load.Interval) (broken bool, instead string) {
	got := l.of(total)
	switch {
	case l.relative:
		instead = "it is " + strconv.FormatFloat(got, 'g', 3, 64) + "%"
	case l.metric == "errors" || l.metric == "unsent":
		instead = "it is " + strconv.FormatFloat(got, 'f', 0, 64)
	case l.metric == "rate":
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
		return share(errorsIn(total))
	case "unsent":
		return share(total.Unsent)
	case "rate":
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
	p, _ := strconv.ParseFloat(name[1:], 64) // the pattern has seen to it
	return h.Quantile(p / 100).Seconds()
}

// limited reports whether the user has set a limit for a metric.
func limited(limits []limit, metric string) bool {
	return slices.ContainsFunc(limits, func(l limit) bool { return l.metric == metric })
}

// parseTime reads a time of day, the next one that comes, or RFC 3339.
func parseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		if t.Before(now.Truncate(time.Second)) {
			return t, fmt.Errorf("--start-at %s is over", text)
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
	return time.Time{}, fmt.Errorf("--start-at %q: want 15:04, 15:04:05 or RFC 3339", text)
}

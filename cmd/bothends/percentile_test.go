package main

import (
	"testing"
	"time"

	"github.com/bothends/bothends/load"
)

// Of 60 exchanges of which one takes 300 ms, p99 is above 100 ms, and p98 is not.
func TestFailIfRoundsPercentilesUp(t *testing.T) {
	total := &load.Interval{End: time.Second, Outcomes: map[string]int64{"ok": 60}, Succeeded: 60}
	for n := range 60 {
		d := 2 * time.Millisecond
		if n == 30 {
			d = 300 * time.Millisecond
		}
		total.Latency.Record(d)
		total.Service.Record(d)
	}
	for text, want := range map[string]bool{"p99>100ms": true, "service.p99>100ms": true, "p98.4>100ms": true, "p98.3>100ms": false, "p98>100ms": false, "max>100ms": true} {
		l, err := parseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		if broken, instead := l.brokenBy(total); broken != want {
			t.Errorf("%s: %v, %s", text, broken, instead)
		}
	}
}

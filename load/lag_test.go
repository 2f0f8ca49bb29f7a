package load

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Two workers: A and B. Times are milliseconds.
func TestLagMeter(t *testing.T) {
	const ended = -1
	for name, c := range map[string]struct {
		events [][4]int // due, start, lag, 1 for queued; or ended, at
	}{
		"in time":        {[][4]int{{0, 0, 0, 0}, {10, 10, 0, 0}}},
		"late":           {[][4]int{{0, 3, 3, 0}, {10, 15, 5, 0}}},
		"all busy":       {[][4]int{{0, 0, 0, 0}, {10, 10, 0, 0}, {ended, 50}, {20, 50, 0, 1}, {ended, 60}, {30, 62, 2, 1}}},
		"free, and late": {[][4]int{{0, 0, 0, 0}, {10, 10, 0, 0}, {ended, 50}, {60, 70, 10, 0}}},
		// The generator stands still until 100, with both workers free. What follows waits for
		// a worker too, and has of the stall what it was due in.
		"stall, and then busy": {[][4]int{{10, 100, 90, 0}, {20, 100, 80, 0}, {ended, 110}, {30, 110, 70, 1}, {ended, 120}, {99, 120, 1, 1}, {ended, 130}, {101, 130, 0, 1}}},
		// A worker needs 1 to go on to the next one, ten times in a row: that does not add up.
		"going on": {[][4]int{{0, 0, 0, 0}, {0, 0, 0, 0},
			{ended, 10}, {1, 11, 1, 1}, {ended, 20}, {1, 21, 1, 1}, {ended, 30}, {1, 31, 1, 1}, {ended, 40}, {1, 41, 1, 1}, {ended, 50}, {1, 51, 1, 1}}},
	} {
		m := lagMeter{workers: 2}
		for n, e := range c.events {
			if e[0] == ended {
				m.ended(time.Duration(e[1]) * time.Millisecond)
				continue
			}
			lag, queued := m.started(time.Duration(e[0])*time.Millisecond, time.Duration(e[1])*time.Millisecond)
			if lag != time.Duration(e[2])*time.Millisecond || queued != (e[3] == 1) {
				t.Errorf("%s, event %d: lag %v, queued %v, want %v", name, n, lag, queued, e)
			}
		}
	}
}

// The lag is the longest of all stretches since the operation was due, also if a longer
// one was over before, and if two of them lie in a backlog.
func TestLagIsTheLongestStretch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for n := range 1000 {
		m := lagMeter{workers: 1 + n%3}
		var past []stretch
		var now, due time.Duration
		for range 60 {
			now += time.Duration(1 + random.IntN(20))
			if m.busy > 0 && (m.busy == m.workers || random.IntN(2) == 0) {
				m.ended(now)
				continue
			}
			due += time.Duration(random.IntN(15))
			now = max(now, due)
			current := stretch{m.free, now}
			want := max(0, current.after(due))
			for _, s := range past {
				want = max(want, s.after(due))
			}
			if lag, _ := m.started(due, now); lag != want {
				t.Fatalf("run %d: due %d, started %d: lag %d, want %d", n, due, now, lag, want)
			}
			if m.busy == m.workers {
				past = append(past, current)
			}
		}
	}
}

// However late operations are, and however many of them, nothing is stored of them.
func TestLagMeterDoesNotGrow(t *testing.T) {
	m, n := lagMeter{workers: 2}, time.Duration(0)
	m.started(0, 0)
	if allocated := testing.AllocsPerRun(100_000, func() {
		n++
		m.started(n*time.Microsecond, n*time.Millisecond) // later and later
		m.ended(n*time.Millisecond + 500*time.Microsecond)
	}); allocated != 0 {
		t.Errorf("%v allocations for an operation", allocated)
	}
}

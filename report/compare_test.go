package report_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

func simulatedRun(name string, seed uint64, slower float64) report.Run {
	return report.Run{Name: name, Record: simulation{seed: seed, intervals: 20, every: time.Second / 4, rate: 1000, drift: 0.01, slower: slower}.run()}
}

func compared(t *testing.T, a, b report.Run, least float64) *report.Comparison {
	t.Helper()
	c, err := report.Compare(a, b, least)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompare(t *testing.T) {
	a, b := simulatedRun("a.json", 1, 1), simulatedRun("b.json", 2, 1.1)
	c := compared(t, a, b, 0)
	want := `A           a.json
B           b.json

                    A          B      B/A  between            verdict
throughput    978.6/s    872.2/s    0.891  0.799 – 0.994      slower
`
	got := c.Text(report.Style{})
	if !strings.HasPrefix(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	for _, line := range []string{"p99.9, ms ", "  -                     too few to say\n", "B is slower in throughput, mean, p50; cannot tell for p90, p99: a difference of\nup to 82 % is possible; too few exchanges for p99.9. "} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	for line := range strings.Lines(got) {
		if len([]rune(line)) > 81 {
			t.Errorf("too wide: %s", line)
		}
	}
	if back := compared(t, b, a, 0); back.Verdict != report.Faster || !strings.Contains(back.Sentence(), "B is faster in throughput, mean") {
		t.Errorf("the other way round: %+v", back)
	}
	if c := compared(t, a, b, 0.9); c.Verdict != report.NoDifference || !strings.HasPrefix(c.Sentence(), "no difference of 90 % or more in throughput, mean, p50, p90, p99; too few exchanges for p99.9. ") {
		t.Errorf("least 90 %%: %s", c.Text(report.Style{}))
	}
	one, _ := json.Marshal(c)
	again, _ := json.Marshal(compared(t, a, b, 0))
	if string(one) != string(again) || !strings.Contains(string(one), `"schema":"bothends.compare/v2","run_a":"a.json","run_b":"b.json","finding":"slower","least":0.02,`) {
		t.Errorf("%s\n%s", one, again)
	}
	if colored := c.Text(report.Style{Color: true, ASCII: true}); !strings.Contains(colored, "\x1b[1;31mslower\x1b[0m") || !strings.Contains(colored, "0.799 - 0.994") {
		t.Error(colored)
	}
}

// No difference is said only if the whole interval is within the bound. A run compared with
// itself has a ratio of 1, and intervals that are wider than 2 %.
func TestCompareCannotTell(t *testing.T) {
	a := simulatedRun("a.json", 1, 1)
	c := compared(t, a, a, 0)
	if c.Verdict != report.CannotTell || !strings.HasPrefix(c.Sentence(), "cannot tell for throughput, mean, p50, p90, p99: a difference of up to ") {
		t.Errorf("with itself: %s", c.Text(report.Style{}))
	}
	for _, least := range []float64{-1, 0.01, 0.05, 0.1, 0.2, 0.4} {
		c := compared(t, a, simulatedRun("b.json", 2, 1.03), least)
		bound := max(0, least)
		all := true
		for _, m := range c.Metrics {
			within := m.High > 0 && m.Low >= 1/(1+bound) && m.High <= 1+bound
			if said := m.Verdict == report.NoDifference; said != within {
				t.Errorf("least %v, %s: %v to %v is %q", least, m.Name, m.Low, m.High, m.Verdict)
			}
			all = all && (within || m.Verdict == report.TooFew)
		}
		if (c.Verdict == report.NoDifference) != all {
			t.Errorf("least %v: %s", least, c.Text(report.Style{}))
		}
	}
}

// The sentence has each row of the table, with its verdict.
func TestCompareSentenceHasEachRow(t *testing.T) {
	for seed := range uint64(6) {
		c := compared(t, simulatedRun("a", seed, 1), simulatedRun("b", seed+50, 1+float64(seed)/50), 0.08)
		sentence, _, _ := strings.Cut(c.Sentence(), ". ")
		for _, m := range c.Metrics {
			words := map[report.Verdict]string{report.Slower: "slower in ", report.Faster: "faster in ", report.NoDifference: "no difference of ", report.CannotTell: "cannot tell for ", report.TooFew: "too few exchanges for "}[m.Verdict]
			if !slices.ContainsFunc(strings.Split(sentence, "; "), func(part string) bool {
				return strings.Contains(part, words) && slices.Contains(strings.FieldsFunc(part, func(r rune) bool { return strings.ContainsRune(" ,:", r) }), m.Name)
			}) {
				t.Errorf("%s is %q in the table, and not in %q", m.Name, m.Verdict, sentence)
			}
		}
	}
}

// Outcomes may have any names: what succeeded is counted apart.
func TestCompareOtherOutcomes(t *testing.T) {
	runs := []report.Run{simulatedRun("a", 1, 1), simulatedRun("b", 2, 1.1)}
	want := compared(t, runs[0], runs[1], 0)
	for _, r := range runs {
		for _, i := range r.Intervals {
			i.Outcomes = map[string]int64{"200": i.Outcomes["ok"]}
		}
	}
	if diff := cmp.Diff(want, compared(t, runs[0], runs[1], 0)); diff != "" {
		t.Error(diff)
	}
}

// Slower in one and faster in another is slower, and the sentence has both.
func TestCompareMixed(t *testing.T) {
	a, b := simulatedRun("a", 1, 1), simulatedRun("b", 2, 1)
	for _, i := range b.Intervals {
		i.Outcomes["ok"] *= 2
		i.Succeeded *= 2
		for range 100 {
			i.Latency.Record(time.Second)
		}
	}
	c := compared(t, a, b, 0)
	if c.Verdict != report.Slower || !strings.HasPrefix(c.Sentence(), "B is slower in mean, ") || !strings.Contains(c.Sentence(), "; faster in throughput; ") {
		t.Errorf("%v: %s", c.Verdict, c.Sentence())
	}
}

// One second that was bad says nothing of the others, and not that all is as it was.
func TestCompareOneStall(t *testing.T) {
	a, b := simulatedRun("a", 1, 1), simulatedRun("b", 2, 1)
	for range 100 {
		b.Intervals[7].Latency.Record(time.Second)
	}
	c := compared(t, a, b, 0)
	if p99 := c.Metrics[4]; p99.Name != "p99" || p99.Verdict != report.CannotTell || p99.Ratio < 100 {
		t.Errorf("%+v", p99)
	}
	if c.Verdict != report.CannotTell || !strings.Contains(c.Sentence(), "cannot tell for throughput, mean, p50, p90, p99; ") {
		t.Errorf("%s", c.Text(report.Style{}))
	}
}

// What was measured in one second alone says nothing of how it varies.
func TestCompareAllInOneInterval(t *testing.T) {
	a, b := simulatedRun("a", 1, 1), simulatedRun("b", 2, 1.5)
	for _, i := range b.Intervals[1:] {
		i.Latency = load.Histogram{}
	}
	c := compared(t, a, b, 0)
	for _, m := range c.Metrics[1:3] {
		if m.Verdict != report.CannotTell || m.Low != 0 || m.High != 0 || m.Ratio == 0 {
			t.Errorf("%+v", m)
		}
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
	if text := c.Text(report.Style{}); !strings.Contains(text, "                     cannot tell") || strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Error(text)
	}
}

func TestCompareRefuses(t *testing.T) {
	a, b := simulatedRun("a", 1, 1), simulatedRun("b", 2, 1)
	b.Config.Connections, b.Config.Fault = 5, "reset:4"
	var kind *report.KindError
	if _, err := report.Compare(a, b, 0); !errors.As(err, &kind) || err.Error() != "a and b differ in kind: connections 4 and 5; fault none and reset:4" {
		t.Errorf("%v", err)
	}
	b = simulatedRun("b", 2, 1)
	b.Config.Label, b.Config.Target, b.Config.Seconds = "other", "other", 9
	if _, err := report.Compare(a, b, 0); err != nil {
		t.Errorf("label, target and length are no kind: %v", err)
	}
	b.Intervals = b.Intervals[:7]
	if _, err := report.Compare(a, b, 0); err == nil || err.Error() != "cannot compare b: it has 7 intervals, at least 8 are needed" {
		t.Errorf("%v", err)
	}
	stump := *b.Intervals[6]
	stump.Start, stump.End = stump.End, stump.End+time.Millisecond
	b.Intervals = append(b.Intervals, &stump)
	if _, err := report.Compare(a, b, 0); err == nil {
		t.Error("a stump is taken for an interval")
	}
}

func TestCompareWarns(t *testing.T) {
	a, b := simulatedRun("a", 1, 1), simulatedRun("b", 2, 1)
	if w := compared(t, a, b, 0).Warnings; len(w) > 0 {
		t.Errorf("%q", w)
	}
	b.Intervals[0].Unsent = 2
	if w := compared(t, b, b, 0).Warnings; len(w) != 1 {
		t.Errorf("of a run and itself: %q", w)
	}
	b.Host.Name, b.Host.CPUs, b.Engine = "there", 16, "epoll"
	b.Intervals[0].Outcomes["timeout"], b.Intervals[0].Unsent = 3, 1
	b.Intervals[0].Health.CPU = time.Hour
	want := []string{"the load came from different engines: none and epoll", "the load came from different machines: here and there", "the load came from different numbers of CPUs: 2 and 16",
		fmt.Sprintf("b: of %d exchanges 3 failed (", load.Total(b.Intervals).Operations()), "b: exchanges that were due but never sent: 1. ", "b: The load generator may be the bottleneck, not the server: it used"}
	got := compared(t, a, b, 0).Warnings
	for n := range want {
		if n >= len(got) || !strings.HasPrefix(got[n], want[n]) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

// Runs whose level wanders by a third are told apart, when they take turns.
func TestCompareTurns(t *testing.T) {
	slices := func(seed uint64, slower float64) (runs []report.Run) {
		for n := range 12 {
			level := 1 + 0.3*float64(n%5)/4 // the machine's, the same for both
			s := simulation{seed: seed + uint64(n), intervals: 2, every: time.Second / 10, rate: 2000, drift: 0.005, slower: slower * level}
			runs = append(runs, report.Run{Name: "slice", Record: s.run()})
		}
		return runs
	}
	a, same, slow := slices(100, 1), slices(200, 1), slices(300, 1.1)
	for want, b := range map[report.Verdict][]report.Run{report.CannotTell: same, report.Slower: slow} {
		c, err := report.CompareTurns(a, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if c.Verdict != want || c.A != "slice and 11 more" || want == report.CannotTell && c.Metrics[0].Verdict != report.NoDifference {
			t.Errorf("%v, want %v:\n%s", c.Verdict, want, c.Text(report.Style{}))
		}
	}
	joined := func(runs []report.Run) report.Run {
		for n := range runs {
			runs[n].Started = runs[n].Started.Add(time.Duration(n) * time.Minute)
		}
		whole, _, err := report.Concat(runs)
		if err != nil {
			t.Fatal(err)
		}
		return report.Run{Record: whole}
	}
	if c := compared(t, joined(a), joined(slow), 0); c.Verdict != report.CannotTell {
		t.Error("this level hides nothing, and the test shows nothing")
	}
	if _, err := report.CompareTurns(a, slow[1:], 0); err == nil || err.Error() != "unequal numbers: A has 12 slices and B has 11, pairs are needed" {
		t.Errorf("%v", err)
	}
	if _, err := report.CompareTurns(a[:7], slow[:7], 0); err == nil || err.Error() != "cannot compare 7 pairs: at least 8 are needed" {
		t.Errorf("%v", err)
	}
	slow[3].Config.PerConnection = 1
	var kind *report.KindError
	if _, err := report.CompareTurns(a, slow, 0); !errors.As(err, &kind) {
		t.Errorf("%v", err)
	}
}

// A run in which nothing went well has nothing to compare, and does not crash.
func TestCompareNothing(t *testing.T) {
	a, b := simulatedRun("a", 1, 1), simulatedRun("b", 2, 1)
	for _, i := range b.Intervals {
		i.Outcomes, i.Succeeded, i.Latency = map[string]int64{"refused": 5}, 0, load.Histogram{}
	}
	for _, runs := range [][2]report.Run{{a, b}, {b, a}, {b, b}} {
		c, err := report.Compare(runs[0], runs[1], 0)
		if err == nil || !strings.Contains(err.Error(), "too many failed to compare the rest") {
			t.Errorf("%v, %v", c, err)
		}
	}
	few := simulatedRun("few", 1, 1)
	for n, i := range few.Intervals {
		if n >= 4 { // a server that died in the middle
			i.Outcomes, i.Succeeded, i.Latency = map[string]int64{"refused": i.Operations()}, 0, load.Histogram{}
		}
	}
	if c, err := report.Compare(a, few, 0); err == nil {
		t.Errorf("a server that died is %v", c.Verdict)
	}
}

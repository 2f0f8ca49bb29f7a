package check

import "fmt"

// A Tally counts results. The zero value is empty.
type Tally struct {
	count  [len(verdicts)]int
	unable int // those of the skipped cases that could not be run
}

// Add counts a result.
func (t *Tally) Add(r Result) {
	t.count[r.Verdict]++
	if r.Err != nil {
		t.unable++
	}
}

// Count returns the number of results with a verdict.
func (t *Tally) Count(v Verdict) int { return t.count[v] }

// Total returns the number of results.
func (t *Tally) Total() (n int) {
	for _, of := range t.count {
		n += of
	}
	return n
}

// OK reports whether at least one case passed, with a warning or without, and no case
// failed or could not be run.
func (t *Tally) OK() bool {
	return t.count[Fail] == 0 && t.count[Pass]+t.count[Warn] > 0 && t.unable == 0
}

// String returns the tally in words: "13 cases: 10 passed, 2 failed, 1 with a warning".
func (t *Tally) String() string {
	return numbered(t.Total()) + ": " + t.counts()
}

func (t *Tally) counts() string {
	s := fmt.Sprintf("%d passed", t.count[Pass])
	for _, of := range []struct {
		verdict Verdict
		words   string
	}{{Fail, "failed"}, {Warn, "with a warning"}, {Skip, "skipped"}} {
		if n := t.count[of.verdict]; n > 0 {
			s += fmt.Sprintf(", %d %s", n, of.words)
		}
	}
	return s
}

// numbered returns "1 case" or "2 cases".
func numbered(n int) string {
	if n == 1 {
		return "1 case"
	}
	return fmt.Sprintf("%d cases", n)
}

// noVerdict returns the reason why the results are not a verdict on the server or client,
// and "" if they are. The number of cases that should have run is asked.
func (t *Tally) noVerdict(asked int) string {
	switch ended := t.Total(); {
	case ended < asked:
		return fmt.Sprintf("stopped after %d of %s", ended, numbered(asked))
	case t.count[Fail] > 0 || t.OK():
		return ""
	case t.unable > 0:
		return fmt.Sprintf("%d of %s could not be run", t.unable, numbered(asked))
	}
	return "no case was run"
}

// sentence returns the verdict on the server or client with this name.
func (t *Tally) sentence(name string, asked int) string {
	if why := t.noVerdict(asked); why != "" {
		return fmt.Sprintf("%s: %s, no verdict: %s", name, why, t.counts())
	}
	verdict := "survives"
	switch skipped := t.count[Skip]; {
	case t.count[Fail] > 0:
		verdict = "does not survive"
	case skipped > 0:
		return fmt.Sprintf("%s survives %d of %s: %s", name, asked-skipped, numbered(asked), t.counts())
	}
	return fmt.Sprintf("%s %s: %v", name, verdict, t)
}

// Package check judges somebody's server or client of fixed-length messages: it does
// to it what peers and networks do, one case after another, and sees whether it
// survives.
//
//	s := check.Server{Addr: "127.0.0.1:1060"}
//	for result := range s.Run(ctx, check.ServerCases()) {
//		fmt.Println(result.Case, result.Verdict, result.Why)
//	}
package check

import (
	"fmt"
	"slices"
	"time"
)

// A Verdict is what a case has found.
type Verdict uint8

// The verdicts.
const (
	Pass Verdict = iota
	Fail         // it did what no server, or client, may do
	Warn         // it survived, and users may be worse off than need be
	Skip         // there was nothing to judge
)

var verdicts = [...]string{Pass: "pass", Fail: "fail", Warn: "warn", Skip: "skip"}

// String is the verdict in lower case.
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText returns the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// A Result is how one case went.
type Result struct {
	Case    string // its name, which does not change
	Title   string // what was done
	Verdict Verdict
	Why     string        // what was seen; may be empty when it passed
	Took    time.Duration // the whole case
	Output  string        // the end of what a client's command printed; "" for a server
}

// A finding is what a case has to say.
type finding struct {
	verdict Verdict
	why     string
}

func pass(format string, args ...any) finding { return finding{Pass, fmt.Sprintf(format, args...)} }
func fail(format string, args ...any) finding { return finding{Fail, fmt.Sprintf(format, args...)} }
func warn(format string, args ...any) finding { return finding{Warn, fmt.Sprintf(format, args...)} }
func skip(format string, args ...any) finding { return finding{Skip, fmt.Sprintf(format, args...)} }

// A Tally counts verdicts. The zero value is empty.
type Tally [len(verdicts)]int

// Add counts a result.
func (t *Tally) Add(r Result) { t[r.Verdict]++ }

// OK tells whether no case failed and at least one passed, or warned.
func (t *Tally) OK() bool { return t[Fail] == 0 && t[Pass]+t[Warn] > 0 }

// String is the tally in words: "13 cases: 10 passed, 2 failed, 1 with a warning".
func (t *Tally) String() string {
	total := 0
	for _, n := range t {
		total += n
	}
	cases := "cases"
	if total == 1 {
		cases = "case"
	}
	s := fmt.Sprintf("%d %s: %d passed", total, cases, t[Pass])
	for _, of := range []struct {
		verdict Verdict
		words   string
	}{{Fail, "failed"}, {Warn, "with a warning"}, {Skip, "skipped"}} {
		if n := t[of.verdict]; n > 0 {
			s += fmt.Sprintf(", %d %s", n, of.words)
		}
	}
	return s
}

// places are the numbers from low to high, or most of them at the most, spread evenly
// with both ends among them.
func places(low, high, most int) []int {
	var all []int
	for n := low; n <= high; n++ {
		all = append(all, n)
	}
	if len(all) <= most {
		return all
	}
	some := make([]int, most)
	for i := range some {
		some[i] = all[i*(len(all)-1)/(most-1)]
	}
	return slices.Compact(some)
}

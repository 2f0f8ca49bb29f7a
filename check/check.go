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

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/errno"
)

// A Verdict is what a case has found.
type Verdict uint8

// The verdicts.
const (
	Pass Verdict = iota
	Fail         // it did what no server, or client, may do
	Warn         // it survived, and users may be worse off than need be
	Skip         // the case was not run
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
	Why     string        // what was seen; may be empty if the verdict is Pass
	Took    time.Duration // the whole case
	Output  string        // the end of what a client's command printed; "" for a server
	// Err, if not nil, is why the case could not be run, and its verdict is Skip: this
	// machine has no more descriptors or ports, or, if it is a *NotRunError, the server
	// cannot be reached or the command cannot be started. It says nothing about the
	// server or client.
	Err error
}

// A NotRunError is why a case could not even be started.
type NotRunError struct{ Err error }

func (e *NotRunError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *NotRunError) Unwrap() error { return e.Err }

// A finding is what a case has to say.
type finding struct {
	verdict Verdict
	why     string
	err     error // the error in why, if any; if the verdict is Skip, that of unable
}

func pass(format string, args ...any) finding { return found(Pass, format, args) }
func fail(format string, args ...any) finding { return found(Fail, format, args) }
func warn(format string, args ...any) finding { return found(Warn, format, args) }
func skip(format string, args ...any) finding { return found(Skip, format, args) }

func found(v Verdict, format string, args []any) finding {
	f := finding{verdict: v, why: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok && v != Skip {
			f.err = err
		}
	}
	return f
}

// unable is the finding of a case that could not be started.
func unable(err error) finding {
	return finding{Skip, fmt.Sprintf("not run: %v", err), &NotRunError{err}}
}

// result returns the Result of a case that has ended with f. What this machine lacks is
// not held against the server or client.
func (f finding) result(name, title string) Result {
	r := Result{Case: name, Title: title, Verdict: f.verdict, Why: f.why}
	switch {
	case f.verdict == Skip:
		r.Err = f.err
	case f.verdict != Pass && isLocal(f.err):
		r.Verdict, r.Err = Skip, f.err
		r.Why = "this machine could not do it: " + f.why
	}
	return r
}

// isLocal reports whether err is this machine's own: it has no more descriptors, memory
// or ports.
func isLocal(err error) bool {
	return errno.Exhausted.Has(err) || errno.AddrInUse.Has(err) || errno.AddrNotAvail.Has(err)
}

// A stepError is an error with what was done. Its text is short, as that of an
// ExchangeError without the address.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + bothends.Reason(e.err) }
func (e *stepError) Unwrap() error { return e.err }

// rounded returns a duration with three digits: "3.88s", "263µs".
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
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

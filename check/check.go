// Package check tests a server or a client of fixed-length messages against misbehaving
// peers and networks. It runs one case after another, and reports which of them the
// server or client survives.
//
// In a test of your own server, [Test] runs a subtest per case:
//
//	func TestServer(t *testing.T) {
//		check.Test(t, &check.Server{Addr: addr})
//	}
//
// In a program, Run returns the results one by one:
//
//	s := check.Server{Addr: "127.0.0.1:1060"}
//	for result := range s.Run(ctx, check.ServerCases()) {
//		fmt.Println(result.Case, result.Verdict, result.Why)
//	}
package check

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/errno"
)

// A Verdict is the result of a case in one word.
type Verdict uint8

// The verdicts.
const (
	Pass Verdict = iota
	Fail         // the server or client did what it must not do
	Warn         // it survived, but may serve its users badly
	Skip         // the case was not run
)

var verdicts = [...]string{Pass: "pass", Fail: "fail", Warn: "warn", Skip: "skip"}

// String returns the verdict in lower case.
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText returns the verdict in lower case. It returns an error if v is not one of
// the four verdicts.
func (v Verdict) MarshalText() ([]byte, error) {
	if int(v) >= len(verdicts) {
		return nil, fmt.Errorf("%v is not a verdict", v)
	}
	return []byte(v.String()), nil
}

// UnmarshalText accepts what MarshalText returns.
func (v *Verdict) UnmarshalText(text []byte) error {
	n := slices.Index(verdicts[:], string(text))
	if n < 0 {
		return fmt.Errorf("%q is not a verdict: must be pass, fail, warn or skip", text)
	}
	*v = Verdict(n)
	return nil
}

// A Result is the result of one case.
type Result struct {
	Case    string // the name of the case, which does not change
	Title   string // what the case does
	Verdict Verdict
	Why     string        // what was seen; may be empty if the verdict is Pass
	Took    time.Duration // the time of the whole case
	Output  string        // the end of the output of a client's command; "" for a server
	// Err, if not nil, is the reason why the case could not be run. The verdict is then
	// Skip. Either this machine has no more descriptors or ports, or Err is a
	// *NotRunError: the server cannot be reached or the command cannot be started. Err
	// says nothing about the server or client.
	Err error
}

// resultJSON is a Result as JSON.
type resultJSON struct {
	Schema  string  `json:"schema"`
	Case    string  `json:"case"`
	Title   string  `json:"title"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why"`
	Seconds float64 `json:"seconds"`
	Output  string  `json:"output,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// MarshalJSON returns the object that "bothends check -o json" prints. Its schema is
// [Schema].
func (r Result) MarshalJSON() ([]byte, error) {
	object := resultJSON{Schema, r.Case, r.Title, r.Verdict, r.Why, r.Took.Seconds(), r.Output, ""}
	if r.Err != nil {
		object.Error = r.Err.Error()
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // json.Marshal does it afterwards
	err := e.Encode(object)
	return text.Bytes(), err
}

// UnmarshalJSON reads what MarshalJSON returns. Of Err only the text is kept. It returns
// an error if the object has another schema.
func (r *Result) UnmarshalJSON(text []byte) error {
	var object resultJSON
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	if object.Schema != Schema {
		return fmt.Errorf("the schema is %q, expected %q", object.Schema, Schema)
	}
	took := time.Duration(math.Round(object.Seconds * float64(time.Second)))
	*r = Result{object.Case, object.Title, object.Verdict, object.Why, took, object.Output, nil}
	if object.Error != "" {
		r.Err = errors.New(object.Error)
	}
	return nil
}

// A NotRunError is the reason why a case could not be started.
type NotRunError struct{ Err error }

// Error returns the text of the cause.
func (e *NotRunError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *NotRunError) Unwrap() error { return e.Err }

// A finding is what a case returns.
type finding struct {
	verdict Verdict
	why     string
	err     error // the error in why, if any; if the verdict is Skip, a NotRunError
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

// unable returns the finding of a case that could not be started.
func unable(err error) finding {
	return finding{Skip, fmt.Sprintf("not run: %v", err), &NotRunError{err}}
}

// result returns the Result of a case that has ended with f. An error of this machine
// does not count against the server or client.
func (f finding) result(name, title string, took time.Duration) Result {
	r := Result{Case: name, Title: title, Verdict: f.verdict, Why: f.why, Took: took}
	switch {
	case f.verdict == Skip:
		r.Err = f.err
	case f.verdict != Pass && isLocal(f.err):
		r.Verdict, r.Err = Skip, f.err
		r.Why = "this machine could not run it: " + f.why
	}
	return r
}

// timed runs a case, and returns its result with the time that it took.
func timed(name, title string, judge func() (f finding, output string)) Result {
	start := time.Now()
	f, output := judge()
	r := f.result(name, title, time.Since(start))
	r.Output = output
	return r
}

// isLocal reports whether err has its cause on this machine: it has no more descriptors,
// memory or ports.
func isLocal(err error) bool {
	return errno.Exhausted.Has(err) || errno.AddrInUse.Has(err) || errno.AddrNotAvail.Has(err)
}

// A stepError is an error and the step that failed. Its text is that of an ExchangeError
// without the address.
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

// places returns the numbers from low to high. If there are more than most, it returns
// most of them, evenly spread, with low and high among them.
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

func setDefault[T cmp.Ordered](setting *T, def T) {
	var zero T
	if *setting == zero {
		*setting = def
	}
}

package check_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/check"
)

var results = []check.Result{
	{Case: "whole", Title: "one exchange", Verdict: check.Pass, Why: "1 ms", Took: 1500 * time.Microsecond},
	{Case: "cut", Title: "at every # place", Verdict: check.Fail, Why: `cut after 3 octets: "socket closed" <0 bytes> into a 16-byte message, which is a rather long sentence`, Took: 12 * time.Second, Output: "one\ntwo\x1b[31m\n"},
	{Case: "silence", Title: "says nothing", Verdict: check.Warn, Why: "no deadline", Took: time.Second},
	{Case: "fin", Title: "leaves", Verdict: check.Skip, Why: "gone since\ncase cut", Took: 0},
}

func reported(t *testing.T, format string, color bool, results ...check.Result) string {
	t.Helper()
	var out bytes.Buffer
	r := check.NewReporter(format, &out, "127.0.0.1:1060", 4, color)
	for _, result := range results {
		if err := r.Add(result); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestText(t *testing.T) {
	want := `pass  whole         one exchange                                           1.5ms
FAIL  cut           at every # place                                         12s
      cut after 3 octets: "socket closed" <0 bytes> into a 16-byte message,
      which is a rather long sentence
      | one
      | two?[31m
warn  silence       says nothing                                              1s
      no deadline
skip  fin           leaves                                                     -
      gone since case cut

127.0.0.1:1060 does not survive: 4 cases: 1 passed, 1 failed, 1 with a warning, 1 skipped
`
	if diff := cmp.Diff(want, reported(t, "text", false, results...)); diff != "" {
		t.Error(diff)
	}
	if got := reported(t, "text", true, results...); !strings.Contains(got, "\x1b[1;31mFAIL\x1b[0m  cut") {
		t.Errorf("no color:\n%s", got)
	}
}

// The last line is a verdict only if there is one.
func TestSentence(t *testing.T) {
	pass, fail, warn, skip := results[0], results[1], results[2], results[3]
	unable := skip
	unable.Err = errors.New("too many open files")
	for want, of := range map[string][]check.Result{
		"X survives: 4 cases: 3 passed, 1 with a warning":                       {pass, pass, pass, warn},
		"X survives 3 of 4 cases: 2 passed, 1 with a warning, 1 skipped":        {pass, pass, skip, warn},
		"X does not survive: 4 cases: 2 passed, 1 failed, 1 skipped":            {pass, pass, fail, skip},
		"X does not survive: 4 cases: 2 passed, 1 failed, 1 skipped ":           {pass, pass, fail, unable},
		"X: stopped after 2 of 4 cases, no verdict: 1 passed, 1 with a warning": {pass, warn},
		"X: stopped after 2 of 4 cases, no verdict: 1 passed, 1 failed":         {pass, fail},
		"X: stopped after 0 of 4 cases, no verdict: 0 passed":                   nil,
		"X: no case was run, no verdict: 0 passed, 4 skipped":                   {skip, skip, skip, skip},
		"X: 1 of 4 cases could not be run, no verdict: 2 passed, 2 skipped":     {pass, unable, skip, pass},
		"X: 4 of 4 cases could not be run, no verdict: 0 passed, 4 skipped":     {unable, unable, unable, unable},
	} {
		got := reported(t, "text", false, of...)
		got = strings.ReplaceAll(got[strings.LastIndex(got, "\n\n")+1:], "127.0.0.1:1060", "X")
		if got = strings.TrimSpace(got); got != strings.TrimSpace(want) {
			t.Errorf("%s\nwant:\n%s", got, want)
		}
		ended := strings.Contains(reported(t, "json", false, of...), `{"schema":"bothends.check-end/v1","why":"`)
		if ended != strings.Contains(want, "no verdict") {
			t.Errorf("JSON has a last object: %v, with the sentence %q", ended, want)
		}
	}
	want := `{"schema":"bothends.check-end/v1","why":"stopped after 1 of 4 cases","completed":1,"cases":4}` + "\n"
	if got := reported(t, "json", false, pass); !strings.HasSuffix(got, want) {
		t.Errorf("%s\nwant at its end:\n%s", got, want)
	}
}

func TestJSON(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(reported(t, "json", false, results...), "\n"), "\n")
	want := `{"schema":"bothends.check/v1","case":"whole","title":"one exchange","verdict":"pass","why":"1 ms","seconds":0.0015}`
	if len(lines) != 4 || lines[0] != want {
		t.Errorf("%d lines, the first:\n%s\nwant:\n%s", len(lines), lines[0], want)
	}
	var second struct{ Verdict, Why, Output string }
	if err := json.Unmarshal([]byte(lines[1]), &second); err != nil || second.Verdict != "fail" || second.Why != results[1].Why || second.Output != "one\ntwo\x1b[31m\n" {
		t.Errorf("%+v, %v", second, err)
	}
}

// What is printed as JSON can be read back.
func TestResultRoundTrip(t *testing.T) {
	unable := check.Result{Case: "many", Title: "many", Verdict: check.Skip, Why: "no ports", Took: 123456789, Err: errors.New("no ports")}
	for _, want := range append(results, unable) {
		line := reported(t, "json", false, want)
		line = line[:strings.Index(line, "\n")]
		var got check.Result
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if (got.Err == nil) != (want.Err == nil) || got.Err != nil && got.Err.Error() != want.Err.Error() {
			t.Errorf("%s: Err is %v, want %v", line, got.Err, want.Err)
		}
		got.Err, want.Err = nil, nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
	for text, want := range map[string]string{
		`{"schema":"bothends.check/v2","verdict":"pass"}`: `the schema is "bothends.check/v2", expected "bothends.check/v1"`,
		`{"schema":"bothends.check/v1","verdict":"good"}`: `"good" is not a verdict: must be pass, fail, warn or skip`,
	} {
		if err := json.Unmarshal([]byte(text), new(check.Result)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestVerdictText(t *testing.T) {
	for _, want := range []check.Verdict{check.Pass, check.Fail, check.Warn, check.Skip} {
		text, err := want.MarshalText()
		if err != nil || string(text) != want.String() {
			t.Errorf("%q, %v", text, err)
		}
		got := check.Verdict(9)
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	got := check.Warn
	if err := got.UnmarshalText([]byte("PASS")); err == nil || got != check.Warn {
		t.Errorf("%v, %v", got, err)
	}
	if text, err := check.Verdict(9).MarshalText(); err == nil || check.Verdict(9).String() != "Verdict(9)" {
		t.Errorf("%q", text)
	}
}

func TestTAP(t *testing.T) {
	want := `TAP version 14
1..4
ok 1 - whole: one exchange
not ok 2 - cut: at every \# place
  ---
  verdict: fail
  why: "cut after 3 octets: \"socket closed\" \u003c0 bytes\u003e into a 16-byte message, which is a rather long sentence"
  duration_ms: 12000.000
  ...
ok 3 - silence: says nothing
  ---
  verdict: warn
  why: "no deadline"
  duration_ms: 1000.000
  ...
ok 4 - fin: leaves # SKIP gone since case cut
`
	if diff := cmp.Diff(want, reported(t, "tap", false, results...)); diff != "" {
		t.Error(diff)
	}
	if got := reported(t, "tap", false); got != "TAP version 14\n1..4\nBail out! stopped after 0 of 4 cases, no verdict\n" {
		t.Error(got)
	}
	if got := reported(t, "tap", false, results[0]); !strings.HasSuffix(got, "Bail out! stopped after 1 of 4 cases, no verdict\n") {
		t.Error(got)
	}
}

func TestJUnit(t *testing.T) {
	text := reported(t, "junit", false, results...)
	var suite struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
			Out string `xml:"system-out"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal([]byte(text), &suite); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if suite.Tests != 4 || suite.Failures != 1 || suite.Skipped != 1 || suite.Time != "13.002" || len(suite.Cases) != 4 ||
		suite.Cases[1].Failure.Message != results[1].Why || suite.Cases[2].Out != "warning: no deadline" {
		t.Errorf("%+v\n%s", suite, text)
	}
}

// A run that was stopped is not a success.
func TestJUnitStopped(t *testing.T) {
	text := reported(t, "junit", false, results[0])
	if !strings.Contains(text, `tests="2" failures="0" errors="1"`) || !strings.Contains(text, `<error message="stopped after 1 of 4 cases, no verdict"></error>`) {
		t.Error(text)
	}
}

// A case that this machine could not run is an error, and not skipped.
func TestJUnitUnable(t *testing.T) {
	unable := check.Result{Case: "many", Verdict: check.Skip, Why: "too many open files", Err: errors.New("too many open files")}
	text := reported(t, "junit", false, results[0], unable, results[0], results[0])
	if !strings.Contains(text, `tests="4" failures="0" errors="1" skipped="0"`) || !strings.Contains(text, `<error message="too many open files"></error>`) {
		t.Error(text)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestReporterErrors(t *testing.T) {
	for _, format := range []string{"text", "json", "tap"} {
		if err := check.NewReporter(format, broken{}, "", 1, false).Add(results[0]); err == nil {
			t.Errorf("%s does not report a failed write", format)
		}
	}
	if err := check.NewReporter("junit", broken{}, "", 1, false).End(); err == nil {
		t.Error("junit does not report a failed write")
	}
	if r := check.NewReporter("xml", broken{}, "", 1, false); r != nil {
		t.Errorf("a format that does not exist: %v", r)
	}
}

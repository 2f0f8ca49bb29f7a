package check

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// Schema is the name of the JSON schema of a Result. EndSchema is that of the last object
// if there is no verdict, because the run was stopped or cases could not be run.
const (
	Schema    = "bothends.check/v1"
	EndSchema = "bothends.check-end/v1"
)

// A Reporter writes results one by one. Call End once, after the last result. A verdict is
// written only if there are as many results as cases.
type Reporter interface {
	Add(Result) error
	End() error
}

// NewReporter returns a Reporter for the format "text", "json", "tap" or "junit", and nil
// for any other format. The suite is the name of the server or client. The number of
// results to expect is cases. Only text can have color.
func NewReporter(format string, w io.Writer, suite string, cases int, color bool) Reporter {
	switch format {
	case "text":
		return &text{w: w, suite: suite, cases: cases, color: color}
	case "json":
		return &jsonLines{w: w, cases: cases}
	case "tap":
		return &tap{w: w, cases: cases}
	case "junit":
		return &junit{w: w, suite: suite, cases: cases}
	}
	return nil
}

// text is a table with one line per case. If a case did not pass, the line is followed by
// what was seen.
type text struct {
	w     io.Writer
	suite string
	cases int
	color bool
	tally Tally
}

// The widths of a case's name and of its title. With the verdict and the time, a line has
// 80 columns.
const (
	nameWidth  = 13
	titleWidth = 50
)

func (t *text) Add(r Result) error {
	t.tally.Add(r)
	var b strings.Builder
	took := rounded(r.Took).String()
	if r.Verdict == Skip {
		took = "-"
	}
	fmt.Fprintf(&b, "%s  %-*s %-*s %9s\n", t.paint(r.Verdict), nameWidth, r.Case, titleWidth, r.Title, took)
	if r.Verdict != Pass {
		for _, line := range wrapped(r.Why, 80-6) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
		for line := range strings.Lines(r.Output) {
			fmt.Fprintf(&b, "      | %s\n", strings.Map(printable, strings.TrimRight(line, "\r\n")))
		}
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// printable replaces what could control the terminal in the output of a command.
func printable(r rune) rune {
	if r != '\t' && !unicode.IsPrint(r) {
		return '?'
	}
	return r
}

func (t *text) paint(v Verdict) string {
	word := v.String()
	if v == Fail {
		word = "FAIL" // visible without color too
	}
	if !t.color {
		return word
	}
	return "\x1b[" + [...]string{Pass: "32", Fail: "1;31", Warn: "33", Skip: "2"}[v] + "m" + word + "\x1b[0m"
}

func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

func (t *text) End() error {
	_, err := fmt.Fprintf(t.w, "\n%s\n", t.tally.sentence(t.suite, t.cases))
	return err
}

// jsonLines is one line per case, with one object. If there is no verdict, one more line
// contains the reason.
type jsonLines struct {
	w     io.Writer
	cases int
	tally Tally
}

func (j *jsonLines) Add(r Result) error {
	j.tally.Add(r)
	return j.encode(r)
}

func (j *jsonLines) End() error {
	why := j.tally.noVerdict(j.cases)
	if why == "" {
		return nil
	}
	return j.encode(struct {
		Schema    string `json:"schema"`
		Why       string `json:"why"`
		Completed int    `json:"completed"` // cases that have a result
		Cases     int    `json:"cases"`     // cases requested
	}{EndSchema, why, j.tally.Total(), j.cases})
}

func (j *jsonLines) encode(object any) error {
	e := json.NewEncoder(j.w)
	e.SetEscapeHTML(false)
	return e.Encode(object)
}

// tap is the Test Anything Protocol, version 14 (testanything.org).
type tap struct {
	w        io.Writer
	cases, n int
}

func (t *tap) Add(r Result) error {
	var b strings.Builder
	t.plan(&b)
	t.n++
	status, directive := "ok", ""
	switch r.Verdict {
	case Fail:
		status = "not ok"
	case Skip:
		directive = " # SKIP " + tapText(r.Why)
	}
	fmt.Fprintf(&b, "%s %d - %s: %s%s\n", status, t.n, r.Case, tapText(r.Title), directive)
	if r.Verdict == Fail || r.Verdict == Warn {
		why, _ := json.Marshal(r.Why) // a JSON string is a YAML string too
		fmt.Fprintf(&b, "  ---\n  verdict: %v\n  why: %s\n  duration_ms: %.3f\n  ...\n", r.Verdict, why, float64(r.Took)/1e6)
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// plan writes the first two lines, once.
func (t *tap) plan(w io.Writer) {
	if t.n == 0 {
		fmt.Fprintf(w, "TAP version 14\n1..%d\n", t.cases)
	}
}

// tapText returns s without directives, in one line.
func tapText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "#", `\#`, "\n", " ", "\r", " ").Replace(s)
}

// End reports that a run was stopped before all results were there.
func (t *tap) End() error {
	if t.n == t.cases {
		return nil
	}
	var b strings.Builder
	t.plan(&b)
	fmt.Fprintf(&b, "Bail out! stopped after %d of %s, no verdict\n", t.n, numbered(t.cases))
	_, err := io.WriteString(t.w, b.String())
	return err
}

// junit is the XML that CI systems read. It can only be written at the end.
type junit struct {
	w       io.Writer
	suite   string
	cases   int
	results []Result
}

func (j *junit) Add(r Result) error {
	j.results = append(j.results, r)
	return nil
}

type (
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Skipped *junitMessage `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
)

func (j *junit) End() error {
	s := junitSuite{Name: "bothends check " + j.suite, Tests: len(j.results)}
	var total time.Duration
	for _, r := range j.results {
		c := junitCase{Name: r.Case, Class: "bothends.check", Time: seconds(r.Took), Out: r.Output}
		switch r.Verdict {
		case Fail:
			s.Failures++
			c.Failure = &junitMessage{r.Why, r.Title + ": " + r.Why}
		case Skip:
			if r.Err != nil {
				s.Errors++
				c.Error = &junitMessage{r.Why, ""}
				break
			}
			s.Skipped++
			c.Skipped = &junitMessage{r.Why, ""}
		case Warn:
			c.Out = strings.TrimSpace("warning: " + r.Why + "\n" + r.Output)
		}
		s.Cases = append(s.Cases, c)
		total += r.Took
	}
	if n := len(j.results); n < j.cases {
		why := fmt.Sprintf("stopped after %d of %s, no verdict", n, numbered(j.cases))
		s.Tests, s.Errors = s.Tests+1, s.Errors+1
		s.Cases = append(s.Cases, junitCase{Name: "stopped", Class: "bothends.check", Time: "0", Error: &junitMessage{why, ""}})
	}
	s.Time = seconds(total)
	out, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(j.w, "%s%s\n", xml.Header, out)
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// Package explain contains the lessons. Each lesson uses real sockets on this machine
// and explains what happened. All numbers are measured in that run.
package explain

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bothends/bothends/transcript"
)

// A Lesson shows one thing that TCP does. Lessons and Find return lessons.
type Lesson struct {
	Name     string // argument of the command
	Title    string // one line
	Remember string // summary in a few sentences
	Function string // function or call in the book's program that the lesson is about

	run func(context.Context, Setting) ([]Step, error)
}

// Lessons returns all lessons, in the recommended order.
func Lessons() []Lesson {
	return []Lesson{exchange, connect, sockets, send, recv, sendall, eof, closing, deadlock}
}

// Find returns the lesson with that name.
func Find(name string) (Lesson, bool) {
	for _, l := range Lessons() {
		if l.Name == name {
			return l, true
		}
	}
	return Lesson{}, false
}

// A Setting contains the options of a lesson. The zero value is ready to use.
type Setting struct {
	// Port is the port of the server in lesson exchange. If it is in use, or 0, the
	// server listens on a free one.
	Port uint16
	// Dialer makes the connections of a lesson. Its Control is called before each
	// connect.
	Dialer net.Dialer
	// Ladder, if not nil, returns the ladder of lesson exchange, from captured segments.
	// If Ladder is nil or returns nil, the ladder shows the client's calls.
	Ladder func() *transcript.Ladder
	// ASCII draws the ladder without Unicode lines and arrows.
	ASCII bool
	// Width is the maximum number of columns of the ladder, 0 means no limit.
	Width int
}

// A Step is one line of a lesson.
type Step struct {
	At    time.Duration // since the start of the lesson
	End   string        // "client", "server" or "kernel"
	Line  string        // what that end printed or did
	Block string        // lines that are printed without folding: a table or a ladder
	Why   string        // explanation in a few sentences
	// Unlike is what the lesson expected, if the step had a different result on this
	// system. Otherwise it is empty.
	Unlike string
}

// Run runs the lesson and returns its steps in order. With an error, it returns the steps
// before the error.
func (l Lesson) Run(ctx context.Context, s Setting) ([]Step, error) { return l.run(ctx, s) }

// A Style contains the options of Print.
type Style struct {
	Color bool
	Width int // maximum number of columns, 0 means 80
	// Between, if not nil, is called before each step except the first. If it returns
	// an error, Print stops.
	Between func() error
}

// Print writes a lesson's steps: the time, the end, what it printed, and the
// explanation. If complete is true, it also writes the summary. The
// error is that of the writer or of style.Between.
func (l Lesson) Print(w io.Writer, steps []Step, complete bool, style Style) error {
	p := printer{width: style.Width, color: style.Color}
	if p.width == 0 {
		p.width = 80
	}
	p.wrap(0, "1", l.Title)
	p.line()
	for i, s := range steps {
		if i > 0 && style.Between != nil {
			if err := p.flush(w); err != nil {
				return err
			}
			if err := style.Between(); err != nil {
				return err
			}
		}
		p.step(s)
	}
	if complete {
		p.line()
		p.wrap(0, "1", "Remember: "+l.Remember)
		p.wrap(0, "", "In the chapter: "+l.Function+".")
	}
	return p.flush(w)
}

type printer struct {
	strings.Builder
	width int
	color bool
}

// flush writes the buffered output.
func (p *printer) flush(w io.Writer) error {
	_, err := io.WriteString(w, p.String())
	p.Reset()
	return err
}

// indent is the column in which the text and the table of a step start.
const indent = 18

// margin returns the column for the text of a step. If there are few columns, the text
// starts below the time.
func (p *printer) margin() int {
	if p.width < 60 {
		return 4
	}
	return indent
}

func (p *printer) step(s Step) {
	at, end := fmt.Sprintf("%7.3f ms ", float64(s.At)/1e6), fmt.Sprintf("%-6s", s.End)
	margin := strings.Repeat(" ", len(at+end))
	line := transcript.FoldLine(margin+" "+s.Line, p.width, p.margin())
	color := map[string]string{"client": "33", "server": "36", "kernel": "35"}[s.End]
	p.line(at, p.paint(color, end), strings.TrimPrefix(line, margin))
	for line := range strings.Lines(s.Block) {
		p.block(strings.TrimSuffix(line, "\n"))
	}
	p.wrap(p.margin(), "2", s.Why)
	if s.Unlike != "" {
		p.wrap(p.margin(), "31", "On this system it was different: normally "+s.Unlike+".")
	}
}

// block prints a line of a table or a ladder. If the line is too wide, block first
// removes its indentation.
func (p *printer) block(line string) {
	if utf8.RuneCountInString(line) > p.width {
		line = transcript.FoldLine(strings.Repeat(" ", p.margin())+strings.TrimLeft(line, " "), p.width, p.margin()+2)
	}
	p.line(line)
}

func (p *printer) line(parts ...string) { p.WriteString(strings.Join(parts, "") + "\n") }

// paint wraps s in an SGR sequence (ECMA-48, section 8.3.117).
func (p *printer) paint(sgr, s string) string {
	if !p.color || sgr == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// wrap prints a paragraph. It colors each line separately.
func (p *printer) wrap(indent int, sgr, text string) {
	if text == "" {
		return
	}
	margin := strings.Repeat(" ", indent)
	for line := range strings.SplitSeq(transcript.FoldLine(margin+text, p.width, indent), "\n") {
		p.line(margin, p.paint(sgr, strings.TrimPrefix(line, margin)))
	}
}

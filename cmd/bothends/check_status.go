package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/term"
)

// A caseStatus shows the running case and its time in one line of a terminal, which it
// redraws. If the output is not a terminal, it shows nothing.
type caseStatus struct {
	to    io.Writer // nil if it is not a terminal
	width int
	cases []string // "name: title"

	mu    sync.Mutex
	n     int // the case that is running
	start time.Time
	drawn bool

	stop    chan struct{}
	drawing sync.WaitGroup
}

// statusPause is the time between two drawings. A shorter case is not shown.
const statusPause = 100 * time.Millisecond

func newCaseStatus(to io.Writer, cases []string) *caseStatus {
	s := &caseStatus{cases: cases, width: 80}
	if file, _ := fileOf(to); controls(to) {
		s.to = to
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			s.width = width
		}
	}
	s.startDrawing()
	return s
}

func (s *caseStatus) startDrawing() {
	s.start, s.stop = time.Now(), make(chan struct{})
	if s.to != nil {
		s.drawing.Go(s.run)
	}
}

func (s *caseStatus) run() {
	tick := time.NewTicker(statusPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.draw()
		case <-s.stop:
			return
		}
	}
}

func (s *caseStatus) draw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if took := time.Since(s.start); s.n < len(s.cases) && took >= statusPause {
		fmt.Fprintf(s.to, "\r\x1b[K%s", s.line(took))
		s.drawn = true
	}
}

// line returns the text, which is narrower than the terminal.
func (s *caseStatus) line(took time.Duration) string {
	line := fmt.Sprintf("%.1fs %s", took.Seconds(), s.cases[s.n])
	return line[:max(0, min(len(line), s.width-1))]
}

// ended erases the line, calls print, and continues with the next case.
func (s *caseStatus) ended(print func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	err := print()
	s.n++
	s.start = time.Now()
	return err
}

func (s *caseStatus) erase() {
	if s.drawn {
		io.WriteString(s.to, "\r\x1b[K")
		s.drawn = false
	}
}

// close ends the drawing.
func (s *caseStatus) close() {
	close(s.stop)
	s.drawing.Wait()
	s.erase()
}

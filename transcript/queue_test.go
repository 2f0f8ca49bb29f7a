package transcript_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/transcript"
)

// A slowReader is a writer that blocks while its reader does not read.
type slowReader struct {
	reads chan struct{} // closed to continue reading
	fails error

	mu  sync.Mutex
	got strings.Builder
}

func (r *slowReader) Write(p []byte) (int, error) {
	<-r.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails != nil {
		return 0, r.fails
	}
	return r.got.Write(p)
}

func TestQueueNeverBlocksAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowReader{reads: make(chan struct{})}
		var reports []string
		q := transcript.NewQueue(r, 40, func(lines int, err error) { reports = append(reports, fmt.Sprint(lines, err)) })
		for i := range 10 { // 10 octets each, of which 4 lines fit into the queue
			if n, err := fmt.Fprintf(q, "line %04d\n", i); n != 10 || err != nil {
				t.Fatalf("write %d: %d, %v", i, n, err)
			}
		}
		synctest.Wait()
		close(r.reads)
		synctest.Wait()
		fmt.Fprint(q, "afterwards\n")
		if lost := q.Close(t.Context()); lost != 0 {
			t.Errorf("%d lines lost after the report", lost)
		}
		if want := "line 0000\nline 0001\nline 0002\nline 0003\nafterwards\n"; r.got.String() != want {
			t.Errorf("got:\n%s", r.got.String())
		}
		if len(reports) != 1 || reports[0] != "6 <nil>" {
			t.Errorf("reports: %q", reports)
		}
		fmt.Fprint(q, "too late\n")
		if lost := q.Close(t.Context()); lost != 1 {
			t.Errorf("%d lines after the end", lost)
		}
	})
}

func TestQueueOfNothing(t *testing.T) {
	r := &slowReader{reads: make(chan struct{})}
	close(r.reads)
	q := transcript.NewQueue(r, 10, func(int, error) {})
	q.Write(nil)
	fmt.Fprint(q, "one\n")
	if lost := q.Close(t.Context()); lost != 0 || r.got.String() != "one\n" {
		t.Errorf("%d lost, got %q", lost, r.got.String())
	}
}

// A full disk accepts an incomplete line. The next complete line starts on a new line.
func TestQueueAfterHalfALine(t *testing.T) {
	var got strings.Builder
	full := errors.New("no space left")
	lost := 0
	room, failures := 3, 2
	q := transcript.NewQueue(writerFunc(func(p []byte) (int, error) {
		n := min(room, len(p))
		room -= n
		got.Write(p[:n])
		if n < len(p) {
			if failures--; failures == 0 {
				room = 100 // the disk has room again
			}
			return n, full
		}
		return n, nil
	}), 100, func(n int, _ error) { lost += n })
	fmt.Fprint(q, "lost half way\n")
	fmt.Fprint(q, "lost too\n")
	fmt.Fprint(q, "whole\n")
	q.Close(t.Context())
	if lost != 2 {
		t.Errorf("%d lines reported, and two were lost", lost)
	}
	if got.String() != "los\nwhole\n" {
		t.Errorf("%q", got.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestQueueCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowReader{reads: make(chan struct{})}
		q := transcript.NewQueue(r, 25, func(int, error) {})
		for range 5 {
			fmt.Fprint(q, "ten octets\n")
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if lost := q.Close(ctx); lost != 5 || time.Since(start) != time.Second {
			t.Errorf("%d lines lost after %v", lost, time.Since(start))
		}
		close(r.reads)
	})
}

func TestQueueLongLineWaitsAlone(t *testing.T) {
	r := &slowReader{reads: make(chan struct{})}
	q := transcript.NewQueue(r, 10, func(int, error) {})
	long := strings.Repeat("x", 1000) + "\n"
	fmt.Fprint(q, long)
	fmt.Fprint(q, "lost\n")
	close(r.reads)
	q.Close(t.Context())
	if r.got.String() != long {
		t.Errorf("%d octets", r.got.Len())
	}
}

// If the writer fails, the line is lost, and the next line is written.
func TestQueueOfAWriterThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left")
		r := &slowReader{reads: make(chan struct{}), fails: full}
		close(r.reads)
		var reports []string
		q := transcript.NewQueue(r, 100, func(lines int, err error) { reports = append(reports, fmt.Sprint(lines, err)) })
		for range 3 {
			fmt.Fprint(q, "lost\n")
			synctest.Wait()
		}
		r.mu.Lock()
		r.fails = nil
		r.mu.Unlock()
		fmt.Fprint(q, "printed\n")
		synctest.Wait()
		if want := "[0no space left 3<nil>]"; fmt.Sprint(reports) != want && fmt.Sprint(reports) != "[0 no space left 3 <nil>]" {
			t.Errorf("reports %q", reports)
		}
		if lost := q.Close(t.Context()); lost != 0 || r.got.String() != "printed\n" {
			t.Errorf("lost %d, got %q", lost, r.got.String())
		}
	})
}

// Without a report function, lost lines are not reported.
func TestQueueWithoutReport(t *testing.T) {
	r := &slowReader{reads: make(chan struct{}), fails: errors.New("no reader")}
	q := transcript.NewQueue(r, 10, nil)
	fmt.Fprintln(q, "a line that fails")
	fmt.Fprintln(q, "a line that is dropped")
	close(r.reads)
	if lost := q.Close(t.Context()); lost != 2 {
		t.Errorf("%d lines lost", lost)
	}
	works := &slowReader{reads: r.reads}
	q = transcript.NewQueue(works, 0, nil)
	fmt.Fprintln(q, "a line")
	if lost := q.Close(t.Context()); lost != 0 || works.got.String() != "a line\n" {
		t.Errorf("%d lines lost, %q", lost, works.got.String())
	}
}

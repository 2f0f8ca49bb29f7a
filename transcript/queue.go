package transcript

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// A Queue is an io.Writer whose Write does not wait for the underlying writer. A goroutine
// writes the lines. NewQueue creates a Queue. If its octets would exceed the limit, a line
// is dropped and counted, so that a reader that has stopped
// reading does not block the writers.
type Queue struct {
	w      io.Writer
	limit  int
	report func(lines int, err error)

	mu      sync.Mutex
	lines   [][]byte
	size    int  // octets in lines
	lost    int  // lines dropped and not yet reported
	failing bool // the last write failed
	broken  bool // an incomplete line was written; used only by the goroutine
	closed  bool
	wake    chan struct{} // signals that there is work
	emptied chan struct{} // closed when the goroutine has ended
}

// NewQueue returns a Queue that writes to w and holds at most limit octets. A longer line
// is accepted only if the Queue is empty. The goroutine calls report, unless it is nil:
// with the number of lost lines after the next line was written, and with the first error
// of w after a successful write. A line that w does not write is lost.
func NewQueue(w io.Writer, limit int, report func(lines int, err error)) *Queue {
	if report == nil {
		report = func(int, error) {}
	}
	q := &Queue{w: w, limit: limit, report: report, wake: make(chan struct{}, 1), emptied: make(chan struct{})}
	go q.run()
	return q
}

// Write adds a copy of p, one or more complete lines, to the queue, or drops all of it. It
// always succeeds.
func (q *Queue) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.size > 0 && q.size+len(p) > q.limit {
		q.lost += bytes.Count(p, []byte{'\n'})
		return len(p), nil
	}
	q.lines = append(q.lines, bytes.Clone(p))
	q.size += len(p)
	q.signal()
	return len(p), nil
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Close waits until all lines are written or ctx ends. The Queue accepts no further lines.
// Close returns the number of lines that were lost and not reported. This includes lines
// that are still in the queue.
func (q *Queue) Close(ctx context.Context) (lost int) {
	q.mu.Lock()
	q.closed = true
	q.signal()
	q.mu.Unlock()
	select {
	case <-q.emptied:
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lost = q.lost
	for _, l := range q.lines {
		lost += bytes.Count(l, []byte{'\n'})
	}
	return lost
}

func (q *Queue) run() {
	defer close(q.emptied)
	for {
		line, more := q.next()
		if line == nil && !more {
			return
		}
		if line == nil {
			<-q.wake
			continue
		}
		if q.broken {
			line = append([]byte{'\n'}, line...) // ends the incomplete line
		}
		n, err := q.w.Write(line)
		q.broken = err != nil && (q.broken || n > 0)
		if lost, news := q.written(err); news {
			q.report(lost, err)
		}
	}
}

// next returns the first line. It counts for the limit until it is written.
func (q *Queue) next() (line []byte, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		return nil, !q.closed
	}
	return q.lines[0], true
}

// written removes the first line and returns what to report.
func (q *Queue) written(err error) (lost int, news bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	line := q.lines[0]
	q.lines = q.lines[1:]
	q.size -= len(line)
	if err != nil {
		q.lost += bytes.Count(line, []byte{'\n'})
		news = !q.failing
		q.failing = true
		return 0, news
	}
	lost, q.lost, q.failing = q.lost, 0, false
	return lost, lost > 0
}

package transcript

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// A Queue is an io.Writer whose Write never waits for the one behind it: a
// goroutine of its own hands the lines on. NewQueue makes one. When more than its limit of octets
// would wait, a line is dropped and counted, so that a reader that has stopped
// reading stops nobody else.
type Queue struct {
	w      io.Writer
	limit  int
	report func(lines int, err error)

	mu      sync.Mutex
	lines   [][]byte
	size    int  // octets in lines
	lost    int  // lines dropped and not yet reported
	failing bool // the last write failed
	broken  bool // the writer stands behind half a line; the goroutine's own
	closed  bool
	wake    chan struct{} // there is something to do
	emptied chan struct{} // closed when the goroutine has ended
}

// NewQueue returns a Queue that writes to w and lets limit octets wait. A longer line
// waits only alone. The writing goroutine calls report, unless it is nil: with the
// number of lost lines when the next line was written, and with the error when w
// fails, once until it works again. A line that w does not take is lost.
func NewQueue(w io.Writer, limit int, report func(lines int, err error)) *Queue {
	if report == nil {
		report = func(int, error) {}
	}
	q := &Queue{w: w, limit: limit, report: report, wake: make(chan struct{}, 1), emptied: make(chan struct{})}
	go q.run()
	return q
}

// Write queues a copy of p, one or more whole lines, or drops all of it. It always
// succeeds.
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

// Close takes no more lines, and waits until those that it has are written or ctx
// ends. It returns how many lines were dropped and have not been reported, those
// left behind included.
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
			line = append([]byte{'\n'}, line...) // behind the half of a line that was lost
		}
		n, err := q.w.Write(line)
		q.broken = err != nil && (q.broken || n > 0)
		if lost, news := q.written(err); news {
			q.report(lost, err)
		}
	}
}

// next returns the first line, which stays counted until it is written.
func (q *Queue) next() (line []byte, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		return nil, !q.closed
	}
	return q.lines[0], true
}

// written takes the first line off, and tells whether there is something to report.
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

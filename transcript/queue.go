package transcript

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// A Queue is an io.Writer whose Write never waits for the one behind it: a
// goroutine of its own hands the lines on. When more than its limit of octets
// would wait, a line is dropped and counted, so that a reader that has stopped
// reading stops nobody else.
type Queue struct {
	w      io.Writer
	limit  int
	report func(lines int, err error)

	mu      sync.Mutex
	lines   [][]byte
	size    int // octets in lines
	lost    int // lines dropped and not yet reported
	err     error
	closed  bool
	wake    chan struct{} // there is something to do
	emptied chan struct{} // closed when the goroutine has ended
}

// NewQueue returns a Queue that writes to w and lets limit octets wait. A line
// longer than that waits only alone. The writing goroutine calls report after
// lines were dropped and the next one got through, and once when w fails, after
// which every line is dropped.
func NewQueue(w io.Writer, limit int, report func(lines int, err error)) *Queue {
	q := &Queue{w: w, limit: limit, report: report, wake: make(chan struct{}, 1), emptied: make(chan struct{})}
	go q.run()
	return q
}

// Write queues a copy of p, one or more whole lines, or drops all of it. It always
// succeeds.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.err != nil || q.size > 0 && q.size+len(p) > q.limit {
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
	for _, l := range q.lines {
		q.lost += bytes.Count(l, []byte{'\n'})
	}
	return q.lost
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
		_, err := q.w.Write(line)
		if lost := q.written(len(line), err); err != nil || lost > 0 {
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

func (q *Queue) written(n int, err error) (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil {
		for _, l := range q.lines {
			q.lost += bytes.Count(l, []byte{'\n'})
		}
		q.err, q.lines, q.size = err, nil, 0
		return 0 // the count comes at the end
	}
	q.lines = q.lines[1:]
	q.size -= n
	lost, q.lost = q.lost, 0
	return lost
}

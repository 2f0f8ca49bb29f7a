package load

import "sync"

// A queue passes Intervals from the run to the consumer of Run. It has no limit: a
// consumer that pauses delays neither the run nor the end of an Interval.
type queue struct {
	mu     sync.Mutex
	more   sync.Cond // of mu
	list   []*Interval
	closed bool
}

func newQueue() *queue {
	q := new(queue)
	q.more.L = &q.mu
	return q
}

func (q *queue) put(i *Interval) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, i)
	q.more.Signal()
}

// close makes get return false after the last Interval.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Signal()
}

// get waits for the next Interval, and reports whether there is one.
func (q *queue) get() (*Interval, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 {
		if q.closed {
			return nil, false
		}
		q.more.Wait()
	}
	i := q.list[0]
	q.list[0], q.list = nil, q.list[1:]
	return i, true
}

// all yields the Intervals, until the queue is closed.
func (q *queue) all(yield func(*Interval) bool) {
	for {
		if i, ok := q.get(); !ok || !yield(i) {
			return
		}
	}
}

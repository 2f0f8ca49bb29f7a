package load

import (
	"sync"
	"time"
)

// An openLoop hands out the operations of a schedule. One of the free workers, the leader,
// waits until the next operation is due. It takes the operation, and another free worker
// becomes the leader. So the worker that wakes up is the one that makes the operation, and
// in a backlog a worker goes from one operation to the next without waiting for another
// goroutine.
type openLoop struct {
	lead chan struct{} // holds one token, which the leader has

	mu     sync.Mutex // of all that follows
	next   schedule   // only the leader moves it
	lag    lagMeter
	last   time.Duration // the start of the last operation
	queued int64         // since the last Interval
	unsent int64         // since the last Interval
	done   bool          // the schedule is over, or was given up
	gaveUp bool
}

func newOpenLoop(r *Runner, workers int) *openLoop {
	o := &openLoop{lead: make(chan struct{}, 1), next: newSchedule(r), lag: lagMeter{workers: workers}}
	o.lead <- struct{}{}
	return o
}

// A job is an operation of a schedule. Its times count from the start of the run.
type job struct{ due, start, lag time.Duration }

// take waits for the next operation, and reports whether there is one.
func (o *openLoop) take(x *run) (j job, ok bool) {
	<-o.lead
	j, ok = o.await(x)
	o.lead <- struct{}{}
	now := x.now() // to wake the next leader takes a moment
	j.start, j.lag = now, j.lag+now-j.start
	return j, ok
}

// await is take for the leader.
func (o *openLoop) await(x *run) (j job, ok bool) {
	if o.done {
		return job{}, false
	}
	over := o.next.over()
	if over {
		x.sleep(o.next.length())
	} else {
		x.sleep(o.next.due)
	}
	now := x.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case over:
		o.done = true
	case x.ctx.Err() != nil || x.Duration > 0 && now >= x.Duration+x.patience():
		o.done, o.gaveUp = true, true
		o.unsent += o.next.skip(now)
	default:
		return o.start(now), true
	}
	return job{}, false
}

// start takes the next operation from the schedule.
func (o *openLoop) start(now time.Duration) job {
	due, counts := o.next.due, o.next.counts()
	lag, queued := o.lag.started(due, now)
	if queued && counts {
		o.queued++
	}
	o.next.advance()
	o.last = now
	return job{due, now, lag}
}

// ended notes that a worker is free again.
func (o *openLoop) ended(now time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lag.ended(now)
}

// A snapshot is an openLoop at the end of an Interval.
type snapshot struct {
	queued, unsent int64 // since the last one
	next           schedule
	gaveUp         bool
	sent           time.Duration // when the schedule ends, and all of it has started; 0 for not yet
}

func (o *openLoop) snapshot() snapshot {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := snapshot{queued: o.queued, unsent: o.unsent, next: o.next, gaveUp: o.gaveUp}
	if !o.gaveUp && o.next.over() {
		s.sent = max(1, o.next.length(), o.last)
	}
	o.queued, o.unsent = 0, 0
	return s
}

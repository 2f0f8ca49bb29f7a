package load

import (
	"context"
	"time"
)

// A Result is how one operation ended.
type Result struct {
	// Err is the operation's error. Runner.Outcome names it.
	Err error
	// End is when the operation ended. If zero, it is when Do returned. What Do does after
	// End, such as closing a connection, is not part of the operation's time.
	End time.Time
	// Phases are the parts of the operation, in any order. A Recorder copies them, so the
	// next operation may use the slice again.
	Phases []Phase
}

// A Phase is a part of an operation, such as "connect", and how long it took.
type Phase struct {
	Name string
	Took time.Duration
}

// An Op is the operation of one worker, with what the worker keeps from one call to the
// next. Its functions are called one at a time.
type Op struct {
	// Do makes one operation. It returns early when its context ends.
	Do func(context.Context) Result
	// Counted, if not nil, is called with the result of each operation that is counted,
	// before the next call of Do. Operations of the warm-up are not counted.
	Counted func(Result)
	// Close, if not nil, is called when the worker ends.
	Close func()
}

func (o *Op) close() {
	if o.Close != nil {
		o.Close()
	}
}

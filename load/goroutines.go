package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// goroutines is the Engine of a Runner that has none: one goroutine for each worker.
//
// In an open loop, one of the free workers, the leader, waits until the next operation is
// due. It takes the operation, and another free worker becomes the leader. So the worker
// that wakes up is the one that makes the operation, and in a backlog a worker goes from
// one operation to the next without waiting for another goroutine.
type goroutines struct {
	*Runner
	lead    chan struct{} // holds one token, which the leader has
	sleeper sleeper       // of the leader
}

func newGoroutines(r *Runner) *goroutines {
	g := &goroutines{Runner: r, lead: make(chan struct{}, 1)}
	g.lead <- struct{}{}
	return g
}

func (g *goroutines) Name() string { return "go" }

func (g *goroutines) Run(ctx context.Context, s *Schedule, r *Recorder) error {
	defer g.sleeper.close()
	stopped := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var ready, workers sync.WaitGroup
	defer workers.Wait()
	start, started := make(chan struct{}), false // started is set before start is closed
	ready.Add(s.Workers())
	for n := range s.Workers() {
		workers.Go(func() {
			op, err := g.op(ctx, n)
			if err != nil {
				cancel(fmt.Errorf("start worker %d: %w", n, err))
			} else {
				defer op.close()
			}
			ready.Done()
			if <-start; started {
				g.work(ctx, n, &op, s, r.Log())
			}
		})
	}
	ready.Wait()
	if err := context.Cause(ctx); err != nil {
		close(start)
		if stopped.Err() != nil {
			return nil
		}
		return err
	}
	s.Start()
	started = true
	close(start)
	return nil
}

// op returns the operation of a worker.
func (g *goroutines) op(ctx context.Context, worker int) (Op, error) {
	if g.Runner.Start != nil {
		return g.Runner.Start(ctx, worker)
	}
	return Op{Do: func(ctx context.Context) Result { return Result{Err: g.Do(ctx)} }}, nil
}

// work makes the operations of a worker.
func (g *goroutines) work(ctx context.Context, n int, op *Op, s *Schedule, log *Log) {
	if g.Pacer != nil {
		for {
			j, ok := g.await(ctx, s)
			if !ok {
				return
			}
			g.make(ctx, op, j, s, log)
		}
	}
	sleepFor(ctx, g.Ramp*time.Duration(n)/time.Duration(s.Workers())-s.now())
	for wait, pause := time.Duration(0), time.Duration(0); ; sleepFor(ctx, wait) {
		j, ok := s.Take()
		if !ok {
			return
		}
		wait, pause = s.BackOff(g.make(ctx, op, j, s, log), pause)
	}
}

// make makes one operation and records it.
func (g *goroutines) make(ctx context.Context, op *Op, j Job, s *Schedule, log *Log) error {
	result := op.Do(ctx)
	if log.Add(j, result) && op.Counted != nil {
		op.Counted(result)
	}
	s.Done()
	return result.Err
}

// await waits for the next operation of an open loop, and reports whether there is one.
func (g *goroutines) await(ctx context.Context, s *Schedule) (j Job, ok bool) {
	<-g.lead
	at, more := s.Next()
	g.sleep(ctx, at)
	if more {
		j, ok = s.Take()
	}
	g.lead <- struct{}{}
	return s.delayed(j), ok // to wake the next leader takes a moment
}

func (g *goroutines) sleep(ctx context.Context, until time.Time) {
	switch {
	case !time.Now().Before(until):
	case g.Sleep != nil:
		g.Sleep(ctx, until)
	default:
		g.sleeper.sleep(ctx, until)
	}
}

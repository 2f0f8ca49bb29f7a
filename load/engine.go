package load

import "context"

// An Engine makes the operations of a run. It takes them from a Schedule, and adds their
// results to a Recorder. It decides how operations are made: by a goroutine for each
// worker, as a Runner without an Engine does, or thousands of them by one goroutine.
//
// An engine does this:
//
//	prepare what the operations need, then call s.Start
//	for each of s.Workers(), concurrently or in turn:
//		wait for the time that s.Next returns; end if there is no other operation
//		job, ok := s.Take(); end if !ok
//		make the operation
//		log.Add(job, result), to a Log of the goroutine
//		s.Done()
type Engine interface {
	// Name is the engine's name in the Record.
	Name() string
	// Run makes operations until the Schedule has no more. When ctx ends, it cancels those
	// under way. It returns when all have ended. An error means that it could not start;
	// the run then has no Interval.
	Run(ctx context.Context, s *Schedule, r *Recorder) error
}

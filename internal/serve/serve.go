// Package serve accepts connections for a server, limits their number, and drains them.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bothends/bothends/internal/errno"
)

// ErrStopped is returned by Serve after Stop.
var ErrStopped = errors.New("stopped")

// A Loop accepts connections from any number of listeners, until it is stopped. It cannot
// be used again after that. Its fields must not be changed after the first call of a
// method.
type Loop struct {
	// Handle serves a connection, in the connection's goroutine, and closes it.
	Handle func(net.Conn)
	// Limit is the maximum number of concurrent calls of Handle, over all listeners.
	// Further connections wait in the listener's queue; with several listeners, each
	// may also hold one accepted connection. If 0, there is no limit.
	Limit int
	// Log receives temporary accept errors, and once that Limit is reached. If nil,
	// slog.Default is used.
	Log *slog.Logger

	once      sync.Once
	slots     chan struct{} // nil without a limit
	full      sync.Once     // the limit has been reached
	stopping  chan struct{} // closed by Stop
	idle      chan struct{} // closed when stopping and no Serve is left
	mu        sync.Mutex
	listeners map[*net.Listener]struct{} // by pointer: a net.Listener need not be comparable
	serving   int                        // calls of Serve that have not returned
}

func (l *Loop) init() {
	l.once.Do(func() {
		if l.Limit > 0 {
			l.slots = make(chan struct{}, l.Limit)
		}
		l.stopping, l.idle = make(chan struct{}), make(chan struct{})
		l.listeners = make(map[*net.Listener]struct{})
	})
}

// Serve accepts connections from ln until Stop, or an error that is not temporary. It
// closes ln, and returns when Handle has returned for each of its connections:
// ErrStopped, or the error of ln.
//
// After a temporary accept error, such as EMFILE, Serve pauses for 5 ms to 1 s and tries
// again. It logs the first error, and then at most one every 10 s, with the number of
// failures since the one before.
func (l *Loop) Serve(ln net.Listener) error {
	defer ln.Close()
	if !l.enter(&ln) {
		return ErrStopped
	}
	defer l.leave(&ln)
	var conns sync.WaitGroup
	defer conns.Wait()

	failures := failures{log: l.log()}
	defer failures.report()
	for {
		// Wait for room first, but take the slot only for a connection: a listener
		// without clients takes none from the others.
		if l.takeSlot() {
			l.freeSlot()
		}
		conn, err := ln.Accept()
		switch {
		case err == nil:
			failures.pause = 0
			taken := l.takeSlot()
			conns.Go(func() {
				if taken {
					defer l.freeSlot() // deferred: Handle may end its goroutine
				}
				l.Handle(conn)
			})
		case l.IsStopping():
			return ErrStopped
		case !temporary(err):
			return err
		default:
			failures.add(err)
			failures.wait(l.stopping)
		}
	}
}

// Stop stops accepting, and closes the listeners. It does not wait. The channel is
// closed when every Serve has returned.
func (l *Loop) Stop() (idle <-chan struct{}) {
	l.init()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.IsStopping() {
		return l.idle
	}
	close(l.stopping)
	for ln := range l.listeners {
		(*ln).Close()
	}
	if l.serving == 0 {
		close(l.idle)
	}
	return l.idle
}

// IsStopping reports whether Stop has been called.
func (l *Loop) IsStopping() bool {
	l.init()
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

// Await waits for a channel, such as that of Stop, or for the end of ctx, whose error it
// returns then. If both have happened, it returns nil.
func Await(ctx context.Context, idle <-chan struct{}) error {
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-idle:
		return nil
	default:
		return ctx.Err()
	}
}

func (l *Loop) enter(ln *net.Listener) bool {
	l.init()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.IsStopping() {
		return false
	}
	l.listeners[ln] = struct{}{}
	l.serving++
	return true
}

func (l *Loop) leave(ln *net.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listeners, ln)
	if l.serving--; l.serving == 0 && l.IsStopping() {
		close(l.idle)
	}
}

// takeSlot waits for room under the limit. It returns without a slot if there is no
// limit, and if the loop is stopping: then no further connections come.
func (l *Loop) takeSlot() bool {
	if l.slots == nil {
		return false
	}
	select {
	case l.slots <- struct{}{}:
		return true
	default:
	}
	l.full.Do(func() {
		l.log().Warn("connection limit reached, further connections wait", "limit", cap(l.slots))
	})
	select {
	case l.slots <- struct{}{}:
		return true
	case <-l.stopping:
		return false
	}
}

func (l *Loop) freeSlot() { <-l.slots }

func (l *Loop) log() *slog.Logger {
	if l.Log != nil {
		return l.Log
	}
	return slog.Default()
}

// temporary reports whether a listener can still be used after Accept returned err.
func temporary(err error) bool {
	var ne net.Error
	return errno.Passing.Has(err) || errors.As(err, &ne) && ne.Timeout()
}

// logInterval is the minimum time between two log records of accept errors.
const logInterval = 10 * time.Second

// failures are the temporary accept errors of a listener: they are counted, and each is
// followed by a pause.
type failures struct {
	log    *slog.Logger
	last   error
	count  int       // since the last record
	logged time.Time // when that was
	pause  time.Duration
}

func (f *failures) add(err error) {
	f.last = err
	f.count++
	if time.Since(f.logged) >= logInterval {
		f.report()
	}
}

// report logs the failures since the last record, if there are any.
func (f *failures) report() {
	if f.count == 0 {
		return
	}
	f.log.Warn("accept failed", "err", f.last, "failures", f.count)
	f.count, f.logged = 0, time.Now()
}

// wait pauses, each time twice as long, from 5 ms to 1 s, until stop is closed.
func (f *failures) wait(stop <-chan struct{}) {
	f.pause = min(max(2*f.pause, 5*time.Millisecond), time.Second)
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}

package exchange

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/tcpinfo"
	"github.com/bothends/bothends/load"
)

// A worker makes one exchange after another, on a connection that it keeps for as many as
// it may have.
type worker struct {
	*Exchanges
	most   int            // exchanges on a connection; negative for no limit
	kept   *bothends.Conn // nil for none
	made   int            // exchanges on it
	trace  *bothends.Trace
	timing bothends.Timing
	ctx    context.Context // of the worker
	traced context.Context // the same with trace

	// The last exchange:
	whole  time.Time     // when its reply was whole; zero for not
	struck []fault.Fault // those that struck its connection
	phases []load.Phase
	used   int // the exchanges on its connection before it, if the server had closed that

	info      tcpinfo.Info // of the connection that was closed last
	infoGood  bool         // its last exchange succeeded
	infoKnown bool         // there is one that is not added yet
	counts    bool         // an exchange has been counted: the warm-up is over
}

// exchange is the Do of a load.Op.
func (w *worker) exchange(ctx context.Context) load.Result {
	if w.ctx != ctx {
		w.ctx, w.traced = ctx, bothends.WithTrace(ctx, w.trace)
	}
	w.whole, w.struck, w.used, w.infoKnown = time.Time{}, nil, 0, false
	before := 0
	if w.kept != nil {
		before = w.made
	}
	err := w.attempt()
	w.phases = w.phases[:0]
	for name, spent := range w.timing.Phases() {
		if name != "close" { // it is not part of the exchange's time
			w.phases = append(w.phases, load.Phase{Name: name, Took: spent})
		}
	}
	if w.kept != nil {
		w.struck = fault.Struck(w.kept.NetConn())
		if err != nil || w.made == w.most {
			w.drop()
		}
	}
	switch {
	case len(w.struck) > 0 && (err == nil || byFault(w.struck, err)):
		err = &disturbed{err}
	case err != nil && closedEarly(err):
		w.used = before
	}
	return load.Result{Err: err, End: w.whole, Phases: w.phases}
}

// attempt makes an exchange, on the connection that is kept or on a new one. A connection
// for one exchange is not kept.
func (w *worker) attempt() error {
	if w.kept != nil {
		w.made++
		_, err := w.kept.Exchange(w.ctx, w.Request)
		return err
	}
	w.timing.Reset()
	if w.most == 1 {
		_, err := w.Client.Exchange(w.traced, w.Addr, w.Request)
		return err
	}
	ctx := w.traced
	if w.Client.Timeout >= 0 { // for both steps together
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.timeout())
		defer cancel()
	}
	conn, err := w.Client.Connect(ctx, w.Addr)
	if err != nil {
		return err
	}
	w.kept, w.made = conn, 1
	_, err = conn.Exchange(ctx, w.Request)
	return err
}

func (w *worker) timeout() time.Duration {
	if w.Client.Timeout > 0 {
		return w.Client.Timeout
	}
	return bothends.DefaultTimeout
}

// closedEarly reports whether the server closed the connection before an octet of the
// reply.
func closedEarly(err error) bool {
	outcome := bothends.Classify(err)
	var short *bothends.ShortError
	started := errors.As(err, &short) && short.Op == "read" && short.Done > 0
	return (outcome == bothends.Closed || outcome == bothends.Reset) && !started
}

// exchanged is a hook of the Trace.
func (w *worker) exchanged(bothends.Exchange) { w.whole = time.Now() }

// closing is a hook of the Trace. It asks the kernel about the connection.
func (w *worker) closing(conn net.Conn) {
	w.struck = fault.Struck(conn)
	info, err := tcpinfo.Read(conn)
	w.info, w.infoGood, w.infoKnown = info, !w.whole.IsZero() && len(w.struck) == 0, err == nil
}

// counted adds the last exchange to the Stats.
func (w *worker) counted(r load.Result) {
	w.counts = true
	if r.Err != nil && !isDisturbed(r.Err) {
		w.failed(r.Err, w.used)
	}
	w.addInfo()
}

func (w *worker) addInfo() {
	if w.infoKnown {
		w.closed(w.info, w.infoGood)
		w.infoKnown = false
	}
}

// drop closes the connection that is kept.
func (w *worker) drop() {
	if w.kept != nil {
		w.kept.Close()
		w.kept = nil
	}
}

// end is the Close of a load.Op.
func (w *worker) end() {
	w.infoKnown = false
	if w.drop(); w.counts {
		w.addInfo()
	}
}

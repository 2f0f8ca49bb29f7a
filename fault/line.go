package fault

import (
	"net"
	"sync"
	"time"
)

const (
	// lineSize limits the octets that a delay holds. A Write of more waits for room.
	lineSize = 4 << 20

	// closeTime is the time limit for a peer to read, for each write after Close.
	closeTime = time.Minute

	// parcelCost is added to the length of each parcel, for its memory.
	parcelCost = 64
)

// A line is a Delay or SlowClose on one connection. What is put in comes out later, in
// order. It has a goroutine while there is something in it.
type line struct {
	*effect

	mu      sync.Mutex
	parcels []parcel // the first may be on its way out
	size    int
	changed chan struct{} // closed and replaced when parcels leave
	closed  bool          // nothing is accepted after a closing parcel
	err     error         // nothing is accepted or sent after an error
	freed   bool          // nothing is accepted, and what is held is sent at once
}

// A parcel is what one call of the program put into a line.
type parcel struct {
	due    time.Time
	kind   parcelKind
	octets []byte
}

type parcelKind uint8

const (
	octetsParcel parcelKind = iota
	markParcel              // has no effect, but is waited for
	finParcel               // CloseWrite
	closeParcel             // Close
)

func newLine(s *effect) *line { return &line{effect: s, changed: make(chan struct{})} }

// write puts p into the line, and waits for room.
func (l *line) write(p []byte) (done int, err error) {
	expired := l.conn.wait
	if l.detached {
		expired = l.conn.waitDetached
	}
	if err := expired(time.Now(), nil, nil); err != nil {
		return 0, err
	}
	if l.Kind == KindDelay {
		l.struck.Store(true)
	}
	for {
		n, changed, err := l.put(octetsParcel, p[done:])
		if done += n; err != nil || done == len(p) && changed == nil {
			return done, err
		}
		if err := l.hold(time.Time{}, changed); err != nil {
			return done, err
		}
	}
}

// put adds a parcel with as many of the octets as there is room for. If not all were
// added, it returns a channel to wait for.
func (l *line) put(kind parcelKind, octets []byte) (n int, full <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := lineSize - l.size
	switch {
	case l.err != nil:
		return 0, nil, l.err
	case l.freed:
		return 0, nil, errReplaced
	case l.closed:
		return 0, nil, l.conn.opError("write", net.ErrClosed)
	case kind == octetsParcel && room <= 0:
		return 0, l.changed, nil
	case kind == octetsParcel && len(octets) > room:
		full = l.changed
		octets = octets[:room]
	}
	l.closed = kind == closeParcel
	l.parcels = append(l.parcels, parcel{l.dueTime(kind), kind, append([]byte(nil), octets...)})
	l.size += len(octets) + parcelCost
	if len(l.parcels) == 1 {
		go l.run()
	}
	return len(octets), full, nil
}

// dueTime returns when a parcel that is put in now leaves, if those before it have left by
// then. The caller holds mu.
func (l *line) dueTime(kind parcelKind) time.Time {
	due := time.Now()
	switch {
	case l.Kind == KindDelay:
		due = due.Add(max(0, l.Time+time.Duration(l.vary(int64(l.Jitter)))))
	case kind == finParcel || kind == closeParcel:
		due = due.Add(l.Time)
		l.struck.Store(true)
	}
	return due
}

// run passes parcels on until there are none.
func (l *line) run() {
	for {
		l.mu.Lock()
		p := l.parcels[0]
		l.mu.Unlock()
		passed, err := 0, l.hold(p.due, nil)
		if err == nil {
			passed, err = l.pass(p)
		}
		if err == errReplaced {
			err = l.chain.bypass(l, p, passed)
		}
		if l.took(p, err) {
			return
		}
	}
}

// pass returns how many octets it has passed on.
func (l *line) pass(p parcel) (n int, err error) {
	switch p.kind {
	case octetsParcel:
		n, err = l.next(p.octets)
	case finParcel:
		err = l.chain.finishAfter(l)
	case closeParcel:
		err = l.chain.closeAfter(l)
	}
	return n, err
}

// release makes the line send what it holds at once, and accept nothing more.
func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freed = true
}

// took removes a parcel that was passed on, or after an error all. It returns true when
// there are no more.
func (l *line) took(p parcel, err error) bool {
	if err != nil {
		l.conn.fail(err)
	}
	l.mu.Lock()
	closing := l.closed && p.kind != closeParcel
	if l.err == nil {
		l.err = err
	}
	if l.err != nil {
		l.parcels, l.size = nil, 0
	} else {
		l.parcels = l.parcels[1:]
		l.size -= len(p.octets) + parcelCost
	}
	empty := len(l.parcels) == 0
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if err != nil && closing { // the parcel that closes is lost with the others
		l.chain.closeAfter(l)
	}
	if empty {
		l.chain.drain()
	}
	return empty
}

// busy returns a channel that is closed when parcels leave, nil if there are none.
func (l *line) busy() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parcels) == 0 {
		return nil
	}
	return l.changed
}

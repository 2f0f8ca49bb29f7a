package fault

import (
	"net"
	"sync/atomic"
	"time"
)

// An Injector decides for each connection which faults strike it. It has the clock for
// [For], the count for [FailFirst] and the seed for [Sometimes]. Several listeners and
// connections can share it. Connections are numbered from 0, in the order in which they
// are given to Conn or accepted.
//
// The result of Sometimes for a connection depends only on the seed, the connection's
// number and the position of the Sometimes in the fault. So does what [Jitter] and
// [DripVaried] choose. The same seed repeats a run exactly.
type Injector struct {
	fault Fault
	seed  uint64
	start time.Time
	count atomic.Uint64
}

// New returns an Injector of f. Its clock starts now. Every seed is valid, also 0.
func New(f Fault, seed uint64) *Injector {
	return &Injector{fault: f, seed: seed, start: time.Now()}
}

// Conn makes c the next connection: it returns c with the faults that strike it, or c
// itself if there are none. A refused connection is reset before Conn returns.
//
// The returned connection follows the rules of [net.Conn] for deadlines and Close. It has
// NetConn, which returns c, SetLinger and CloseWrite. CloseWrite does nothing after a fault
// has ended what this end sends, and returns [errors.ErrUnsupported] if c has no
// CloseWrite. When a fault has ended what this end sends, Write returns an error with an
// [*Error] in it. See [Delay] for how Write and Close differ under a delay.
func (i *Injector) Conn(c net.Conn) net.Conn {
	if drawn := i.next(); !drawn.isZero() {
		return newConn(c, drawn).begin()
	}
	return c
}

// Listen returns ln with the faults. A [Refuse] or [Hang] that strikes from the start does
// so before Listen returns. Closing the listener closes ln and what [Hang] holds, and
// leaves no goroutine.
func (i *Injector) Listen(ln net.Listener) net.Listener { return newListener(ln, i) }

// Listen returns ln with f, by a new [Injector] with seed 0.
func Listen(ln net.Listener, f Fault) net.Listener { return New(f, 0).Listen(ln) }

// Conn returns c with f, by a new [Injector] with seed 0.
func Conn(c net.Conn, f Fault) net.Conn { return New(f, 0).Conn(c) }

func (i *Injector) present() *Injector { return i }

func (i *Injector) accepted(c net.Conn) (with *conn, rejected Kind) {
	drawn := i.next()
	if k := rejection(drawn.sends); k != 0 || drawn.isZero() {
		return nil, k
	}
	return newConn(c, drawn), 0
}

func (i *Injector) gone(*listener) {}

// A drawn is the faults that strike one connection, without conditions.
type drawn struct {
	sends, reads []Part
	seed         uint64 // of what varies
}

func (d drawn) isZero() bool { return len(d.sends) == 0 && len(d.reads) == 0 }

// next counts a connection, and returns its faults.
func (i *Injector) next() drawn {
	n := i.count.Add(1) - 1
	d := drawn{seed: mix(mix(0, i.seed), n)}
	i.choose(&d, &d.sends, i.fault.parts, n, d.seed)
	return d
}

// choose appends those of the parts that strike connection n. The place is a number
// for the position of the parts in the fault, on this connection.
func (i *Injector) choose(d *drawn, chosen *[]Part, parts []Part, n, place uint64) {
	for at, p := range parts {
		here := mix(place, uint64(at))
		switch {
		case p.Kind == KindReads:
			i.choose(d, &d.reads, p.Under.parts, n, here)
		case !p.Kind.IsCondition():
			*chosen = append(*chosen, p)
		case i.holds(p, n, here):
			i.choose(d, chosen, p.Under.parts, n, here)
		}
	}
}

func (i *Injector) holds(condition Part, n, place uint64) bool {
	switch condition.Kind {
	case KindFirst:
		return n < uint64(condition.Count)
	case KindFor:
		return time.Since(i.start) < condition.Time
	}
	return float64(place>>11)/(1<<53) < condition.Probability
}

// mix is a step of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
// number generators, 2014), whose stream n numbers.
func mix(state, n uint64) uint64 {
	z := state + (n+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Package fault makes one end of a TCP connection misbehave, so that clients and
// servers can be tested against what networks and peers do. It knows nothing of
// what is said over the connection.
//
// A [Fault] is a value; [Join] puts several together, and [FailFirst], [Sometimes]
// and [For] say which connections they strike. [Listen] and [Conn] wrap what is to
// misbehave:
//
//	ln, err := net.Listen("tcp", "127.0.0.1:0")
//	...
//	ln = fault.Listen(ln, fault.FailFirst(2, fault.Reset(10)))
//
// The first two connections accepted get ten octets of what the program writes and
// then an RST; the third works. The same as text, for flags and files, is
// "first:2(reset:10)": see [Parse].
//
// A fault acts on what this end sends, on the way from the program's Write to the
// network, and in a listener on who gets a connection at all. Reads pass. Wrapping
// order is meaning: a fault under TLS strikes the handshake's octets first, one over
// TLS those of the message.
//
// Each count of octets is over the life of a connection, not of one Write, and is
// of the octets that come to the fault: below TLS those are records.
package fault

import (
	"strconv"
	"strings"
	"time"
)

// A Fault is one thing, or several, that go wrong with a connection. The zero value
// is none. A Fault does not change, and may be used by several goroutines, Injectors
// and other Faults. Two are equal when their String is.
type Fault struct{ parts []part }

// A part is one fault, or a condition with the faults that are under it.
type part struct {
	kind  kind
	n     int           // octets, octets a second, or connections
	d     time.Duration // a pause, or how long a condition holds
	p     float64       // a probability
	under []part
}

type kind uint8

const (
	delay kind = iota
	drip
	rate
	stall
	closing
	halfClose
	reset
	corrupt
	refuse
	hang
	first
	forTime
	sometimes // its name is its percentage
)

var names = [...]string{
	delay: "delay", drip: "drip", rate: "rate", stall: "stall", closing: "close", halfClose: "halfclose",
	reset: "reset", corrupt: "corrupt", refuse: "refuse", hang: "hang", first: "first", forTime: "for",
}

// Delay is a latency: octets, and the FIN of CloseWrite, are sent d after the program
// wrote them, in order, at the throughput of the connection. A Write copies its octets
// and returns; it waits only while 4 MiB are held, until there is room, the connection
// is closed or the write deadline passes. While all delays of the process hold more than
// 256 MiB together, each may hold 64 KiB. Faults on the right of a delay act later,
// when octets come to them, and the deadline does not count for them. An error that
// comes later is that of the next Write; see [Flush] and [Broken].
//
// Close returns at once. What was written is still sent, and then the connection is
// closed, d later. It is closed earlier if a write lasts a minute, or 15 s after the FIN
// of the peer. SetLinger(0) before Close drops what is held, and so does [Drop]. Zero or
// less is no fault.
func Delay(d time.Duration) Fault { return one(part{kind: delay, d: d}, d > 0) }

// Drip sends each Write in pieces of n octets, and leaves pause between a piece and
// the next, that of the next Write included; there is none before the first. Each
// piece is a segment of its own: TCP_NODELAY is set behind it, which flushes TCP_CORK
// too (tcp(7)). A pause below zero is zero; n below one is no fault.
func Drip(n int, pause time.Duration) Fault {
	return one(part{kind: drip, n: n, d: max(0, pause)}, n > 0)
}

// Rate sends as a line of that many octets a second would: n octets to an idle line
// take n/octetsPerSecond, in pieces of a hundredth of a second, or of one octet if
// that takes longer. A timer that was late, by 10 ms at most, is made up for by the
// next piece. Zero or less is no fault.
func Rate(octetsPerSecond int) Fault {
	return one(part{kind: rate, n: octetsPerSecond}, octetsPerSecond > 0)
}

// Stall sends after octets and then nothing more, not even the FIN of CloseWrite. A
// Write of more blocks until the connection is closed or the write deadline passes. It
// fails if the peer has gone, as every Write that a fault holds: with ECONNRESET within
// about a second of the peer's RST, and with EPIPE 15 s after its FIN, if it may have
// closed. The connection stays open. Below zero is no fault.
func Stall(after int) Fault { return one(part{kind: stall, n: after}, after >= 0) }

// Close sends after octets and then the FIN, and closes the connection, as a peer
// does that ends in the middle of a message. It strikes in the Write of the last of
// these octets; Close(0) in the first Write, and sends nothing of it. Before it
// closes, it reads and drops what arrives until the peer has closed too, for a second
// at most: the kernel would answer unread input with RST (RFC 1122, section
// 4.2.2.13). That time is the Write's. Below zero is no fault.
func Close(after int) Fault { return one(part{kind: closing, n: after}, after >= 0) }

// HalfClose sends after octets and then the FIN. The connection stays open, and this
// end goes on reading (RFC 9293, section 3.6). It strikes when Close does. A connection
// without CloseWrite gets no FIN, and no more octets. Below zero is no fault.
func HalfClose(after int) Fault { return one(part{kind: halfClose, n: after}, after >= 0) }

// Reset sends after octets and then RST (SO_LINGER of zero and close, socket(7)). It
// strikes when Close does, but waits until the peer's kernel has acknowledged the
// octets, for 5 s at most, since a reset drops what is still to be sent: SIOCOUTQ
// on Linux (tcp(7)). Elsewhere it gives them 100 ms. Below zero is no fault.
func Reset(after int) Fault { return one(part{kind: reset, n: after}, after >= 0) }

// Corrupt flips the lowest bit of the octet at that offset; 0 is the first that is
// sent. Below zero is no fault.
func Corrupt(at int) Fault { return one(part{kind: corrupt, n: at}, at >= 0) }

// Refuse lets nobody connect.
//
// On a TCP listener, on Linux, clients get ECONNREFUSED from connect: the socket
// stops listening, but keeps its address, and listens again when the time of [For] is
// over. Accept waits so long. Connections that were in the listener's queue are reset.
//
// Where that is impossible, the kernel has made the connection before the fault is
// asked. Then it is reset when the client has sent something, or after 250 ms: an RST
// that comes sooner makes some calls of connect fail and others not. Accept goes on to
// the next connection meanwhile.
// That is so under [FailFirst] and [Sometimes], which look at each connection, for
// listeners that are not TCP or do not tell their socket (syscall.Conn), for an
// address that this process may not bind a second time (SO_REUSEPORT, socket(7)), and
// on other systems. A plain connection, in [Conn], is reset at once.
func Refuse() Fault { return one(part{kind: refuse}, true) }

// Hang lets clients connect to nothing.
//
// On a TCP listener, on Linux, a client's SYN gets no answer: another socket at the
// same address, with a filter that drops every segment (socket(7), SO_ATTACH_FILTER),
// listens instead until the time of [For] is over. Accept waits so long. Connections
// that were in the listener's queue are reset.
//
// Where [Refuse] cannot act before the connection is made, Hang cannot either. Then
// the connection is accepted, and neither read nor written nor handed to the program;
// it is closed with the listener, or (on Linux) when the peer has closed. At most 1,000
// are held; for a further one, the oldest is closed. On a plain connection, in [Conn], Hang is [Stall] of 0.
func Hang() Fault { return one(part{kind: hang}, true) }

// FailFirst is f for the first k connections of an [Injector], whatever else f is
// under: they are counted as they begin, from 0, and not only those that f would
// strike. Zero or less is no fault.
func FailFirst(k int, f Fault) Fault { return when(part{kind: first, n: k}, k > 0, f) }

// Sometimes is f for each connection with probability p, which the seed of the
// [Injector] decides: once for all of f. 1 or more is f, 0 or less or NaN no fault.
func Sometimes(p float64, f Fault) Fault {
	if p >= 1 {
		return f
	}
	return when(part{kind: sometimes, p: p}, p > 0, f)
}

// For is f for the connections that begin in the first d after the [Injector] was
// made. Zero or less is no fault.
func For(d time.Duration, f Fault) Fault { return when(part{kind: forTime, d: d}, d > 0, f) }

// Join is all the faults, the leftmost nearest to the program: what it sends is what
// the next one gets. Of several among [Refuse] and [Hang] the leftmost acts.
func Join(faults ...Fault) Fault {
	var all []part
	for _, f := range faults {
		all = append(all, f.parts...)
	}
	return Fault{all}
}

func one(p part, real bool) Fault {
	if !real {
		return Fault{}
	}
	return Fault{[]part{p}}
}

func when(p part, ever bool, f Fault) Fault {
	p.under = f.parts
	return one(p, ever && len(f.parts) > 0)
}

// String is the fault in the language of [Parse], which makes an equal one of it; ""
// for none.
func (f Fault) String() string { return join(f.parts) }

func join(parts []part) string {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.String()
	}
	return strings.Join(texts, "+")
}

func (p part) String() string {
	switch p.kind {
	case delay:
		return "delay:" + p.d.String()
	case drip:
		return "drip:" + strconv.Itoa(p.n) + "/" + p.d.String()
	case refuse, hang:
		return names[p.kind]
	case forTime:
		return "for:" + p.d.String() + "(" + join(p.under) + ")"
	case sometimes:
		return percentage(p.p) + "%(" + join(p.under) + ")"
	case first:
		return "first:" + strconv.Itoa(p.n) + "(" + join(p.under) + ")"
	}
	return names[p.kind] + ":" + strconv.Itoa(p.n)
}

// percentage moves the point of p's shortest decimal: 100*p would be rounded, and
// read back as another number.
func percentage(p float64) string {
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(p, 'f', -1, 64), ".")
	fraction += "00"
	whole = strings.TrimLeft(whole+fraction[:2], "0")
	fraction = strings.TrimRight(fraction[2:], "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return whole + fraction
}

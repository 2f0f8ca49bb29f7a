// Package fault makes one end of a connection misbehave, so that clients and servers can
// be tested against what networks and peers do. It does not depend on what is said over
// the connection.
//
// A [Fault] is a value. [Join] combines faults. [FailFirst], [Sometimes] and [For] select
// the connections that they strike. [Listen] and [Conn] wrap what is to misbehave:
//
//	ln, err := net.Listen("tcp", "127.0.0.1:0")
//	...
//	ln = fault.Listen(ln, fault.FailFirst(2, fault.Reset(10)))
//
// Each of the first two connections accepted sends ten octets of what the program writes,
// and then an RST. The third works. The same as text, for flags and files, is
// "first:2(reset:10)"; see [Parse]. A [Switch] replaces the fault of connections that are
// open.
//
// A fault acts on what this end sends, between the program's Write and the network. With
// [Reads] it acts on what this end receives. In a listener it can also refuse connections.
// The order of wrapping matters: a fault under TLS counts and strikes octets of TLS
// records, the handshake first, and a fault over TLS those of the message.
//
// Numbers of octets count over the life of a connection, and times from its start. If a
// Switch has set the fault, they count from then.
//
// An error that a fault causes is what the kernel would give, a *net.OpError with
// syscall.ECONNRESET for example. [errors.As] also finds an [*Error] in it.
package fault

import "time"

// A Fault is what goes wrong with a connection: nothing (the zero value), one thing, or
// several. A Fault does not change, and can be used by several goroutines, Injectors and
// other Faults. Two faults are equal if their String is.
type Fault struct{ parts []Part }

// Delay is a latency: octets, and the FIN of CloseWrite, are sent d after the program
// wrote them, in order, with the throughput of the connection. A Write copies its octets
// and returns. It waits only while 4 MiB are held: until there is room, the connection is
// closed or the write deadline passes. Faults to the right of a delay act when octets come
// to them, and the deadline does not count for them. An error that occurs later is
// returned by the next Write; see [Flush] and [Broken].
//
// Close returns at once. What was written is still sent, and then the connection is
// closed, d later. It is closed earlier if a write lasts a minute, or 15 s after the FIN
// of the peer. SetLinger(0) before Close drops what is held, and so does [Drop]. If d is
// zero or less, there is no fault.
func Delay(d time.Duration) Fault { return Jitter(d, 0) }

// Jitter is [Delay] with a latency that varies: each Write has one between d-spread and
// d+spread, evenly distributed and decided by the seed, and zero if that is negative.
// Octets stay in order, so a Write is never sent before an earlier one. A spread below zero
// is zero. If d is negative, or both are zero, there is no fault.
func Jitter(d, spread time.Duration) Fault {
	spread = max(0, spread)
	return one(Part{Kind: KindDelay, Time: d, Jitter: spread}, d > 0 || d == 0 && spread > 0)
}

// Drip sends in pieces of n octets, with a pause between a piece and the next, also if
// that is of another Write. There is no pause before the first. Each piece is a segment:
// TCP_NODELAY is set after it, which flushes TCP_CORK too (tcp(7)). A pause below zero is
// zero. If n is below one, there is no fault.
func Drip(n int, pause time.Duration) Fault { return DripVaried(n, 0, pause) }

// DripVaried is [Drip] with pieces between n-spread and n+spread octets, of one octet at
// least, evenly distributed and decided by the seed. A spread below zero is zero.
func DripVaried(n, spread int, pause time.Duration) Fault {
	return one(Part{Kind: KindDrip, Count: n, Spread: max(0, spread), Time: max(0, pause)}, n > 0)
}

// Rate limits the throughput to that of a line: n octets to an idle line take
// n/octetsPerSecond seconds. They are sent in pieces of a hundredth of a second, or of one
// octet if that takes longer. If a timer is late, by 10 ms at most, the next piece makes up
// for it. Zero or less is no fault.
func Rate(octetsPerSecond int) Fault {
	return one(Part{Kind: KindRate, Count: octetsPerSecond}, octetsPerSecond > 0)
}

// SlowClose sends octets at once, and the FIN of CloseWrite and Close d later. Close
// returns at once. It ends earlier as that of [Delay] does. Zero or less is no fault.
func SlowClose(d time.Duration) Fault {
	return one(Part{Kind: KindSlowClose, Time: d}, d > 0)
}

// Stall sends after octets and then nothing more, not even the FIN of CloseWrite. A
// Write of more blocks until the connection is closed or the write deadline passes. It
// fails if the peer has closed, as every Write that a fault holds: with ECONNRESET within
// about a second of the peer's RST, and with EPIPE 15 s after its FIN. The connection
// stays open. If after is negative, there is no fault.
func Stall(after int) Fault { return counted(KindStall, after) }

// StallAt is [Stall] from time d on. If d is negative, there is no fault.
func StallAt(d time.Duration) Fault { return timed(KindStall, d) }

// Discard sends after octets, and drops what the program writes after that: Write
// reports success. A FIN is not sent either, and the connection stays open, as if the
// network had stopped working. If after is negative, there is no fault.
func Discard(after int) Fault { return counted(KindDiscard, after) }

// DiscardAt is [Discard] from time d on. If d is negative, there is no fault.
func DiscardAt(d time.Duration) Fault { return timed(KindDiscard, d) }

// Close sends after octets and then FIN, and closes the connection, like a peer that ends
// in the middle of a message. It strikes in the Write of the last of these octets.
// Close(0) strikes in the first Write and sends none of it. Before it closes, it reads and
// drops what arrives until the peer has closed too, for a second at most, because the
// kernel would answer unread input with RST (RFC 1122, section 4.2.2.13). The Write takes
// that time. If after is negative, there is no fault.
func Close(after int) Fault { return counted(KindClose, after) }

// CloseAt is [Close] at time d, also if the program does not write. Octets that a fault
// to the left of it holds at that time are not sent. If d is negative, there is no fault.
func CloseAt(d time.Duration) Fault { return timed(KindClose, d) }

// HalfClose sends after octets and then FIN. The connection stays open, and this end can
// still read (RFC 9293, section 3.6). It strikes when Close does. A connection without
// CloseWrite gets no FIN, and no more octets. If after is negative, there is no fault.
func HalfClose(after int) Fault { return counted(KindHalfClose, after) }

// HalfCloseAt is [HalfClose] at time d, as [CloseAt]. If d is negative, there is no fault.
func HalfCloseAt(d time.Duration) Fault { return timed(KindHalfClose, d) }

// Reset sends after octets and then RST (SO_LINGER of zero and close, socket(7)). It
// strikes when Close does. First it waits until the peer's kernel has acknowledged the
// octets, for 5 s at most, because a reset drops what has not been sent (SIOCOUTQ on
// Linux, tcp(7)). On other systems it waits 100 ms. If after is negative, there is no
// fault.
func Reset(after int) Fault { return counted(KindReset, after) }

// ResetAt sends RST at time d, also if the program does not write. It does not wait: what
// has not been sent by then is dropped. If d is negative, there is no fault.
func ResetAt(d time.Duration) Fault { return timed(KindReset, d) }

// Corrupt flips the lowest bit of the octet at that offset. The offset of the first octet
// is 0. If at is negative, there is no fault.
func Corrupt(at int) Fault { return counted(KindCorrupt, at) }

// Refuse rejects every connection attempt.
//
// On a TCP listener on Linux, connect fails with ECONNREFUSED: the socket stops listening
// but keeps its address, and listens again when the time of [For] ends. Accept waits until
// then. Connections in the listener's queue are reset.
//
// In all other cases the kernel has made the connection before the fault is consulted.
// These are faults under [FailFirst] and [Sometimes], which look at each connection;
// listeners that are not TCP or do not provide their socket (syscall.Conn); addresses that
// this process may not bind a second time (SO_REUSEPORT, socket(7)); and other systems.
// The connection is reset when the client has sent something, or after 250 ms: an earlier
// RST would make some calls of connect fail and others succeed. Meanwhile Accept goes on
// to the next connection. A connection in [Conn] is reset at once.
func Refuse() Fault { return one(Part{Kind: KindRefuse}, true) }

// Hang leaves connection attempts without an answer.
//
// On a TCP listener on Linux, a client's SYN gets no answer: another socket at the same
// address, with a filter that drops every segment (socket(7), SO_ATTACH_FILTER), listens
// instead until the time of [For] ends. Accept waits until then. Connections in the
// listener's queue are reset.
//
// Where [Refuse] cannot act before the connection is made, Hang cannot either. Then the
// connection is accepted, and is neither read nor written nor returned by Accept. It is
// closed with the listener or, on Linux, when the peer has closed. At most 1,000 are held;
// for another, the oldest is closed. In [Conn], Hang is [Stall] of 0.
func Hang() Fault { return one(Part{Kind: KindHang}, true) }

// FailFirst is f for the first k connections of an [Injector], counted from 0 with every
// connection, also those that f would not strike. Zero or less is no fault.
func FailFirst(k int, f Fault) Fault { return when(Part{Kind: KindFirst, Count: k}, k > 0, f) }

// Sometimes is f for each connection with probability p. The seed of the [Injector]
// decides, once for all of f. If p is 1 or more, it is f. If p is 0 or less or NaN, there
// is no fault.
func Sometimes(p float64, f Fault) Fault {
	if p >= 1 {
		return f
	}
	return when(Part{Kind: KindSometimes, Probability: p}, p > 0, f)
}

// For is f for the connections that start in the first d after the [Injector] was made.
// Zero or less is no fault.
func For(d time.Duration, f Fault) Fault { return when(Part{Kind: KindFor, Time: d}, d > 0, f) }

// Reads is f for what the program receives, instead of what it sends. A test of a client
// can so cut a reply without a change to the server.
//
// The faults act on octets as they arrive, whether the program reads or not, and the
// program's Read gets the result. The leftmost is nearest to the program. After [Close]
// Read returns io.EOF, and Write fails with EPIPE; after [HalfClose] Write still works.
// After [Reset] Read and Write fail with ECONNRESET, and the peer gets an RST. [Stall] and
// [Discard] let Read block until the deadline. [Refuse] is Reset(0), and [Hang] is
// Stall(0). Up to 64 KiB are read ahead of the program, and up to 4 MiB in a [Delay].
func Reads(f Fault) Fault { return when(Part{Kind: KindReads}, true, f) }

// Join combines faults. The leftmost is nearest to the program: what it sends is what the
// next one gets. Of several among [Refuse] and [Hang] the leftmost acts.
func Join(faults ...Fault) Fault {
	var all []Part
	for _, f := range faults {
		all = append(all, f.parts...)
	}
	return Fault{all}
}

func counted(k Kind, n int) Fault { return one(Part{Kind: k, Count: n}, n >= 0) }

func timed(k Kind, d time.Duration) Fault {
	return one(Part{Kind: k, Time: d, Timed: true}, d >= 0)
}

func one(p Part, real bool) Fault {
	if !real {
		return Fault{}
	}
	return p.Fault()
}

func when(p Part, ever bool, f Fault) Fault {
	p.Under = f
	return one(p, ever && !f.IsZero())
}

package check

import (
	"time"

	"github.com/bothends/bothends/fault"
)

// ClientCases returns all cases for clients, in the order in which they are run: those
// that should succeed first.
func ClientCases() []ClientCase {
	none := func(int) fault.Fault { return fault.Fault{} }
	cut := func(size int) int { return size * 5 / 8 } // ten octets of sixteen
	return []ClientCase{
		{"whole", "a good reply, whole",
			"Nothing else can be judged where this does not work.",
			0, none, nil, success},
		{"pieces", "a good reply in three pieces",
			"recv() returns what is there; the rest comes later.",
			0, func(size int) fault.Fault { return fault.Drip(max(1, (size+2)/3), 20*time.Millisecond) }, nil, success},
		{"octets", "a good reply octet by octet",
			"TCP may cut a message anywhere.",
			0, func(size int) fault.Fault {
				return fault.Drip(1, min(10*time.Millisecond, time.Second/time.Duration(max(1, size))))
			}, nil, success},
		{"slow", "a good reply after half a second",
			"A server may have to think; a deadline shorter than that is none.",
			0, func(int) fault.Fault { return fault.Delay(500 * time.Millisecond) }, nil, success},
		{"surplus", "a good reply and one octet more",
			"It may be ignored or be called an error; it must not hang or crash the client.",
			0, none, func(reply []byte) []byte { return append(append([]byte(nil), reply...), 'X') }, either},
		{"wrong", "a whole reply that is another one",
			"Whoever only counts octets takes any answer for the right one.",
			0, func(size int) fault.Fault { return fault.Corrupt(size / 2) }, nil, failure},
		{"closed", "FIN in place of the reply",
			"recv() returning 0 is no reply.",
			0, func(int) fault.Fault { return fault.Close(0) }, nil, failure},
		{"cut-fin", "a part of the reply, then FIN",
			"Ten of sixteen octets and an end of file look like a short success.",
			2, func(size int) fault.Fault { return fault.Close(cut(size)) }, nil, failure},
		{"reset", "RST in place of the reply",
			"A server that crashes sends one.",
			0, func(int) fault.Fault { return fault.Reset(0) }, nil, failure},
		{"cut-reset", "a part of the reply, then RST",
			"The error comes after octets that look like a reply.",
			2, func(size int) fault.Fault { return fault.Reset(cut(size)) }, nil, failure},
		{"silence", "no reply, and the connection stays open",
			"Without a deadline this is for ever.",
			0, func(int) fault.Fault { return fault.Stall(0) }, nil, failure},
		{"cut-silence", "a part of the reply, then silence",
			"Octets that have come are no promise of the rest.",
			2, func(size int) fault.Fault { return fault.Stall(cut(size)) }, nil, failure},
		{"refused", "nobody listens",
			"The plainest of all failures still needs an exit status.",
			0, func(int) fault.Fault { return fault.Refuse() }, nil, failure},
		{"hang", "connect gets no answer",
			"The kernel goes on asking for minutes; a deadline has to cover connect too.",
			0, func(int) fault.Fault { return fault.Hang() }, nil, failure},
	}
}

package check

import (
	"time"

	"github.com/bothends/bothends/fault"
)

// ClientCases returns all cases for clients in the order in which they are run: those that
// should succeed first.
func ClientCases() []ClientCase {
	none := func(int) fault.Fault { return fault.Fault{} }
	cut := func(size int) int { return size * 5 / 8 } // ten octets of sixteen
	return []ClientCase{
		{wholeCase, "a correct reply in one write",
			"If this does not work, no other case means anything.",
			0, none, nil, success, stream},
		{"pieces", "a correct reply in three pieces",
			"recv() returns what has arrived, and the rest comes later.",
			0, func(size int) fault.Fault { return fault.Drip(max(1, (size+2)/3), 20*time.Millisecond) }, nil, success, stream},
		{"octets", "a correct reply octet by octet",
			"TCP can split a message anywhere.",
			0, func(size int) fault.Fault {
				return fault.Drip(1, min(10*time.Millisecond, time.Second/time.Duration(max(1, size))))
			}, nil, success, stream},
		{"slow", "a correct reply after half a second",
			"A server may need time, so a shorter deadline is useless.",
			0, func(int) fault.Fault { return fault.Delay(500 * time.Millisecond) }, nil, success, stream},
		{"surplus", "a correct reply and one octet more",
			"The client may ignore it or report an error, but must not hang or crash.",
			0, none, func(reply []byte) []byte { return append(append([]byte(nil), reply...), 'X') }, either, stream},
		{"wrong", "a complete reply with wrong content",
			"A client that only counts octets accepts every reply of the right length.",
			0, func(size int) fault.Fault { return fault.Corrupt(size / 2) }, nil, failure, stream},
		{"closed", "FIN instead of the reply",
			"If recv() returns 0, there is no reply.",
			0, func(int) fault.Fault { return fault.Close(0) }, nil, failure, stream},
		{"cut-fin", "a part of the reply, then FIN",
			"Ten of sixteen octets and an end of file look like a short success.",
			2, func(size int) fault.Fault { return fault.Close(cut(size)) }, nil, failure, stream},
		{"reset", "RST instead of the reply",
			"A server that crashes sends RST.",
			0, func(int) fault.Fault { return fault.Reset(0) }, nil, failure, rst},
		{"cut-reset", "a part of the reply, then RST",
			"The error comes after octets that look like a reply.",
			2, func(size int) fault.Fault { return fault.Reset(cut(size)) }, nil, failure, rst},
		{"silence", "no reply, and the connection stays open",
			"Without a deadline the client waits forever.",
			0, func(int) fault.Fault { return fault.Stall(0) }, nil, failure, stream},
		{"cut-silence", "a part of the reply, then silence",
			"The rest of a reply may never arrive.",
			2, func(size int) fault.Fault { return fault.Stall(cut(size)) }, nil, failure, stream},
		{"refused", "the connection is refused",
			"Even the simplest failure must be reported.",
			0, func(int) fault.Fault { return fault.Refuse() }, nil, failure, noReply},
		{"hang", "connect gets no answer",
			"The kernel retries for minutes, so a deadline must cover connect too.",
			0, func(int) fault.Fault { return fault.Hang() }, nil, failure, noReply},
	}
}

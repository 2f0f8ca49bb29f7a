package proxy

import (
	"fmt"
	"time"

	"github.com/bothends/bothends/fault"
)

// Schema names the form of a Connection as JSON.
const Schema = "bothends.proxy/v1"

// A Connection is what became of one connection of a client. As JSON it is one line.
type Connection struct {
	Schema        string    `json:"schema"`
	Time          time.Time `json:"time"` // when it was accepted
	Proxy         string    `json:"proxy,omitempty"`
	Client        string    `json:"client"`
	Target        string    `json:"target"`
	Seconds       float64   `json:"seconds"`        // until both sides were closed
	RequestOctets int64     `json:"request_octets"` // octets sent to the target
	ReplyOctets   int64     `json:"reply_octets"`   // octets sent to the client
	Ended         Ended     `json:"ended"`
	Faults        []Strike  `json:"faults,omitempty"`
	Error         string    `json:"error,omitempty"`
}

// A Strike is a fault that struck a connection.
type Strike struct {
	On    Direction `json:"on"`
	Fault string    `json:"fault"` // in the language of fault.Parse, without its conditions
}

// Ended is how a connection ended: one of a closed set.
type Ended string

const (
	EndedFIN         Ended = "fin"          // both sides sent their FIN, and it was passed on
	EndedClientReset Ended = "client-reset" // the client's RST was passed on to the target
	EndedTargetReset Ended = "target-reset" // the target's RST was passed on to the client
	EndedFault       Ended = "fault"        // a fault ended it, or did not let it begin
	EndedNoTarget    Ended = "no-target"    // the target could not be connected to; see Proxy.Unreachable for what the client got
	EndedStopped     Ended = "stopped"      // the proxy was closed; both sides got RST
	EndedError       Ended = "error"        // something else: Error says what; both sides got RST
)

// A Closing is how a connection is closed.
type Closing string

const (
	ClosingReset Closing = "reset" // with RST
	ClosingFIN   Closing = "fin"   // with FIN, as if all was well
)

func (c Closing) check() error {
	if c != "" && c != ClosingReset && c != ClosingFIN {
		return fmt.Errorf("%q: expected reset or fin", string(c))
	}
	return nil
}

// A Direction is what a fault is on.
type Direction string

const (
	Requests Direction = "requests" // what the proxy sends to the target
	Replies  Direction = "replies"  // what the proxy sends to the client
	Connect  Direction = "connect"  // who can connect
)

// Directions are all of them.
var Directions = [...]Direction{Requests, Replies, Connect}

// seed keeps the directions' decisions apart: with one seed for all of them,
// 20%(...) on requests and on replies would strike the same connections.
func (d Direction) seed(seed uint64) uint64 {
	switch d {
	case Requests:
		return seed + 1
	case Replies:
		return seed + 2
	}
	return seed
}

func (d Direction) known() bool { return d == Requests || d == Replies || d == Connect }

// injector makes the direction's Injector of a fault that check has passed.
func (d Direction) injector(f fault.Fault, seed uint64) *fault.Injector {
	return fault.New(f, d.seed(seed))
}

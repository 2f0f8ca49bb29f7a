package proxy

import (
	"fmt"
	"time"
)

// Schema names the form of a Connection as JSON.
const Schema = "bothends.proxy/v1"

// A Connection reports one connection of a client after it has ended. As JSON it is one
// line.
type Connection struct {
	Schema        string    `json:"schema"`
	Time          time.Time `json:"time"` // when it was accepted
	Proxy         string    `json:"proxy,omitempty"`
	Client        string    `json:"client"`         // "unix:" and a path, or only "unix:", for a unix socket
	Target        string    `json:"target"`         // as Proxy.Target
	Seconds       float64   `json:"seconds"`        // from accept until both sides were closed
	RequestOctets int64     `json:"request_octets"` // octets sent to the target
	ReplyOctets   int64     `json:"reply_octets"`   // octets sent to the client
	Ended         Ended     `json:"ended"`
	Faults        []Strike  `json:"faults,omitempty"`
	Error         string    `json:"error,omitempty"`
}

// A Strike is a fault that struck a connection.
type Strike struct {
	On    Direction `json:"on"`
	Fault string    `json:"fault"` // in the language of fault.Parse, without conditions
}

// Ended is how a connection ended: one of a closed set.
type Ended string

// Where TCP sends RST, a connection over a unix socket is closed: see [Proxy].
const (
	EndedFIN         Ended = "fin"          // both sides sent their FIN, and it was passed on
	EndedClientReset Ended = "client-reset" // the client's RST was passed on to the target
	EndedTargetReset Ended = "target-reset" // the target's RST was passed on to the client
	EndedFault       Ended = "fault"        // a fault ended it, or prevented it
	EndedNoTarget    Ended = "no-target"    // the target could not be connected to; see Proxy.Unreachable for what the client got
	EndedStopped     Ended = "stopped"      // Close, DropConns or Disable; both sides got RST
	EndedError       Ended = "error"        // something else, which Error contains; both sides got RST
)

// A Closing is how a connection is closed.
type Closing string

const (
	ClosingReset Closing = "reset" // with RST
	ClosingFIN   Closing = "fin"   // with FIN, as a peer that has sent everything
)

func (c Closing) check() error {
	if c != "" && c != ClosingReset && c != ClosingFIN {
		return fmt.Errorf("%q: expected reset or fin", string(c))
	}
	return nil
}

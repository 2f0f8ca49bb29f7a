package proxy

import (
	"fmt"
	"slices"

	"github.com/bothends/bothends/fault"
)

// A Direction is what a fault applies to.
type Direction string

const (
	Requests Direction = "requests" // what the proxy sends to the target
	Replies  Direction = "replies"  // what the proxy sends to the client
	Connect  Direction = "connect"  // who can connect
)

// Directions contains every Direction.
var Directions = [...]Direction{Requests, Replies, Connect}

// Check returns an error if the direction cannot have the fault. Connect has refuse, hang
// and delay; Requests and Replies have all faults but refuse and hang.
func (d Direction) Check(f fault.Fault) error {
	if !slices.Contains(Directions[:], d) {
		return fmt.Errorf("%q is not requests, replies or connect", string(d))
	}
	for p := range f.All() {
		connecting := p.Kind == fault.KindRefuse || p.Kind == fault.KindHang
		switch {
		case p.Kind == fault.KindReads:
			return fmt.Errorf("reads is not a fault of %s; a proxy has both directions", d)
		case d == Connect && !connecting && p.Kind != fault.KindDelay && !p.Kind.IsCondition():
			return fmt.Errorf("%s is not a fault of connecting; use refuse, hang or delay", p.Kind)
		case d != Connect && connecting:
			return fmt.Errorf("%s is a fault of connecting; for %s, use reset:0 or stall:0", p.Kind, d)
		}
	}
	return nil
}

// Parse reads a fault in the language of [fault.Parse], and checks it.
func (d Direction) Parse(text string) (fault.Fault, error) {
	f, err := fault.Parse(text)
	if err != nil {
		return f, err
	}
	return f, d.Check(f)
}

// seed keeps the decisions of the directions apart: with one seed for all of them,
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

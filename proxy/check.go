package proxy

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/bothends/bothends/fault"
)

// names finds the names in a fault's text: a name begins a fault, or what a
// condition is of.
var names = regexp.MustCompile(`(?:^|[(+])([a-z]+)`)

// check tells whether a direction can have the fault.
func (d Direction) check(f fault.Fault) error {
	for _, found := range names.FindAllStringSubmatch(f.String(), -1) {
		name := found[1]
		connecting := name == "refuse" || name == "hang"
		switch {
		case d == Connect && !connecting && !slices.Contains([]string{"delay", "first", "for"}, name):
			return fmt.Errorf("%s is no fault of connecting: there are refuse, hang and delay", name)
		case d != Connect && connecting:
			return fmt.Errorf("%s is a fault of connecting; on %s there are reset:0 and stall:0", name, d)
		}
	}
	return nil
}

// parse reads a direction's fault.
func (d Direction) parse(text string) (fault.Fault, error) {
	if !d.known() {
		return fault.Fault{}, fmt.Errorf("%q is none of requests, replies and connect", string(d))
	}
	f, err := fault.Parse(text)
	if err != nil {
		return f, err
	}
	return f, d.check(f)
}

package proxy

import (
	"fmt"

	"github.com/bothends/bothends/fault"
)

// check returns an error if the direction cannot have the fault.
func (d Direction) check(f fault.Fault) error {
	for p := range f.All() {
		connecting := p.Kind == fault.KindRefuse || p.Kind == fault.KindHang
		switch {
		case p.Kind == fault.KindReads:
			return fmt.Errorf("reads cannot be a fault of %s; the proxy has both directions", d)
		case d == Connect && !connecting && p.Kind != fault.KindDelay && !p.Kind.IsCondition():
			return fmt.Errorf("%s is not a fault of connecting: there are refuse, hang and delay", p.Kind)
		case d != Connect && connecting:
			return fmt.Errorf("%s is a fault of connecting; on %s there are reset:0 and stall:0", p.Kind, d)
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

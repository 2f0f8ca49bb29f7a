package exchange

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/load"
)

// disturbed is the end of an exchange that a fault of this end struck. It says nothing
// about the server.
type disturbed struct{ err error }

func (d *disturbed) Error() string { return fmt.Sprintf("disturbed: %v", d.err) }
func (d *disturbed) Unwrap() error { return d.err }

func isDisturbed(err error) bool {
	var d *disturbed
	return errors.As(err, &d)
}

// byFault reports whether an exchange failed because of what struck it. A delay or a drip
// is not a reason to fail.
func byFault(struck []fault.Fault, err error) bool {
	var own *fault.Error
	return errors.As(err, &own) || slices.ContainsFunc(struck, func(f fault.Fault) bool {
		return f.Has(fault.KindStall, fault.KindDiscard, fault.KindCorrupt, fault.KindClose, fault.KindHalfClose, fault.KindReset)
	})
}

// Outcome names how an exchange ended: by [bothends.Classify], or [load.Local]. If a fault
// of this end struck an exchange and it failed, it is [load.Canceled]: this end gave up.
func Outcome(err error) string {
	switch d := (*disturbed)(nil); {
	case err == nil:
		return load.OK
	case errors.As(err, &d):
		if d.err == nil {
			return load.OK
		}
		return load.Canceled
	case IsLocal(err):
		return load.Local
	}
	return bothends.Classify(err).String()
}

// Timed reports whether an exchange counts in the latency: if it succeeded or timed out,
// and no fault of this end struck it.
func Timed(err error) bool {
	if err == nil {
		return true
	}
	return !isDisturbed(err) && bothends.Classify(err) == bothends.Timeout
}

// FailsAtOnce reports whether the next exchange would fail as fast as this one did: the
// connection was refused, the host is unreachable, or the error IsLocal.
func FailsAtOnce(err error) bool {
	outcome := bothends.Classify(err)
	return outcome == bothends.Refused || outcome == bothends.Unreachable || IsLocal(err)
}

// IsLocal reports whether an exchange failed because of a limit of this machine, such as
// its open files or its ports, and not because of the server.
func IsLocal(err error) bool {
	return errno.Exhausted.Has(err) || errno.AddrInUse.Has(err) || errno.AddrNotAvail.Has(err)
}

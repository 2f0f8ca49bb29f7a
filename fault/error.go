package fault

import "fmt"

// An Error is what Write returns once a fault has ended the sending side: with it
// the number of octets of that Write that were sent.
type Error struct {
	Fault string // in the language of Parse: "reset:10"
	After int    // octets that had been sent on the connection
	Err   error  // syscall.ECONNRESET, net.ErrClosed, or syscall.EPIPE for halfclose
}

// Error is, for example, "fault reset:10 struck after 10 octets".
func (e *Error) Error() string {
	if e.After == 1 {
		return fmt.Sprintf("fault %s struck after 1 octet", e.Fault)
	}
	return fmt.Sprintf("fault %s struck after %d octets", e.Fault, e.After)
}

// Unwrap returns what a program would have been told by the system.
func (e *Error) Unwrap() error { return e.Err }

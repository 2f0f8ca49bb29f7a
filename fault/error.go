package fault

// An Error is what Write returns once a fault has ended the sending side: with it
// the number of octets of that Write that were sent.
type Error struct {
	Fault string // in the language of Parse: "reset:10"
	After int    // octets that had been sent on the connection
	Err   error  // syscall.ECONNRESET, or net.ErrClosed where a FIN was sent

	half bool
}

// Error is, for example, "fault reset:10 struck"; how far the program's own message
// has come, its writer says.
func (e *Error) Error() string { return "fault " + e.Fault + " struck" }

// Unwrap returns what a program would have been told by the system.
func (e *Error) Unwrap() error { return e.Err }

// HalfClosed tells whether the connection goes on, and only what this end sends has
// ended.
func (e *Error) HalfClosed() bool { return e.half }

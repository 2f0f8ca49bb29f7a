// Package errno groups the system's error numbers by their meaning for a TCP
// program, the same on every system.
package errno

import (
	"errors"
	"slices"
	"syscall"
)

// A Set is a set of error numbers with the same meaning.
type Set []syscall.Errno

// Has reports whether err is or wraps one of the numbers.
func (s Set) Has(err error) bool {
	var n syscall.Errno
	return errors.As(err, &n) && slices.Contains(s, n)
}

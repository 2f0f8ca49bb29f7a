// Package errno names the system's error numbers by what they mean to a TCP
// program, the same on every system.
package errno

import (
	"errors"
	"slices"
	"syscall"
)

// A Set is numbers that mean the same.
type Set []syscall.Errno

// Has tells whether err is, or wraps, one of the numbers.
func (s Set) Has(err error) bool {
	var n syscall.Errno
	return errors.As(err, &n) && slices.Contains(s, n)
}

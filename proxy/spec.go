package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// A Spec says what a proxy of a [Set] is: a rule in a file, or an object over HTTP.
// Faults are in the language of fault.Parse, "" for none.
type Spec struct {
	Name     string `json:"name"`   // "" is the listen address, with - for what no name has
	Listen   string `json:"listen"` // host:port; port 0 takes a free one
	Target   string `json:"target"` // host:port
	Requests string `json:"requests,omitempty"`
	Replies  string `json:"replies,omitempty"`
	Connect  string `json:"connect,omitempty"`
	Seed     uint64 `json:"seed,omitempty"`

	// Unreachable is that of Proxy: "reset", "fin", or "" for reset.
	Unreachable Closing `json:"unreachable,omitempty"`
}

// String is the Spec in one line.
func (s Spec) String() string {
	text := fmt.Sprintf("%s: %s to %s", s.Name, s.Listen, s.Target)
	for _, on := range Directions {
		if f := *s.fault(on); f != "" {
			text += fmt.Sprintf(", %s %s", on, f)
		}
	}
	if s.Seed != 0 {
		text += fmt.Sprintf(", seed %d", s.Seed)
	}
	if s.Unreachable != "" {
		text += ", unreachable " + string(s.Unreachable)
	}
	return text
}

// A Status is a proxy of a [Set] as it is now. Listen is the address that it has.
type Status struct {
	Spec
	Open        int    `json:"open"`        // connections that are open
	Connections uint64 `json:"connections"` // connections that were accepted
}

// A Change is what to change in a proxy for the connections that begin later. A nil
// field stays as it is. A fault that is given begins anew, as in Proxy.SetFault; a
// seed that is given begins all of them anew.
type Change struct {
	Target   *string `json:"target,omitempty"`
	Requests *string `json:"requests,omitempty"`
	Replies  *string `json:"replies,omitempty"`
	Connect  *string `json:"connect,omitempty"`
	Seed     *uint64 `json:"seed,omitempty"`

	Unreachable *Closing `json:"unreachable,omitempty"`
}

// A SpecError is what is wrong with a field of a Spec.
type SpecError struct {
	Field string // as in JSON and in a file of rules
	Err   error
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *SpecError) Unwrap() error { return e.Err }

// fault is the text of a direction's fault.
func (s *Spec) fault(on Direction) *string {
	switch on {
	case Requests:
		return &s.Requests
	case Replies:
		return &s.Replies
	}
	return &s.Connect
}

func (c *Change) fault(on Direction) *string {
	switch on {
	case Requests:
		return c.Requests
	case Replies:
		return c.Replies
	}
	return c.Connect
}

var (
	// name is what can stand in the path of a URL as it is.
	name    = regexp.MustCompile(`^[A-Za-z0-9_:\[][A-Za-z0-9._:\[\]-]*$`)
	notName = regexp.MustCompile(`[^A-Za-z0-9._:\[\]-]+`)
	host    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// nameOf is the name of a proxy that has none but its address: without the % before an
// IPv6 address' zone, and what else a zone may have.
func nameOf(address string) string { return notName.ReplaceAllString(address, "-") }

// check tells what is wrong with the fields, and fills in the name.
func (s *Spec) check() error {
	if s.Name == "" {
		s.Name = nameOf(s.Listen)
	}
	if err := checkAddress(s.Listen, true); err != nil {
		return &SpecError{"listen", err}
	}
	if err := checkAddress(s.Target, false); err != nil {
		return &SpecError{"target", err}
	}
	if !name.MatchString(s.Name) {
		return &SpecError{"name", fmt.Errorf("%q: want letters, digits and any of . _ : - [ ]", s.Name)}
	}
	for _, on := range Directions {
		if _, err := on.parse(*s.fault(on)); err != nil {
			return &SpecError{string(on), err}
		}
	}
	if err := s.Unreachable.check(); err != nil {
		return &SpecError{"unreachable", err}
	}
	return nil
}

// checkAddress wants host:port. Only who listens may leave out the host, or take port 0.
func checkAddress(address string, listen bool) error {
	name, digits, err := net.SplitHostPort(address)
	if err != nil || name != "" && !isHost(name, address[0] == '[') {
		return fmt.Errorf("%q: want HOST:PORT or [IPv6]:PORT", address)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	switch {
	case err != nil:
		return fmt.Errorf("%q: want a port from 0 to 65535", address)
	case !listen && port == 0:
		return errors.New("cannot connect to port 0")
	case !listen && name == "":
		return fmt.Errorf("%q: want a host too", address)
	}
	return nil
}

func isHost(name string, bracketed bool) bool {
	if address, err := netip.ParseAddr(name); err == nil {
		return address.Is6() == bracketed && !strings.ContainsFunc(address.Zone(), notInZone)
	}
	return !bracketed && host.MatchString(name)
}

// notInZone reports whether no interface has a name with r. A line of a log with such a
// zone could look like several.
func notInZone(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

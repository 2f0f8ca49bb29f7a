package proxy

import (
	"fmt"
	"regexp"
	"strings"
)

// A Spec describes a proxy of a [Set], in a rules file or over HTTP. Faults are in the
// language of fault.Parse; an empty one is no fault.
type Spec struct {
	Name     string `json:"name"`   // if empty, it is made of the listen address
	Listen   string `json:"listen"` // HOST:PORT or unix:PATH; port 0 is a free port
	Target   string `json:"target"` // HOST:PORT or unix:PATH
	Requests string `json:"requests,omitempty"`
	Replies  string `json:"replies,omitempty"`
	Connect  string `json:"connect,omitempty"`
	Seed     uint64 `json:"seed,omitempty"`

	// Unreachable is that of Proxy: "reset", "fin", or "" for reset.
	Unreachable Closing `json:"unreachable,omitempty"`
}

// String returns the Spec in one line.
func (s Spec) String() string {
	text := fmt.Sprintf("%s: %s to %s", s.Name, s.Listen, s.Target)
	for _, on := range Directions {
		if f := s.Fault(on); f != "" {
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

// Fault returns the text of a direction's fault.
func (s Spec) Fault(on Direction) string { return *s.fault(on) }

// A Status is the present state of a proxy of a [Set]. Listen is the address at which it
// listens, or did until it was disabled.
type Status struct {
	Spec
	Enabled     bool   `json:"enabled"`     // whether it listens
	Open        int    `json:"open"`        // number of open connections
	Connections uint64 `json:"connections"` // number of accepted connections
}

// A Change says what to change in a proxy. A nil field stays as it is. Target and
// Unreachable are for the connections that start later. A fault that is given starts
// anew, as in Proxy.SetFault; a seed that is given starts all of them anew.
type Change struct {
	Target   *string `json:"target,omitempty"`
	Requests *string `json:"requests,omitempty"`
	Replies  *string `json:"replies,omitempty"`
	Connect  *string `json:"connect,omitempty"`
	Seed     *uint64 `json:"seed,omitempty"`

	Unreachable *Closing `json:"unreachable,omitempty"`

	// NewOnly leaves the faults of open connections as they are.
	NewOnly bool `json:"new_only,omitempty"`

	// Enabled is whether the proxy listens: see Proxy.Disable.
	Enabled *bool `json:"enabled,omitempty"`
}

// A SpecError is returned for a field of a Spec that is not valid.
type SpecError struct {
	Field string // as in JSON and in a rules file
	Err   error
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *SpecError) Unwrap() error { return e.Err }

// A SpecsError is returned for one of several Specs.
type SpecsError struct {
	Index int    // of the Spec, from 0
	Field string // as in JSON and in a rules file
	Err   error  // a *SpecError, or that of net.Listen
}

func (e *SpecsError) Error() string { return fmt.Sprintf("proxies[%d]: %v", e.Index, e.Err) }
func (e *SpecsError) Unwrap() error { return e.Err }

// A UsedError is returned for a name or an address that an earlier Spec has.
type UsedError struct {
	Value string
	Index int // of the earlier Spec, from 0
}

func (e *UsedError) Error() string { return fmt.Sprintf("%s is used by proxies[%d]", e.Value, e.Index) }

// CheckSpecs returns a *SpecsError for the first Spec that is not valid, or has the name
// or the address of an earlier one. It fills in the names that are missing.
func CheckSpecs(specs []Spec) error {
	names, keys := make(map[string]int), make(map[string]int)
	for i := range specs {
		s := &specs[i]
		failed, _ := s.Check().(*SpecError)
		if first, ok := names[s.Name]; failed == nil && ok {
			failed = &SpecError{"name", &UsedError{s.Name, first}}
		}
		if first, ok := keys[s.key()]; failed == nil && ok {
			failed = &SpecError{"listen", &UsedError{s.Listen, first}}
		}
		if failed != nil {
			return &SpecsError{i, failed.Field, failed}
		}
		names[s.Name], keys[s.key()] = i, i
	}
	return nil
}

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
	// name matches what can be part of a URL's path without escapes.
	name    = regexp.MustCompile(`^[A-Za-z0-9_:\[][A-Za-z0-9._:\[\]-]*$`)
	notName = regexp.MustCompile(`[^A-Za-z0-9._:\[\]-]+`)
	host    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// nameOf returns a name made of an address: without the % before an IPv6 zone, and
// without the slashes of a path.
func nameOf(address string) string { return notName.ReplaceAllString(address, "-") }

// Check returns a *SpecError if a field is not valid. It fills in the name if that is
// missing.
func (s *Spec) Check() error {
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
		return &SpecError{"name", fmt.Errorf("%q: expected letters, digits and any of . _ : - [ ]", s.Name)}
	}
	for _, on := range Directions {
		if _, err := on.Parse(s.Fault(on)); err != nil {
			return &SpecError{string(on), err}
		}
	}
	if err := s.Unreachable.check(); err != nil {
		return &SpecError{"unreachable", err}
	}
	return nil
}

// key identifies the proxy of a Spec when rules are applied again: its address, unless
// that is any free port.
func (s *Spec) key() string {
	if network, _ := splitNetwork(s.Listen); network == "tcp" && strings.HasSuffix(s.Listen, ":0") {
		return s.Name + " " + s.Listen
	}
	return s.Listen
}

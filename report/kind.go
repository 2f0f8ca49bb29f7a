package report

import (
	"fmt"
	"strings"

	"github.com/bothends/bothends/load"
)

// A trait is a property of a Config that runs of one kind have in common.
type trait struct {
	name string
	of   func(*load.Config) any
	adds bool // it adds up over machines that share a run
}

var traits = []trait{
	{"loop", func(c *load.Config) any { return c.Loop }, false},
	{"arrival", func(c *load.Config) any { return c.Arrival }, false},
	{"requested rate", func(c *load.Config) any { return c.RateRequested }, true},
	{"connections", func(c *load.Config) any { return c.Connections }, true},
	{"exchanges per connection", func(c *load.Config) any { return c.PerConnection }, false},
	{"octets of the request", func(c *load.Config) any { return c.RequestOctets }, false},
	{"octets of the reply", func(c *load.Config) any { return c.ReplyOctets }, false},
	{"outcomes of success", func(c *load.Config) any { return strings.Join(c.Success, ", ") }, false},
	{"idle connections", func(c *load.Config) any { return c.Hold }, true},
	{"fault", func(c *load.Config) any { return c.Fault }, false},
	{"ramp", func(c *load.Config) any { return c.Ramp }, false},
	{"timeout", func(c *load.Config) any { return c.Timeout }, false},
	{"share of the fault", func(c *load.Config) any { return c.FaultShare }, false},
}

// A KindError is returned for two runs of different kinds.
type KindError struct {
	A, B    string // the runs' names
	Differs []string
}

func (e *KindError) Error() string {
	return fmt.Sprintf("%s and %s differ in kind: %s", e.A, e.B, strings.Join(e.Differs, "; "))
}

// sameKind returns nil or a *KindError. If parts, what adds up over machines may differ.
func sameKind(a, b Run, parts bool) error {
	var differs []string
	for _, t := range traits {
		if va, vb := t.of(&a.Config), t.of(&b.Config); va != vb && !(parts && t.adds) {
			differs = append(differs, fmt.Sprintf("%s %v and %v", t.name, shown(va), shown(vb)))
		}
	}
	if len(differs) == 0 {
		return nil
	}
	return &KindError{a.Name, b.Name, differs}
}

func shown(v any) any {
	text, ok := v.(string)
	switch {
	case !ok:
		return v
	case text == "":
		return "none"
	}
	return clean(text)
}

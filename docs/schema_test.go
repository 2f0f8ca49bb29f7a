package docs_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bothends/bothends/docs"
)

// A schema is the part of JSON Schema that the schemas use.
type schema struct {
	Schema               string `json:"$schema"`
	Ref                  string `json:"$ref"`
	Title, Description   string
	Type                 any
	Const                string
	Enum                 []string
	Format, Unit         string
	Properties           map[string]*schema
	Items                *schema
	AdditionalProperties any
	Defs                 map[string]*schema `json:"$defs"`
}

func readSchema(t *testing.T, name string) *schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal([]byte(docs.Page(name+"-schema")), &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return &s
}

// objects returns the schemas in s that have properties.
func (s *schema) objects() (all []*schema) {
	for _, o := range slices.Concat([]*schema{s}, slices.Collect(maps.Values(s.Defs))) {
		if o.Properties != nil {
			all = append(all, o)
		}
	}
	return all
}

// typeOf returns the type of a property with its unit, format and words. The figures of
// a distribution and its histogram are one type, of which the schema says more.
func (s *schema) typeOf(p *schema) string {
	if name, ok := strings.CutPrefix(p.Ref, "#/$defs/"); ok {
		if name == "spread" || name == "histogram" {
			return "distribution"
		}
		return s.typeOf(s.Defs[name])
	}
	var of string
	switch more, _ := p.AdditionalProperties.(map[string]any); {
	case more["$ref"] != nil:
		of = " of " + s.typeOf(&schema{Ref: more["$ref"].(string)})
	case p.Items != nil:
		of = " of " + s.typeOf(p.Items)
	}
	kind := p.Type
	if list, ok := kind.([]any); ok && p.Unit == "" {
		kind = list[0] // an empty list or map may be null
	}
	if p.Enum != nil {
		kind = p.Enum
	}
	return strings.Join(strings.Fields(fmt.Sprint(kind, of, " ", p.Format, " ", p.Unit)), " ")
}

// A name has one type and one unit in all that the commands print.
func TestNamesHaveOneType(t *testing.T) {
	type use struct{ schema, kind string }
	first := make(map[string]use)
	for _, name := range docs.Schemas() {
		s := readSchema(t, name)
		for _, o := range s.objects() {
			for property, p := range o.Properties {
				if property == "schema" {
					continue
				}
				now := use{name, s.typeOf(p)}
				before, ok := first[property]
				if !ok {
					first[property] = now
				} else if before.kind != now.kind && !nullable(before.kind, now.kind) {
					t.Errorf("%q is %s in %s and %s in %s", property, before.kind, before.schema, now.kind, now.schema)
				}
			}
		}
	}
	for property, kind := range map[string]string{"seconds": "number seconds", "octets": "integer octets", "time": "string date-time", "outcomes": "object of integer count"} {
		if first[property].kind != kind {
			t.Errorf("%q is %s, want %s", property, first[property].kind, kind)
		}
	}
}

// nullable reports whether the types differ in null alone.
func nullable(a, b string) bool {
	plain := strings.NewReplacer("[number null]", "number")
	return plain.Replace(a) == plain.Replace(b)
}

// A schema names itself, allows no further properties, and gives each number a unit.
func TestSchemasAreStrict(t *testing.T) {
	versions := map[string]int{"load": 2, "load-interval": 2, "load-record": 2, "compare": 2} // others are 1
	if len(docs.Schemas()) < 11 {
		t.Fatalf("schemas: %q", docs.Schemas())
	}
	for _, name := range docs.Schemas() {
		s := readSchema(t, name)
		if s.Schema != "https://json-schema.org/draft/2020-12/schema" || s.Title == "" || s.Description == "" || s.Properties["schema"].Const != fmt.Sprintf("bothends.%s/v%d", name, cmp.Or(versions[name], 1)) {
			t.Errorf("%s does not say what it is", name)
		}
		for _, o := range s.objects() {
			if o.AdditionalProperties != false {
				t.Errorf("%s: an object allows any property", name)
			}
			for property, p := range o.Properties {
				kind := s.typeOf(p)
				if words := strings.Fields(strings.Trim(kind, "[]")); len(words) == 1 && (words[0] == "number" || words[0] == "integer") {
					t.Errorf("%s: %s has no unit", name, property)
				}
			}
		}
	}
}

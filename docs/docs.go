// Package docs contains the pages of this directory that the command prints, so that
// an installed program has them.
package docs

import (
	"embed"
	"path"
	"strings"
)

//go:embed faults.md load-record.md proxy-api.yaml check schema/README.md schema/*.json
var pages embed.FS

// Page returns a page by its name: faults, load-record, proxy-api, schema, or NAME-schema
// for a NAME of Schemas. It returns "" if there is no such page.
func Page(name string) string {
	if schema, ok := strings.CutSuffix(name, "-schema"); ok {
		return page(path.Join("schema", schema+schemaSuffix))
	}
	return page(map[string]string{
		"faults":      "faults.md",
		"load-record": "load-record.md",
		"proxy-api":   "proxy-api.yaml",
		"schema":      "schema/README.md",
	}[name])
}

const schemaSuffix = ".schema.json"

// Schemas returns the names of the JSON Schemas of what the commands print, in
// alphabetical order. The schema NAME describes objects with "schema":"bothends.NAME/v1".
func Schemas() (names []string) {
	files, err := pages.ReadDir("schema")
	if err != nil {
		return nil
	}
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), schemaSuffix); ok {
			names = append(names, name)
		}
	}
	return names
}

// Check returns the page that lists the cases of check.
func Check() string { return page("check/README.md") }

// CheckCase returns the page about one case of check. The suite is "server" or
// "client". CheckCase returns "" if there is no such case.
func CheckCase(suite, name string) string { return page(path.Join("check", suite, name+".md")) }

func page(name string) string {
	text, err := pages.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(text)
}

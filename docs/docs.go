// Package docs contains the pages of this directory that the command prints, so that
// an installed program has them.
package docs

import (
	"embed"
	"path"
)

//go:embed faults.md load-record.md load-record.schema.json proxy-api.yaml check
var pages embed.FS

// Page returns a page by its name: faults, load-record, load-record-schema or
// proxy-api. It returns "" if there is no such page.
func Page(name string) string {
	return page(map[string]string{
		"faults":             "faults.md",
		"load-record":        "load-record.md",
		"load-record-schema": "load-record.schema.json",
		"proxy-api":          "proxy-api.yaml",
	}[name])
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

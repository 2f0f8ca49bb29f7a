// Package docs contains the pages of this directory that the command prints, so that
// an installed program has them.
package docs

import (
	"embed"
	"path"
)

//go:embed faults.md check
var pages embed.FS

// Faults returns the page about faults.
func Faults() string { return page("faults.md") }

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

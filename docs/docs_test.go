package docs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bothends/bothends/docs"
)

// The lines of code of a page are not folded: with four columns before them, and tabs of
// eight, they fit 80 columns.
func TestCodeFits(t *testing.T) {
	pages := map[string]string{"faults": docs.Page("faults"), "load-record": docs.Page("load-record"), "check": docs.Check()}
	for _, suite := range []string{"server", "client"} {
		files, err := filepath.Glob(filepath.Join("check", suite, "*.md"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			pages[file] = docs.CheckCase(suite, strings.TrimSuffix(filepath.Base(file), ".md"))
		}
	}
	for name, page := range pages {
		fenced := false
		for line := range strings.SplitSeq(page, "\n") {
			switch {
			case strings.HasPrefix(line, "```"):
				fenced = !fenced
				continue
			case fenced:
				line = "    " + line
			case !strings.HasPrefix(line, "    "):
				continue
			}
			columns := 0
			for _, r := range line {
				columns++
				if r == '\t' {
					columns = (columns + 7) / 8 * 8
				}
			}
			if columns > 80 {
				t.Errorf("%s: %d columns: %s", name, columns, line)
			}
		}
	}
}

func TestPages(t *testing.T) {
	for title, page := range map[string]string{
		"# Faults\n":                           docs.Page("faults"),
		"# A saved load run\n":                 docs.Page("load-record"),
		"{\n  \"$schema\"":                     docs.Page("load-record-schema"),
		"# What the commands print as":         docs.Page("schema"),
		"# The API of `bothends proxy --admin": docs.Page("proxy-api"),
		"# The cases of bothends check\n":      docs.Check(),
		"# reset\n\n*RST in the middle":        docs.CheckCase("server", "reset"),
		"# reset\n\n*RST instead of":           docs.CheckCase("client", "reset"),
	} {
		if !strings.HasPrefix(page, title) {
			t.Errorf("page starts with %.40q, want %q", page, title)
		}
	}
	if page := docs.Page("hole"); page != "" {
		t.Errorf("page that does not exist: %.40q", page)
	}
	if page := docs.Page("hole-schema"); page != "" {
		t.Errorf("schema that does not exist: %.40q", page)
	}
	if page := docs.CheckCase("server", "hole"); page != "" {
		t.Errorf("page of a case that does not exist: %.40q", page)
	}
}

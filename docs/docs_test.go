package docs_test

import (
	"strings"
	"testing"

	"github.com/bothends/bothends/docs"
)

func TestPages(t *testing.T) {
	for title, page := range map[string]string{
		"# Faults\n":                      docs.Page("faults"),
		"# A saved load run\n":            docs.Page("load-record"),
		"{\n  \"$schema\"":                docs.Page("load-record-schema"),
		"# What the commands print as":    docs.Page("schema"),
		"# What `bothends proxy --admin":  docs.Page("proxy-api"),
		"# The cases of bothends check\n": docs.Check(),
		"# reset\n\n*RST in the request":  docs.CheckCase("server", "reset"),
		"# reset\n\n*RST in place of":     docs.CheckCase("client", "reset"),
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

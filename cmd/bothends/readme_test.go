package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each command line of README.md is one that the program takes, and each link leads to
// a file. test/readme.sh also runs them all.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^    \$ bothends (.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(lines) < 10 {
		t.Errorf("README.md has %d command lines of bothends", len(lines))
	}
	for _, line := range lines {
		args, _, _ := strings.Cut(line[1], " -- ")
		var out, errs bytes.Buffer
		if code := run(append(strings.Fields(args), "--help"), &out, &errs); code != 0 {
			t.Errorf("bothends %s: exit %d: %s", line[1], code, &errs)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join("..", "..", link[1])); err != nil {
			t.Errorf("a link: %v", err)
		}
	}
}

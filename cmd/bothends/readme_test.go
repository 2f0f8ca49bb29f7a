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

// CONTRIBUTING.md lists each script under test/. The gate runs all of them, but for those
// that CONTRIBUTING.md names as longer.
func TestScriptsAreListed(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	contributing, gate := read("CONTRIBUTING.md"), read(".ci/run")
	_, excepted, _ := strings.Cut(contributing, "`.ci/run` runs the scripts in test/, except ")
	excepted, _, _ = strings.Cut(excepted, ".\n\n")
	scripts, err := filepath.Glob(filepath.Join(root, "test", "*.sh"))
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	for _, script := range scripts {
		name := "test/" + filepath.Base(script)
		if !strings.Contains(contributing, "| `"+name+"` |") {
			t.Errorf("CONTRIBUTING.md does not list %s", name)
		}
		runs, except := strings.Contains(gate, "\n"+name), strings.Contains(excepted, strings.TrimSuffix(filepath.Base(script), ".sh"))
		if runs == except {
			t.Errorf("%s: .ci/run has it: %v, CONTRIBUTING.md excepts it: %v", name, runs, except)
		}
	}
	for _, listed := range regexp.MustCompile("`((test|bench)/[a-z-]+\\.sh)`").FindAllStringSubmatch(contributing, -1) {
		if _, err := os.Stat(filepath.Join(root, listed[1])); err != nil {
			t.Error(err)
		}
	}
}

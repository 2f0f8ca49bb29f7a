package check_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/format"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/internal/need"
)

const docs = "../docs/check"

// pages returns the page that each case should have, below docs, and its title.
func pages() map[string]string {
	titles := make(map[string]string)
	for _, c := range check.ServerCases() {
		titles["server/"+c.Name+".md"] = c.Title
	}
	for _, c := range check.ClientCases() {
		titles["client/"+c.Name+".md"] = c.Title
	}
	return titles
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every case has its page, every page its case, and both the same title.
func TestPages(t *testing.T) {
	titles := pages()
	var found []string
	for _, pattern := range []string{"server/*", "client/*"} {
		paths, err := filepath.Glob(filepath.Join(docs, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			found = append(found, filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path))
		}
	}
	slices.Sort(found)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(titles)), found); diff != "" {
		t.Fatal(diff)
	}
	for page, title := range titles {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		want := fmt.Sprintf("# %s\n\n*%s*\n\n## What the case does\n", name, title)
		text := read(t, filepath.Join(docs, page))
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s does not start with %q", page, want)
		}
		command := "bothends check "
		if strings.HasPrefix(page, "client/") {
			command += "client "
		}
		for _, part := range []string{"\n## Why it matters\n", "\n## In code\n", "\n## Try it\n\n    " + command, "--only " + name + " "} {
			if !strings.Contains(strings.ReplaceAll(text, "\n", " \n")+" ", strings.ReplaceAll(part, "\n", " \n")) {
				t.Errorf("%s has no %q", page, part)
			}
		}
	}
}

// The tables have the cases in the order in which they are run.
func TestTables(t *testing.T) {
	var want []string
	for _, c := range check.ServerCases() {
		want = append(want, fmt.Sprintf("| [%s](server/%[1]s.md) | %s |", c.Name, c.Title))
	}
	for _, c := range check.ClientCases() {
		want = append(want, fmt.Sprintf("| [%s](client/%[1]s.md) | %s |", c.Name, c.Title))
	}
	got := regexp.MustCompile(`(?m)^\| \[.*$`).FindAllString(read(t, docs+"/README.md"), -1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func allDocs(t *testing.T) []string {
	paths := []string{docs + "/README.md", docs + "/real-servers.md"}
	for page := range pages() {
		paths = append(paths, filepath.Join(docs, page))
	}
	return paths
}

func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	links := 0
	for _, path := range allDocs(t) {
		for _, to := range link.FindAllStringSubmatch(read(t, path), -1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), to[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if links < len(pages()) {
		t.Errorf("%d links", links)
	}
}

// snippets returns the code of the pages in a language, by page.
func snippets(t *testing.T, language string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	fence := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$")
	for page := range pages() {
		for i, s := range fence.FindAllStringSubmatch(read(t, filepath.Join(docs, page)), -1) {
			found[fmt.Sprintf("%s, snippet %d", page, i+1)] = s[1]
		}
	}
	if len(found) == 0 {
		t.Fatalf("no snippets of %s", language)
	}
	return found
}

// Each page has code, in a language that is tested below.
func TestSnippetLanguages(t *testing.T) {
	for page := range pages() {
		fences := regexp.MustCompile("(?m)^```(.*)$").FindAllStringSubmatch(read(t, filepath.Join(docs, page)), -1)
		if len(fences) < 2 || len(fences)%2 != 0 {
			t.Fatalf("%s: %d fences", page, len(fences))
		}
		for i := 0; i < len(fences); i += 2 {
			if !slices.Contains([]string{"go", "python", "c"}, fences[i][1]) || fences[i+1][1] != "" {
				t.Errorf("%s: %q", page, fences)
			}
		}
	}
}

// Go code is declarations, or statements of a function, and is formatted.
func TestGoSnippets(t *testing.T) {
	for where, code := range snippets(t, "go") {
		formatted, err := format.Source([]byte(code))
		if err != nil {
			t.Errorf("%s: %v", where, err)
		} else if diff := cmp.Diff(string(formatted), code); diff != "" {
			t.Errorf("%s is not formatted: %s", where, diff)
		}
	}
}

func TestPythonSnippets(t *testing.T) {
	python := need.Program(t, "python3", "python3")
	text, err := json.Marshal(snippets(t, "python"))
	if err != nil {
		t.Fatal(err)
	}
	const parse = "import ast, json, sys\nfor where, code in json.load(sys.stdin).items(): ast.parse(code, where)"
	cmd := exec.CommandContext(t.Context(), python, "-c", parse)
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCSnippets(t *testing.T) {
	cc := need.Program(t, "cc", "gcc")
	for where, code := range snippets(t, "c") {
		cmd := exec.CommandContext(t.Context(), cc, "-fsyntax-only", "-Werror=implicit-function-declaration", "-xc", "-")
		cmd.Stdin = strings.NewReader("#include <errno.h>\n#include <poll.h>\n#include <stdio.h>\n" +
			"#include <sys/socket.h>\n#include <unistd.h>\n" + code)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", where, err, out)
		}
	}
}

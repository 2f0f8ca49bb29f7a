package explain_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/explain"
)

var update = flag.Bool("update", false, "write docs/lessons anew")

// docs/lessons contains the output of each lesson, from one run on Linux. The numbers
// are those of that run. The rest must be the same as the lesson prints now. If this
// test fails: go test ./explain -run LessonsInDocs -update
func TestLessonsInDocs(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the pages are of Linux")
	}
	port := uint16(0) // numbers are not compared
	if *update {
		port = bothends.DefaultPort // as in the command
	}
	pages := make(map[string]string)
	var index strings.Builder
	index.WriteString("# The lessons\n\nWhat `bothends explain LESSON` printed on a Linux machine.\n\n")
	for _, l := range explain.Lessons() {
		steps, err := l.Run(t.Context(), explain.Setting{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		if *update && l.Name == "exchange" && strings.Contains(steps[0].Why, "was in use") {
			t.Fatalf("port %d is taken", port)
		}
		var out bytes.Buffer
		if err := l.Print(&out, steps, true, explain.Style{}); err != nil {
			t.Fatal(err)
		}
		pages[l.Name+".md"] = fmt.Sprintf("# %s\n\n    $ bothends explain %s\n\n```\n%s```\n", l.Name, l.Name, &out)
		fmt.Fprintf(&index, "- [%s](%s.md): %s\n", l.Name, l.Name, l.Title)
	}
	pages["README.md"] = index.String()

	dir := filepath.Join("..", "docs", "lessons")
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(pages) {
		t.Errorf("docs/lessons has %d pages, want %d", len(entries), len(pages))
	}
	for name, fresh := range pages {
		kept, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(words(string(kept)), words(fresh)); diff != "" {
			t.Errorf("docs/lessons/%s is stale; go test ./explain -run LessonsInDocs -update\n%s", name, diff)
		}
	}
}

// words returns a text without numbers and line breaks.
func words(text string) []string {
	return strings.Fields(regexp.MustCompile(`[0-9]+(\.[0-9]+)?`).ReplaceAllString(text, "N"))
}

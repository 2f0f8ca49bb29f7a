package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "write the generated files anew")

// The command reference and the manual pages in docs/ are what the command table
// says. When this fails: go test ./cmd/bothends -run Generated -update
func TestGeneratedFiles(t *testing.T) {
	root := newRoot(io.Discard, io.Discard)
	root.InitDefaultHelpCmd()
	disableTags(root)
	fresh := t.TempDir()
	commands, man := filepath.Join(fresh, "commands"), filepath.Join(fresh, "man")
	for _, dir := range []string{commands, man} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := doc.GenMarkdownTree(root, commands); err != nil {
		t.Fatal(err)
	}
	if err := doc.GenManTree(root, manHeader(), man); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"commands", "man"} {
		kept := filepath.Join("..", "..", "docs", dir)
		if *update {
			replace(t, filepath.Join(fresh, dir), kept)
		}
		if diff := cmp.Diff(tree(t, kept), tree(t, filepath.Join(fresh, dir))); diff != "" {
			t.Errorf("docs/%s is stale; go test ./cmd/bothends -run Generated -update\n%s", dir, diff)
		}
	}
}

// disableTags leaves the day out of the pages.
func disableTags(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	for _, c := range cmd.Commands() {
		disableTags(c)
	}
}

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(bytes.TrimSpace(text))
	}
	return files
}

func replace(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// What the commands print fits 80 columns: each help text, each lesson, a traced
// exchange, check and load.
func TestOutputFits80Columns(t *testing.T) {
	t.Parallel()
	addr := serveHere(t)
	commands := []string{
		"explain all -p 0", "explain --list", "client " + addr + " --trace",
		"check --list", "check client --list", "check " + addr + " --silence 0 --many 2 --times 2", "load -n 100", "load -n 100 -r 10000",
	}
	for _, cmd := range allCommands(newRoot(io.Discard, io.Discard)) {
		commands = append(commands, strings.TrimPrefix(cmd.CommandPath(), "bothends")+" --help")
	}
	for _, command := range commands {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			if code := run(strings.Fields(command), &out, &errs); code != 0 {
				t.Errorf("exit %d: %s", code, &errs)
			}
			for line := range strings.Lines(out.String() + errs.String()) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		all = append(all, allCommands(c)...)
	}
	return all
}

// A list is for other programs too: a line has a lesson, or a case, and none is folded.
func TestListHasALineEach(t *testing.T) {
	for _, command := range []string{"explain --list", "check --list", "check client --list"} {
		var out bytes.Buffer
		run(strings.Fields(command), &out, io.Discard)
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, " ") {
				t.Errorf("bothends %s: folded: %q", command, line)
			}
		}
	}
}

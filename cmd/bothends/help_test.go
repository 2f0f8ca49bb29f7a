package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// The pages of docs are part of the program, as text of 80 columns.
func TestHelpPages(t *testing.T) {
	for command, want := range map[string]string{
		"help faults":                 "\n  reset:10        sends 10 octets, and RST when they are acknowledged\n",
		"help load-record":            "\n    # Python: pip install hdrhistogram\n",
		"help check":                  "\n  reset          RST in the middle of the request, and after it\n",
		"check --explain octets":      "\nWhy it matters\n",
		"check client --explain hang": "\nWhy it matters\n",
		"help load-record-schema":     "\n  \"$schema\"",
		"help exchange-schema":        "\"bothends.exchange/v1\"",
		"help schema":                 "\n  client -o json ",
		"help proxy-api":              "\nopenapi: ",
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(command), &out, &errs); code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit %d, lacks %q\n%s%s", command, code, want, &out, &errs)
		}
		if strings.Contains(command, "-schema") || strings.Contains(command, "api") {
			continue // for programs
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", command, n, line)
			}
		}
	}
}

func TestPageText(t *testing.T) {
	const page = "# A `page`\n\nSome *short* text with [a link](b.md),\nand `2*3*4`.\n\n" +
		"| name | what it is |\n|---|---|\n| `a` | the first of all of them |\n| bcd | |\n\n" +
		"- one\n  item\n- two\n\n```sh\na  long line of code in a fence\n```\n"
	const want = `A page

Some short text with a
link, and 2*3*4.

  name  what it is
  a     the first of all
        of them
  bcd

- one item
- two

    a  long line of code
      in a fence
`
	if got := pageText(page, 24); got != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
}

// On a narrow terminal, help is in its columns, with all its words.
func TestHelpOfFewColumns(t *testing.T) {
	words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	for _, cmd := range allCommands(newRoot(io.Discard, io.Discard)) {
		wide, narrow := helpText(cmd, 80), helpText(cmd, 40)
		for line := range strings.Lines(narrow) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 40 && len(strings.Fields(line)) > 3 {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		if words(wide) != words(narrow) {
			t.Errorf("%s: in 40 columns, words are missing", cmd.CommandPath())
		}
	}
}

// Help shows each flag once, in the groups of its command.
func TestFlagGroups(t *testing.T) {
	title := regexp.MustCompile(`^([A-Z][a-z ]+:)\n$`)
	for _, cmd := range allCommands(newRoot(io.Discard, io.Discard)) {
		groups := cmd.Annotations[flagGroups]
		if groups == "" {
			continue
		}
		cmd.InitDefaultHelpFlag()
		shown := ""
		for line := range strings.Lines(helpText(cmd, maxColumns)) {
			if heading := title.FindStringSubmatch(line); heading != nil {
				shown += "\n" + heading[1]
			} else if flag := flagLine.FindStringSubmatch(line); flag != nil {
				shown += " " + flag[1]
			}
		}
		if !strings.HasSuffix(shown, "\n"+groups+" help") {
			t.Errorf("%s: groups in help:%s\nwant:\n%s", cmd.CommandPath(), shown, groups)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if n := strings.Count(shown+" ", " "+f.Name+"\n") + strings.Count(shown+" ", " "+f.Name+" "); n != 1 {
				t.Errorf("%s --%s: %d times in help", cmd.CommandPath(), f.Name, n)
			}
		})
	}
}

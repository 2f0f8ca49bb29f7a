package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bothends/bothends/docs"
	"github.com/bothends/bothends/transcript"
)

// newHelp returns the help command, which replaces the one of cobra. It also prints the
// pages of docs.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|PAGE]",
		Short: "Print help about a command, or a page about a subject",
		Long: `help prints the help of a command. For check, it also lists the cases.

The pages are:

    faults       the faults of --fault and of proxy
    load-record  the file of load --save, and the JSON of load and report
    proxy-api    the HTTP API of proxy --admin, in OpenAPI
    schema       what each command prints as JSON
    NAME-schema  the JSON Schema of one of these, such as exchange-schema`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return append(commandNames(cmd.Root()), helpPages()...), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 1 && slices.Contains(helpPages(), args[0]) {
				return printPage(out, docs.Page(args[0]), isMarkdown(args[0]))
			}
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownHelp(target, strings.Join(args, " "), rest)
			}
			target.InitDefaultHelpFlag()
			if err := target.Help(); err != nil || target.CommandPath() != "bothends check" {
				return err
			}
			return printPage(out, "\n"+docs.Check(), true)
		},
	}
}

// printPage prints a page of docs. If markdown is true, it converts the page from Markdown
// to text.
func printPage(out io.Writer, page string, markdown bool) error {
	if markdown {
		page = pageText(page, columns(out))
	}
	if _, err := io.WriteString(out, page); err != nil {
		return outputFailure(err)
	}
	return nil
}

// printHelp prints the help of a command. Cobra does not accept an error from it, so run
// checks whether the output has failed.
func printHelp(cmd *cobra.Command, _ []string) {
	out := cmd.OutOrStdout()
	io.WriteString(out, helpText(cmd, columns(out)))
}

func helpText(cmd *cobra.Command, width int) string {
	if help := cmd.Flags().Lookup("help"); help != nil {
		help.Usage = "this help"
	}
	var b strings.Builder
	b.WriteString(reflow(cmd.Long, width))
	section := func(title, body string) {
		if body != "" {
			fmt.Fprintf(&b, "\n%s:\n%s", title, body)
		}
	}
	var usage string
	if cmd.Runnable() && cmd.HasParent() {
		usage = "  " + cmd.UseLine() + "\n"
	}
	if cmd.HasAvailableSubCommands() {
		usage += "  " + cmd.CommandPath() + " COMMAND\n"
	}
	section("Usage", transcript.Fold(usage, width))
	if cmd.HasExample() {
		section("Examples", transcript.Fold(cmd.Example+"\n", width))
	}
	section("Commands", commandList(cmd, width))
	if cmd.Annotations[flagGroups] == "" {
		section("Flags", flagList(cmd.LocalFlags(), width))
	} else {
		b.WriteString("\n" + groupedFlags(cmd, width))
	}
	return b.String()
}

// flagGroups is the annotation of a command whose help shows its flags in groups. Use it
// for commands with more than a dozen flags. Each line of the value has the title of a
// group, a colon, and the names of its flags in their order. Other flags, such as --help,
// follow the last group.
const flagGroups = "flag groups"

// flagLine matches the first line of a flag in the help.
var flagLine = regexp.MustCompile(`^  (?:-., |    )--(\S+)`)

// groupedFlags returns the help of a command's flags in the groups of flagGroups.
func groupedFlags(cmd *cobra.Command, width int) string {
	titles := make(map[string]string) // by the first flag of the group
	ordered := pflag.NewFlagSet("", pflag.ContinueOnError)
	ordered.SortFlags = false
	for line := range strings.SplitSeq(cmd.Annotations[flagGroups], "\n") {
		title, list, _ := strings.Cut(line, ":")
		names := strings.Fields(list)
		titles[names[0]] = title
		for _, name := range names {
			ordered.AddFlag(cmd.Flags().Lookup(name))
		}
	}
	ordered.AddFlagSet(cmd.LocalFlags())
	var b strings.Builder
	for line := range strings.Lines(flagList(ordered, width)) {
		if flag := flagLine.FindStringSubmatch(line); flag != nil && titles[flag[1]] != "" {
			b.WriteString(titles[flag[1]] + ":\n")
		}
		b.WriteString(line)
	}
	return b.String()
}

// flagList returns the help of flags in lines of at most width columns.
func flagList(flags *pflag.FlagSet, width int) string {
	return flags.FlagUsagesWrapped(width + 1) // its lines are shorter than its argument
}

func commandList(cmd *cobra.Command, width int) string {
	var b strings.Builder
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			line := fmt.Sprintf("  %-*s %s", c.NamePadding(), c.Name(), c.Short)
			b.WriteString(transcript.FoldLine(line, width, c.NamePadding()+3) + "\n")
		}
	}
	return b.String()
}

// reflow returns text in lines of at most width columns. The lines of text have at most 80
// columns. Indented lines are not joined.
func reflow(text string, width int) string {
	var b strings.Builder
	paragraph := ""
	flush := func() {
		if paragraph != "" {
			b.WriteString(transcript.FoldLine(paragraph, width, 0) + "\n")
		}
		paragraph = ""
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case width >= maxColumns, line == "", strings.HasPrefix(line, " "):
			flush()
			b.WriteString(transcript.Fold(line+"\n", width))
		default:
			paragraph = strings.TrimPrefix(paragraph+" "+line, " ")
		}
	}
	flush()
	return b.String()
}

// describeCompletion replaces the texts of cobra's completion command.
func describeCompletion(root *cobra.Command) {
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	completion.Short = "Print a script that completes commands and flags in a shell"
	completion.Long = "completion prints a script for a shell. With it, the Tab key completes commands,\nflags and lessons."
	completion.Use = "completion SHELL"
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = func(cmd *cobra.Command, args []string) error {
		failed := usageError(cmd, fmt.Errorf("expected a shell: %s", either(commandNames(cmd))))
		if len(args) > 0 {
			failed.hint = didYouMean(args[0], commandNames(cmd), "bothends completion ")
		}
		return failed
	}
	how := map[string]string{
		"bash":       "  bothends completion bash > /etc/bash_completion.d/bothends",
		"fish":       "  bothends completion fish > ~/.config/fish/completions/bothends.fish",
		"powershell": "  bothends completion powershell | Out-String | Invoke-Expression",
		"zsh":        `  bothends completion zsh > "${fpath[1]}/_bothends"`,
	}
	for _, name := range slices.Sorted(maps.Keys(how)) {
		c, _, err := completion.Find([]string{name})
		if err != nil || c == completion {
			continue
		}
		c.Short = "Print the script for " + name
		c.Long = name + " prints the completion script for " + name + ". Start a new shell to use it."
		c.Example = how[name]
		c.Args = noArgs
	}
}

// noArgs is like cobra.NoArgs, but returns an error of usageError.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0]))
	}
	return nil
}

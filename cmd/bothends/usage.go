package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// rootUsage returns the usage of bothends without a known command: server and client
// first, then all other commands.
func rootUsage(root *cobra.Command) string {
	others := slices.DeleteFunc(commandNames(root), func(name string) bool { return name == "server" || name == "client" })
	return "bothends server|client [host]\n       bothends " + strings.Join(others, "|")
}

func commandNames(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return names
}

func usageError(cmd *cobra.Command, err error) *failure {
	f := &failure{code: exitUsage, err: err, usage: cmd.UseLine()}
	if !cmd.HasParent() {
		f.usage = rootUsage(cmd)
	}
	return f
}

func unknownCommand(root *cobra.Command, name string) *failure {
	f := usageError(root, fmt.Errorf("unknown command %q", name))
	f.hint = didYouMean(name, commandNames(root), "bothends ")
	return f
}

// unknownHelp returns the error of help. The hint is a command line that help accepts: for
// a page, for a command, or for a subcommand of parent.
func unknownHelp(parent *cobra.Command, name string, rest []string) *failure {
	f := usageError(parent.Root(), fmt.Errorf("unknown command or page %q", name))
	names, prefix := commandNames(parent), "bothends help "
	if parent.HasParent() {
		prefix += parent.Name() + " "
	} else {
		names = append(names, helpPages()...)
	}
	if len(rest) == 1 {
		f.hint = didYouMean(rest[0], names, prefix)
	}
	return f
}

// flagError is usageError for an error of pflag. It replaces the text, which contains names
// of Go packages and types.
func flagError(cmd *cobra.Command, err error) *failure {
	if args := cmd.Flags().Args(); !cmd.HasParent() && len(args) > 0 {
		return unknownCommand(cmd, args[0]) // the flags belong to it and not to the root
	}
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown)
	case errors.As(err, &noValue):
		err = needsValue(noValue.GetFlag())
	case errors.As(err, &invalid):
		f, value := invalid.GetFlag(), invalid.GetValue()
		failed := usageError(cmd, badValue(f, value, invalid.Unwrap()))
		if name, _, _ := strings.Cut(f.Shorthand+value, "="); f.Shorthand != "" && cmd.Flags().Lookup(name) != nil {
			failed.hint = "did you mean: --" + name // -port is -p with the value ort
		}
		return failed
	case errors.As(err, &syntax):
		err = fmt.Errorf("%q is not a flag", syntax.GetSpecifiedFlag())
	}
	return usageError(cmd, err)
}

// unknownFlag returns the error for an unknown flag. The hint also covers a long flag with
// a single dash, which Go's tools accept.
func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError) *failure {
	name, shown := unknown.GetSpecifiedName(), "--"+unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		shown = "-" + name
		name, _, _ = strings.Cut(short, "=")
		if len(name) > 1 {
			shown = "-" + name
		}
	}
	f := usageError(cmd, fmt.Errorf("unknown flag %s", shown))
	if len(name) > 1 {
		f.hint = didYouMean(name, flagNames(cmd), "--")
	}
	return f
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

func needsValue(f *pflag.Flag) error {
	name, _ := pflag.UnquoteUsage(f)
	return fmt.Errorf("--%s needs a value: %s", f.Name, name)
}

// badValue returns the error of a flag's value. It replaces the errors of pflag's types,
// which contain names of Go packages.
func badValue(f *pflag.Flag, value string, cause error) error {
	switch f.Value.Type() {
	case "bool":
		cause = errors.New("must be true or false")
	case "uint64":
		cause = errors.New("must be a whole number from 0 to 18446744073709551615")
	case "stringSlice":
		cause = errors.New("must be names, separated by commas")
	case "SPEC": // its error contains the value
		return fmt.Errorf("--%s %s", f.Name, strings.TrimPrefix(cause.Error(), "fault "))
	}
	return fmt.Errorf("--%s %q: %w", f.Name, value, cause)
}

// didYouMean returns the hint for a name that does not exist, or "" if none of names
// is similar.
func didYouMean(name string, names []string, prefix string) string {
	name = strings.ToLower(name)
	like, least := "", 3
	if len(name) < 4 {
		least = 2
	}
	for _, n := range names {
		d := distance(name, n)
		switch {
		case len(name) > 1 && strings.HasPrefix(n, name):
			d = min(d, 1)
		case len(n) > 2 && strings.HasPrefix(name, n) && !strings.Contains(name, " "):
			d = min(d, 2)
		}
		if d < least {
			like, least = n, d
		}
	}
	if like == "" {
		return ""
	}
	return "did you mean: " + prefix + like
}

// distance returns the number of letters to add, remove, change or swap with their
// neighbor to get from a to b.
func distance(a, b string) int {
	var before, last []int
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := range len(a) {
		row := []int{i + 1}
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			d := min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row = append(row, d)
		}
		before, last = last, row
	}
	return last[len(b)]
}

package main

import (
	"bytes"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// errorSchema names the form of a failure as JSON.
const errorSchema = "bothends.error/v1"

// object returns the failure as one line of JSON, or "" if there is nothing to print.
func (f *failure) object() string {
	if f.text() == "" {
		return ""
	}
	o := struct {
		Schema string `json:"schema"`
		Error  string `json:"error"`
		Hint   string `json:"hint,omitempty"`
		Usage  string `json:"usage,omitempty"`
		Exit   int    `json:"exit"`
	}{Schema: errorSchema, Hint: f.hint, Usage: f.usage, Exit: f.code}
	if f.err != nil {
		o.Error = f.err.Error()
	}
	var b bytes.Buffer
	if printJSON(&b, o) != nil { // it has no value that JSON lacks
		return ""
	}
	return b.String()
}

// wantsJSON reports whether the command line asked for JSON when cmd failed with f. For a
// command that does not exist, cmd is the root.
func wantsJSON(cmd *cobra.Command, args []string, f *failure) bool {
	output := cmd.Flags().Lookup("output")
	switch {
	case output == nil && cmd.HasParent():
		return false
	case output != nil && output.Changed:
		return output.Value.String() == "json"
	}
	if format, given := outputIn(args); given && f.unparsed {
		return format == "json"
	}
	return os.Getenv("BOTHENDS_OUTPUT") == "json"
}

// outputIn returns the value of --output in the arguments of a command line that could
// not be parsed. The last one counts, as for a command line that can be.
func outputIn(args []string) (format string, given bool) {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		value, isOutput := strings.CutPrefix(arg, "--output")
		if !isOutput {
			value, isOutput = strings.CutPrefix(arg, "-o")
		}
		switch next, hasEquals := strings.CutPrefix(value, "="); {
		case !isOutput:
		case hasEquals:
			format, given = next, true
		case value == "" && i+1 < len(args):
			format, given = args[i+1], true
		case !strings.HasPrefix(arg, "--") && value != "": // -ojson
			format, given = value, true
		}
	}
	return format, given
}

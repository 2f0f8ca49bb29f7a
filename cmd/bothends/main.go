// Command bothends implements both ends of a fixed-length exchange over TCP: a server and
// a client that print what happens at each step. It also has lessons about TCP, fault
// injection, and load measurement.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program except the exit.
func run(args []string, stdout, stderr io.Writer) int {
	// If the reader of the output leaves, a write fails, but the program continues. SIGPIPE
	// is caught and not ignored, because the commands that check starts would inherit that.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	stop := newStopper()
	defer stop.close()
	out, errs := newStream(stdout, stop.stopped), newStream(stderr, stop.stopped)
	root := newRoot(out, errs)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(stop.context(context.Background()))
	if lost := out.failed(); err == nil && lost != nil {
		err = outputFailure(lost) // an error of help, which cobra does not return
	}
	if err == nil {
		return 0
	}
	failed := failureOf(cmd, err)
	if sig := stop.signal(); sig != nil && errors.Is(err, errNotRead) {
		failed = &failure{code: exitCode(sig)}
	}
	text := failed.text()
	if wantsJSON(cmd, args, failed) {
		text = failed.object()
	}
	printFailure(errs, text)
	return failed.code
}

func failureOf(cmd *cobra.Command, err error) *failure {
	var failed *failure
	var output *fs.PathError
	switch {
	case errors.As(err, &failed):
		return failed
	case errors.As(err, &output), errors.Is(err, errNotRead): // of text that cobra prints
		return outputFailure(err)
	}
	return usageError(cmd, err) // an error of cobra: unknown flags and arguments
}

// The exit codes that do not depend on the outcome of an exchange.
const (
	exitFailure = 1 // any other error
	exitUsage   = 2 // invalid command line
	exitNetwork = 3 // the address is not available, as for refused and unreachable
)

// A failure is an error in the form in which the user sees it, with the exit code.
type failure struct {
	code  int
	err   error // if nil, no error is printed
	hint  string
	usage string

	unparsed bool // the flags could not be parsed
}

func (f *failure) Error() string { return strings.TrimSuffix(f.text(), "\n") }
func (f *failure) Unwrap() error { return f.err }

func (f *failure) text() string {
	var b strings.Builder
	if f.err != nil {
		fmt.Fprintf(&b, "bothends: %v\n", f.err)
	}
	if f.hint != "" {
		fmt.Fprintf(&b, "hint: %s\n", f.hint)
	}
	if f.usage != "" {
		fmt.Fprintf(&b, "usage: %s\n", f.usage)
	}
	return b.String()
}

// printFailure writes text to standard error. If standard error is not read, it returns
// after 1 s, so that the program can end.
func printFailure(stderr io.Writer, text string) {
	if text == "" {
		return
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		io.WriteString(stderr, text)
	}()
	select {
	case <-printed:
	case <-time.After(time.Second):
	}
}

// outputFailure returns the failure for an error of standard output.
func outputFailure(err error) *failure {
	return &failure{code: exitFailure, err: fmt.Errorf("standard output: %w", reasonOf(err))}
}

// reasonOf returns err without the name of the file.
func reasonOf(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "bothends",
		Short: "Both ends of a fixed-length exchange over TCP",
		Long: `bothends implements both ends of a fixed-length exchange over TCP and reports
what happens at each step.

The client connects, sends a request, and reads a reply of a fixed length. Then
both ends close the connection. By default, a message has 16 octets, and the
port is 1060.

Every flag can also be set in the environment. For example, --message-size is
BOTHENDS_MESSAGE_SIZE. A flag on the command line takes precedence.

"bothends help COMMAND" describes a command. "bothends help" also prints these
pages: faults, load-record, proxy-api, schema (the JSON of each command), and
NAME-schema for the JSON Schemas.

With -o json, a failure is one JSON object on standard error.

SIGINT, SIGTERM or SIGHUP ends any command within one second, after it has saved
its results. server and proxy also wait for open connections, at most --drain.
A second signal ends the program at once. The same signal within half a second
counts as one. The exit status is 130, 143 or 129, unless the help of the
command gives another one. It is 1 if standard output cannot be written. Only
server and proxy continue without it. A file that a command writes has either
its old content or the complete new content.`,
		Example: `  bothends explain            one exchange on this machine, step by step
  bothends server 127.0.0.1   answer exchanges until stopped
  bothends client 127.0.0.1   make one exchange`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError(cmd, errors.New("no command given"))
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
	}
	root.Version = versionLine(buildInfo())
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "version, commit and Go version") // cobra would add -v to its own flag
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		failed := flagError(cmd, err)
		failed.unparsed = true
		return failed
	})
	root.SetHelpFunc(printHelp)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newServer(), newClient(), newExplain(), newCheck(), newProxy(), newLoad(), newReport(), newVersion(), newMan())
	root.InitDefaultCompletionCmd()
	describeCompletion(root)
	return root
}

// flagsFromEnv sets flags that are not on the command line from BOTHENDS_FLAG_NAME. An
// empty variable has no effect. An empty FILE on the command line is an error, because it
// may come from a script whose variable is not set. flagsFromEnv does not change pflag's
// Changed.
func flagsFromEnv(cmd *cobra.Command) (err error) {
	flags := cmd.Flags()
	flags.Visit(func(f *pflag.Flag) {
		if what, _ := pflag.UnquoteUsage(f); what == "FILE" && f.Value.String() == "" && err == nil {
			err = usageError(cmd, needsValue(f))
		}
	})
	family := flags.Changed("ipv4") || flags.Changed("ipv6")
	flags.VisitAll(func(f *pflag.Flag) {
		name := "BOTHENDS_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := os.Getenv(name)
		if f.Name == "port" && strings.Contains(value, "://") {
			return // Kubernetes sets BOTHENDS_PORT to a URL for a Service named bothends
		}
		if value == "" || f.Changed || f.Name == "help" || f.Name == "version" || err != nil ||
			family && (f.Name == "ipv4" || f.Name == "ipv6") {
			return
		}
		if setErr := f.Value.Set(value); setErr != nil {
			err = usageError(cmd, fmt.Errorf("%s in the environment: %w", name, badValue(f, value, setErr)))
		}
	})
	return err
}

// Command bothends is both ends of a fixed-length exchange over TCP: a server and
// a client that say what happened at each step, and lessons on what TCP did.
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
	// A reader that leaves is a failed write, not the end of the program. Caught and not
	// ignored: the commands that check starts would inherit that.
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
		err = outputFailure(lost) // of help: cobra does not return it
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
	case errors.As(err, &output), errors.Is(err, errNotRead): // what cobra prints itself
		return outputFailure(err)
	}
	return usageError(cmd, err) // cobra's own: unknown flags and arguments
}

// The exit codes that are no exchange's outcome.
const (
	exitFailure = 1 // something that is neither of the others
	exitUsage   = 2
	exitNetwork = 3 // the address is not to be had, as for refused and unreachable
)

// A failure is an error as the user gets it, with the exit code.
type failure struct {
	code  int
	err   error // nil prints nothing
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

// printFailure does not wait for long: a standard error that is not read must not keep
// the program from its end.
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

// outputFailure is what could not be printed.
func outputFailure(err error) *failure {
	return &failure{code: exitFailure, err: fmt.Errorf("standard output: %w", reasonOf(err))}
}

// reasonOf returns an error without the name of its file.
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
		Long: `bothends runs both ends of a fixed-length exchange over TCP, and says what
happened at each step.

The client connects, sends one message, reads one reply of an agreed length, and
both ends close. By default that is sixteen octets each way, on port 1060.

Every flag can also be set in the environment: --message-size is
BOTHENDS_MESSAGE_SIZE. The flag wins.

"bothends help COMMAND" describes a command. "bothends help" also prints pages:
faults, load-record, proxy-api, schema (the JSON of each command), and
NAME-schema for its JSON Schemas.

With -o json, a failure is one JSON object on standard error.

SIGINT, SIGTERM or SIGHUP ends any command within a second, after it has saved
what it has; server and proxy also wait for open connections, as --drain says.
A second signal ends it at once; the same signal again within half a second is
the same request. The exit status is then 130, 143 or 129, if the command names
no other. It is 1 if standard output could not be written, and server and proxy
alone go on without it. A file that a command writes has its old content or the
new, whole.`,
		Example: `  bothends explain            both ends on this machine, step by step
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
	root.Flags().Bool("version", false, "version, commit and Go version") // cobra's own would have -v too
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

// flagsFromEnv sets the flags that were not given from BOTHENDS_FLAG_NAME. An empty
// variable is as good as none; an empty FILE on the command line is a mistake, as of a
// script whose variable is not set. pflag's Changed stays what was on the command line.
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
			return // Kubernetes sets BOTHENDS_PORT so for a Service named bothends
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

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/explain"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/transcript"
)

type explainFlags struct {
	port   portFlag
	list   bool
	step   bool
	pace   paceFlag
	output choiceFlag
	color  choiceFlag
	pcap   string
}

func newExplain() *cobra.Command {
	f := explainFlags{
		port:   bothends.DefaultPort,
		output: choiceFlag{value: "text", name: "text|json", choices: []string{"text", "json"}},
		color:  choiceFlag{value: "auto", name: "auto|always|never", choices: []string{"auto", "always", "never"}},
	}
	cmd := &cobra.Command{
		Use:   "explain [LESSON]",
		Short: "Show what TCP does at each step, on real sockets here",
		Long: `explain runs a lesson: real sockets on this machine's loopback, what each end
did and when, and what happened there in plain words. Without LESSON it lists
the lessons and runs exchange: both ends of one exchange; all runs every lesson.

The times are milliseconds since the lesson began, measured in this run. --step
and --pace slow the printing alone: the lesson has run by then.`,
		Example: `  bothends explain
  bothends explain send --step
  bothends explain all -o json`,
		ValidArgs: lessonNames(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(cmd, fmt.Errorf("one LESSON, please, not %d", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.list, "list", false, "list the lessons, and run none")
	flags.VarP(&f.port, "port", "p", "if taken, any free one")
	flags.BoolVar(&f.step, "step", false, "wait for a key between two steps; q ends")
	flags.Var(&f.pace, "pace", "wait so long between two steps")
	flags.VarP(&f.output, "output", "o", "words, or a JSON line a lesson")
	flags.Var(&f.color, "color", "auto obeys NO_COLOR")
	flags.StringVar(&f.pcap, "pcap", "", "write the packets to `FILE` (pcapng)")
	return cmd
}

func lessonNames() (names []string) {
	for _, l := range explain.Lessons() {
		names = append(names, l.Name)
	}
	return append(names, "all")
}

func (f *explainFlags) run(cmd *cobra.Command, args []string) error {
	lessons, err := chosen(cmd, args)
	switch {
	case err != nil:
		return err
	case f.list && len(args) > 0:
		return usageError(cmd, errors.New("--list takes no LESSON"))
	case f.list && f.output.value == "json":
		return usageError(cmd, errors.New("--list has no JSON"))
	}
	if err := refuseSameFile(cmd, f.pcap); err != nil && !f.list {
		return err
	}
	out := cmd.OutOrStdout()
	if f.list || len(args) == 0 && f.output.value == "text" {
		if err := list(out); err != nil || f.list {
			return err
		}
		fmt.Fprintln(out)
	}
	// Before signals are caught, for to open a FIFO may take forever.
	captured, err := newPcap(f.pcap, headersAlone, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	style := f.style(out)
	if f.step || f.pace > 0 {
		p := &pacer{pause: time.Duration(f.pace), step: f.step, in: cmd.InOrStdin(), prompt: cmd.ErrOrStderr()}
		style.Between = func() error { return p.wait(ctx) }
	}
	err = f.teach(ctx, cmd, lessons, captured, style)
	return captured.commit(ctx, err, cmd.ErrOrStderr())
}

// teach runs one lesson after the other. One that fails does not keep the others from
// running.
func (f *explainFlags) teach(ctx context.Context, cmd *cobra.Command, lessons []explain.Lesson, captured *pcap, style explain.Style) error {
	var failed *failure
	for i, lesson := range lessons {
		set := explain.Setting{Port: uint16(f.port), ASCII: asciiOnly()}
		if captured != nil {
			set.Dialer.Control = captured.Control
			set.Ladder = func() *transcript.Ladder { return captured.ladder(set.ASCII) }
		}
		err := f.show(ctx, cmd.OutOrStdout(), lesson, set, style, i > 0)
		if captured != nil {
			if err := captured.nextLesson(ctx, i+1 < len(lessons), cmd.ErrOrStderr()); err != nil {
				return err
			}
		}
		var inLesson *lessonError
		switch {
		case errors.Is(err, errQuit):
			return nil
		case len(lessons) > 1 && errors.Is(err, explain.ErrNotAvailable):
		case len(lessons) > 1 && errors.As(err, &inLesson):
			fmt.Fprintf(cmd.ErrOrStderr(), "bothends: %v\n", inLesson)
			if failed == nil || failed.hint == "" {
				failed = &failure{code: exitFailure, hint: inLesson.hint()}
			}
		case err != nil:
			return err
		}
	}
	if failed != nil {
		return failed
	}
	return nil
}

// A lessonError is what kept a lesson from going on.
type lessonError struct {
	lesson string
	err    error
}

func (e *lessonError) Error() string {
	return fmt.Sprintf("lesson %s: %s", e.lesson, transcript.ErrorText(e.err))
}

func (e *lessonError) Unwrap() error { return e.err }

// hint is what may be wrong with this machine, since there is no other.
func (e *lessonError) hint() string {
	switch {
	case errno.Unreachable.Has(e.err):
		return "the loopback interface may be down, or have no free port: ip link set lo up; sysctl net.ipv4.ip_local_port_range"
	case errors.Is(e.err, syscall.EMFILE):
		return "this process may not open enough files; see: ulimit -n"
	case bothends.Classify(e.err) == bothends.Timeout:
		return "this machine did not answer itself: a firewall may drop it, or net.core.somaxconn is too small"
	}
	return ""
}

// chosen is the lessons that args name.
func chosen(cmd *cobra.Command, args []string) ([]explain.Lesson, error) {
	all := explain.Lessons()
	switch {
	case len(args) == 0:
		return all[:1], nil
	case args[0] == "all":
		return all, nil
	}
	lesson, ok := explain.Find(args[0])
	if !ok {
		failed := usageError(cmd, fmt.Errorf("unknown lesson %q", args[0]))
		failed.hint = "bothends explain --list lists them"
		return nil, failed
	}
	return []explain.Lesson{lesson}, nil
}

func list(out io.Writer) error {
	for _, l := range explain.Lessons() {
		if _, err := fmt.Fprintf(out, "%-10s %s\n", l.Name, l.Title); err != nil {
			return outputFailure(err)
		}
	}
	return nil
}

// show runs a lesson and prints it, behind another one or not.
func (f *explainFlags) show(ctx context.Context, out io.Writer, lesson explain.Lesson, set explain.Setting, style explain.Style, next bool) error {
	began := time.Now()
	steps, err := lesson.Run(ctx, set)
	var printErr error
	if f.output.value == "json" {
		printErr = lesson.JSON(out, began, steps, err)
	} else {
		printErr = f.print(out, lesson, steps, err == nil, style, next)
	}
	var sig stoppedBy
	switch {
	case errors.As(printErr, &sig):
		return &failure{code: exitCode(sig.Signal)}
	case err != nil && signalOf(ctx) != nil:
		return &failure{code: exitCode(signalOf(ctx))}
	case errors.Is(printErr, errQuit):
		return errQuit
	case err != nil:
		if errors.Is(err, explain.ErrNotAvailable) && f.output.value == "text" {
			fmt.Fprintln(out, explain.ErrNotAvailable)
		}
		inLesson := &lessonError{lesson.Name, err}
		return &failure{code: exitFailure, err: inLesson, hint: inLesson.hint()}
	case printErr != nil:
		return outputFailure(printErr)
	}
	return nil
}

func (f *explainFlags) print(out io.Writer, lesson explain.Lesson, steps []explain.Step, complete bool, style explain.Style, next bool) error {
	if next {
		if style.Between != nil {
			if err := style.Between(); err != nil {
				return err
			}
		}
		fmt.Fprint(out, "\n\n")
	}
	return lesson.Print(out, steps, complete, style)
}

func (f *explainFlags) style(out io.Writer) explain.Style {
	var style explain.Style
	file, ok := fileOf(out)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	if terminal {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			style.Width = min(width, 100)
		}
	}
	style.Color = wantsColor(out, f.color.value)
	return style
}

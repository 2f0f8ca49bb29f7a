package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

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
		Short: "Show what TCP does at each step, on real sockets",
		Long: `explain runs a lesson on real sockets on the loopback interface. It shows what
each end did, when, and why. Without LESSON, it lists the lessons and runs the
lesson "exchange". LESSON "all" runs every lesson.

Times are in milliseconds since the start of the lesson and are measured in this
run. --step and --pace only delay the printing.

"In the chapter" names the part of a program that a lesson is about: the first
TCP program of the book Foundations of Python Network Programming.`,
		Example: `  bothends explain
  bothends explain send --step
  bothends explain all -o json`,
		ValidArgs: lessonNames(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(cmd, fmt.Errorf("expected one LESSON, got %d", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.list, "list", false, "list of the lessons, none is run")
	flags.VarP(&f.port, "port", "p", "TCP port, a free one if it is in use")
	flags.BoolVar(&f.step, "step", false, "wait for a key after each step, q ends")
	flags.Var(&f.pace, "pace", "time between steps")
	flags.VarP(&f.output, "output", "o", "format, json prints one object per lesson")
	flags.Var(&f.color, "color", "colors, auto obeys NO_COLOR")
	flags.StringVar(&f.pcap, "pcap", "", "`FILE` for the packets (pcapng)")
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
		return usageError(cmd, errors.New("--list does not support -o json"))
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
	// Before signals are caught, because opening a FIFO may block without a limit.
	captured, err := newPcap(f.pcap, headersAlone)
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

// teach runs the lessons sequentially. If one fails, the others still run.
func (f *explainFlags) teach(ctx context.Context, cmd *cobra.Command, lessons []explain.Lesson, captured *pcap, style explain.Style) error {
	var failed *failure
	for i, lesson := range lessons {
		set := explain.Setting{Port: uint16(f.port), ASCII: asciiOnly(), Width: style.Width}
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
		case len(lessons) > 1 && errors.As(err, &inLesson) && f.output.value == "json": // each object has its error
			if failed == nil {
				failed = &failure{code: exitFailure, err: inLesson, hint: inLesson.hint()}
			}
		case len(lessons) > 1 && errors.As(err, &inLesson):
			fmt.Fprintf(cmd.ErrOrStderr(), "bothends: %v\n", inLesson)
			if failed == nil || failed.hint == "" {
				failed = &failure{code: exitFailure, hint: inLesson.hint()}
			}
		case err != nil:
			return err
		}
	}
	if failed == nil && captured != nil && captured.incomplete {
		failed = &failure{code: exitFailure} // save has reported what is missing
	}
	if failed != nil {
		return failed
	}
	return nil
}

// A lessonError is the error that ended a lesson.
type lessonError struct {
	lesson string
	err    error
}

func (e *lessonError) Error() string {
	return fmt.Sprintf("lesson %s: %s", e.lesson, transcript.ErrorText(e.err))
}

func (e *lessonError) Unwrap() error { return e.err }

// hint returns an instruction for the user, or "" if there is none.
func (e *lessonError) hint() string {
	switch {
	case errno.Unreachable.Has(e.err):
		return "check that the loopback interface is up (ip link set lo up) and has free ports (sysctl net.ipv4.ip_local_port_range)"
	case errors.Is(e.err, syscall.EMFILE):
		return "raise the limit of open files (ulimit -n)"
	case bothends.Classify(e.err) == bothends.Timeout:
		return "check that no firewall drops packets on the loopback interface, and that net.core.somaxconn is not too small"
	}
	return ""
}

// chosen returns the lessons that args name.
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
		failed.hint = cmp.Or(didYouMean(args[0], lessonNames(), "bothends explain "), "list the lessons with: bothends explain --list")
		return nil, failed
	}
	return []explain.Lesson{lesson}, nil
}

func list(out io.Writer) error {
	for _, l := range explain.Lessons() {
		line := transcript.FoldLine(fmt.Sprintf("%-10s %s", l.Name, l.Title), columns(out), len("exchange   "))
		if _, err := fmt.Fprintln(out, line); err != nil {
			return outputFailure(err)
		}
	}
	return nil
}

// show runs a lesson and prints it. If next is true, the lesson follows another one.
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
	return explain.Style{Color: wantsColor(out, f.color.value), Width: columns(out)}
}

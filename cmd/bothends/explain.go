package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/explain"
	"github.com/bothends/bothends/transcript"
)

type explainFlags struct {
	port  portFlag
	list  bool
	color choiceFlag
}

func newExplain() *cobra.Command {
	f := explainFlags{
		port:  bothends.DefaultPort,
		color: choiceFlag{value: "auto", name: "WHEN", choices: []string{"auto", "always", "never"}},
	}
	cmd := &cobra.Command{
		Use:   "explain [LESSON]",
		Short: "Show what TCP does at each step, on real sockets here",
		Long: `explain runs a lesson: real sockets on this machine's loopback, what each end
printed and when, and what happened there in plain words. Without LESSON it runs
exchange: both ends of one exchange; all runs every lesson.

The times are milliseconds since the lesson began, measured in this run.`,
		Example: `  bothends explain
  bothends explain --list
  bothends explain send`,
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
	flags.BoolVar(&f.list, "list", false, "list the lessons")
	flags.VarP(&f.port, "port", "p", "the server's port; if taken, a free one")
	flags.Var(&f.color, "color", "auto, always or never; auto obeys NO_COLOR")
	return cmd
}

func lessonNames() (names []string) {
	for _, l := range explain.Lessons() {
		names = append(names, l.Name)
	}
	return append(names, "all")
}

func (f *explainFlags) run(cmd *cobra.Command, args []string) error {
	out := cmd.OutOrStdout()
	if f.list {
		for _, l := range explain.Lessons() {
			if _, err := fmt.Fprintf(out, "%-10s %s\n", l.Name, l.Title); err != nil {
				return outputFailure(err)
			}
		}
		return nil
	}
	name := explain.Lessons()[0].Name
	if len(args) == 1 {
		name = args[0]
	}
	lessons := explain.Lessons()
	if name != "all" {
		lesson, ok := explain.Find(name)
		if !ok {
			failed := usageError(cmd, fmt.Errorf("unknown lesson %q", name))
			failed.hint = "bothends explain --list lists them"
			return failed
		}
		lessons = []explain.Lesson{lesson}
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	for i, lesson := range lessons {
		if i > 0 {
			fmt.Fprint(out, "\n\n")
		}
		err := f.show(ctx, out, lesson)
		if errors.Is(err, explain.ErrNotAvailable) && len(lessons) > 1 {
			fmt.Fprintln(out, err.Error())
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *explainFlags) show(ctx context.Context, out io.Writer, lesson explain.Lesson) error {
	steps, err := lesson.Run(ctx, explain.Setting{Port: uint16(f.port)})
	if printErr := lesson.Print(out, steps, err == nil, f.style(out)); printErr != nil && err == nil {
		return outputFailure(printErr)
	}
	if sig := signalOf(ctx); err != nil && sig != nil {
		return &failure{code: exitCode(sig)}
	}
	if errors.Is(err, explain.ErrNotAvailable) {
		return &failure{code: exitFailure, err: fmt.Errorf("lesson %s: %w", lesson.Name, err)}
	}
	if err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("lesson %s: %s", lesson.Name, transcript.ErrorText(err))}
	}
	return nil
}

func (f *explainFlags) style(out io.Writer) explain.Style {
	var style explain.Style
	file, ok := out.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	if terminal {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			style.Width = min(width, 100)
		}
	}
	switch f.color.value {
	case "always":
		style.Color = true
	case "auto":
		style.Color = terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return style
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

// reportFlags are those of the subcommands that print.
type reportFlags struct {
	output choiceFlag
	color  choiceFlag
}

func (f *reportFlags) add(cmd *cobra.Command, json string) {
	f.output = choiceFlag{value: "text", name: "text|json", choices: []string{"text", "json"}}
	f.color = choiceFlag{value: "auto", name: "auto|always|never", choices: []string{"auto", "always", "never"}}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.VarP(&f.output, "output", "o", "words, or "+json)
	flags.Var(&f.color, "color", "auto obeys NO_COLOR")
}

func (f *reportFlags) style(out io.Writer) report.Style {
	return report.Style{Color: wantsColor(out, f.color.value), ASCII: asciiOnly(), Width: columns(out)}
}

func newReport() *cobra.Command {
	cmd := newReportShow()
	cmd.Use, cmd.Short = "report FILE...", "Show, merge, compare and draw saved load runs"
	cmd.Long = `report reads runs that bothends load --save has written, and shows what they
measured: outcomes, latencies, phases, and whether the load generator may be the
bottleneck.

FILE - is standard input. report FILE... is report show FILE...; the other
subcommands merge runs, compare them, and draw them on a page. "bothends help
load-record" describes the format of the files. A FILE may have up to 1 GiB.`
	cmd.Example = `  bothends report run.json
  bothends report merge one.json two.json --out both.json
  bothends report compare before.json after.json
  bothends report html before.json after.json --out page.html`
	cmd.AddCommand(newReportShow(), newReportMerge(), newReportCompare(), newReportHTML())
	return cmd
}

func newReportShow() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "show FILE...",
		Short: "The figures of runs, as bothends load prints them",
		Long: `show prints the summary that bothends load prints at the end of a run.
Percentiles with too few samples are shown as a dash.

With -o json it prints one bothends.load/v2 object per line. Times are in
seconds.`,
		Example: `  bothends report show run.json
  bothends report show -o json *.json | jq .latency.p99`,
		Args: someFiles(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.show(cmd, args) },
	}
	f.add(cmd, "a JSON line a run")
	return cmd
}

func (f *reportFlags) show(cmd *cobra.Command, args []string) error {
	runs, err := readRuns(cmd, args, readJoined)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	for n, r := range runs {
		switch {
		case f.output.value == "json":
			err = printJSON(out, report.Summary(r.Record))
		case len(runs) > 1:
			_, err = fmt.Fprintf(out, "%s%s:\n\n", strings.Repeat("\n\n", min(n, 1)), r.Name)
			fallthrough
		default:
			err = errors.Join(err, report.Text(folding(out), r.Record, f.style(out)))
		}
		if err != nil {
			return outputFailure(err)
		}
	}
	return nil
}

func newReportMerge() *cobra.Command {
	var concat bool
	var out string
	cmd := &cobra.Command{
		Use:   "merge FILE...",
		Short: "Add the runs of several machines to one",
		Long: `merge adds runs that several machines made at the same time, histogram by
histogram, over the time that all have in common: from the latest start to the
earliest end by their clocks, which must be right (NTP). Connections and rates
requested add up. What is left out is reported on standard error. The result is
a saved run like the others.

A merged run keeps the IDs of its runs. A run that is in two FILEs is refused,
because it would count twice.

--concat puts runs one after another instead: slices of one run, or of one that
took turns with another. The time between them is left out.`,
		Example: `  bothends report merge host1.json host2.json --out all.json
  bothends report merge --concat slice-*.json | bothends report -`,
		Args: someFiles(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notOver(cmd, args, out); err != nil {
				return err
			}
			merged, notes, err := mergeFiles(cmd, args, concat)
			if shown := (*failure)(nil); errors.As(err, &shown) {
				return err
			}
			if err != nil {
				failed := usageError(cmd, err)
				if errors.Is(err, report.ErrNoOverlap) {
					failed.hint = "join runs that were made one after another with: bothends report merge --concat"
				}
				return failed
			}
			for _, note := range notes {
				fmt.Fprintf(cmd.ErrOrStderr(), "bothends: %s\n", note)
			}
			return writeOut(cmd, out, merged.Write)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&concat, "concat", false, "join runs one after another, not side by side")
	flags.StringVar(&out, "out", "", "output `FILE`, instead of standard output")
	return cmd
}

// mergeFiles merges the runs in the files, side by side or one after another.
func mergeFiles(cmd *cobra.Command, names []string, concat bool) (*load.Record, []string, error) {
	if concat {
		runs, err := readRuns(cmd, names, load.ReadRecord)
		if err != nil {
			return nil, nil, err
		}
		return report.Concat(runs)
	}
	if err := oneStdin(cmd, names); err != nil {
		return nil, nil, err
	}
	var sources []report.Source
	for _, name := range names {
		s := report.Source{Name: printable(name), Open: func() (io.ReadCloser, error) {
			file, err := os.Open(name)
			if err != nil {
				return nil, fileFailure(cmd, name, reasonOf(err))
			}
			return file, nil
		}}
		if name == "-" { // it is read twice
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), mostStdin))
			if err != nil {
				return nil, nil, fileFailure(cmd, name, err)
			}
			s.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
		}
		sources = append(sources, s)
	}
	return report.MergeSources(sources)
}

// mostStdin is more than a record may have, so that a larger one is still an error.
const mostStdin = 1<<30 + 1<<20

// notOver returns an error if the output would be written over one of the inputs.
func notOver(cmd *cobra.Command, inputs []string, out string) error {
	to, err := os.Stat(out)
	if err != nil || !to.Mode().IsRegular() {
		return nil
	}
	for _, name := range inputs {
		if from, err := os.Stat(name); err == nil && os.SameFile(from, to) {
			return usageError(cmd, fmt.Errorf("--out would write over the run in %s", printable(name)))
		}
	}
	return nil
}

// exitCannotTell is the status of compare if the runs show neither a difference nor that
// there is none.
const exitCannotTell = 3

type reportCompareFlags struct {
	reportFlags
	least percentFlag
}

func newReportCompare() *cobra.Command {
	f := reportCompareFlags{least: report.DefaultLeast}
	cmd := &cobra.Command{
		Use:   "compare A B [A B]...",
		Short: "Say whether B is faster or slower than A",
		Long: `compare shows whether run B is faster or slower than run A. It compares the
throughput and each latency percentile, and prints the ratio B/A with a
confidence interval from the intervals of both runs. The verdict on each figure
is one of:

  slower, faster   it differs by --least or more, and by more than chance
  no difference    the whole confidence interval is within --least, up or down
  cannot tell      neither of these is known: the interval is too wide
  too few to say   fewer than 30 exchanges are beyond the percentile

Runs of different kinds, and runs with fewer than 8 intervals, are rejected. A
run has at least 20 intervals, or one per second. Longer runs have narrower
confidence intervals: two runs of 10 seconds seldom show less than 10 %, and
--least 2% needs a minute or more.

Two runs also differ because the machine was busy with other work. To reduce
this effect, alternate the runs on the same machine: A B A B. With more than two
files, each pair is compared. At least 8 pairs are needed.

Exit status: 0 faster or no difference, 1 slower, 2 the runs cannot be compared
or the output could not be written, 3 cannot tell.`,
		Example: `  bothends report compare before.json after.json
  bothends report compare a1.json b1.json a2.json b2.json ...
  bothends report compare a.json b.json --least 5% -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || len(args)%2 != 0 {
				return usageError(cmd, fmt.Errorf("expected two FILEs, or pairs of them, got %d", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.compare(cmd, args) },
	}
	f.add(cmd, "a JSON line")
	cmd.Flags().Var(&f.least, "least", "smallest difference that counts")
	return cmd
}

func (f *reportCompareFlags) compare(cmd *cobra.Command, args []string) error {
	runs, err := readRuns(cmd, args, readJoined)
	if err != nil {
		return err
	}
	least := float64(f.least)
	if least == 0 {
		least = -1 // the library's none
	}
	var c *report.Comparison
	if len(runs) == 2 {
		c, err = report.Compare(runs[0], runs[1], least)
	} else {
		var turns [2][]report.Run
		for n, r := range runs {
			turns[n%2] = append(turns[n%2], r)
		}
		c, err = report.CompareTurns(turns[0], turns[1], least)
	}
	if err != nil {
		return usageError(cmd, err)
	}
	out := cmd.OutOrStdout()
	if f.output.value == "json" {
		err = printJSON(out, c)
	} else {
		_, err = io.WriteString(folding(out), c.Text(f.style(out)))
	}
	if err != nil {
		failed := outputFailure(err)
		failed.code = exitUsage // 1 is a verdict
		return failed
	}
	switch c.Verdict {
	case report.Slower:
		return &failure{code: exitFailure}
	case report.CannotTell:
		failed := &failure{code: exitCannotTell}
		if f.output.value == "text" {
			failed.hint = "longer runs, or more of them, may tell: bothends load -d 1m, or at least 8 pairs (A B A B ...)"
		}
		return failed
	}
	return nil
}

func newReportHTML() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "html FILE...",
		Short: "Draw runs over one another on a page",
		Long: `html writes one self-contained page of HTML: latency by percentile, latency over
time as a heat map, throughput and failures over time, and all figures as
tables. Several runs are drawn over one another, each under its label, or under
its FILE if it has no label.`,
		Example: `  bothends report html run.json --out run.html
  bothends report html before.json after.json --out both.html`,
		Args: someFiles(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notOver(cmd, args, out); err != nil {
				return err
			}
			runs, err := readRuns(cmd, args, readJoined)
			if err != nil {
				return err
			}
			return writeOut(cmd, out, func(w io.Writer) error { return report.HTML(w, runs) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "output `FILE`, instead of standard output")
	return cmd
}

// A percentFlag is a fraction that is given in percent.
type percentFlag float64

func (f *percentFlag) String() string { return fmt.Sprintf("%.3g%%", float64(*f)*100) }
func (f *percentFlag) Type() string   { return "PERCENT" }
func (f *percentFlag) Set(s string) error {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(v >= 0 && v <= 1000) || math.IsInf(v, 0) {
		return errors.New("must be a percentage such as 5%")
	}
	*f = percentFlag(v / 100)
	return nil
}

func someFiles(least int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usageError(cmd, errors.New("no FILE given"))
		}
		return nil
	}
}

// mostIntervals is more than a page, a table or a comparison shows, each of which joins
// neighbours. So a run of any length takes little memory.
const mostIntervals = 1200

func readJoined(r io.Reader) (*load.Record, error) { return load.ReadJoined(r, mostIntervals) }

// readRuns reads the files; - is standard input.
func readRuns(cmd *cobra.Command, names []string, read func(io.Reader) (*load.Record, error)) (runs []report.Run, err error) {
	if err := oneStdin(cmd, names); err != nil {
		return nil, err
	}
	for _, name := range names {
		r, err := readRun(cmd.InOrStdin(), name, read)
		if err != nil {
			return nil, fileFailure(cmd, name, err)
		}
		runs = append(runs, report.Run{Name: printable(name), Record: r})
	}
	return runs, nil
}

// oneStdin returns an error if standard input is named twice.
func oneStdin(cmd *cobra.Command, names []string) error {
	if first := slices.Index(names, "-"); first >= 0 && slices.Contains(names[first+1:], "-") {
		return usageError(cmd, errors.New("standard input can be read only once"))
	}
	return nil
}

// fileFailure is how a command ends if a file cannot be read.
func fileFailure(cmd *cobra.Command, name string, err error) *failure {
	failed := usageError(cmd, fmt.Errorf("%s: %w", name, err))
	if errors.Is(err, fs.ErrNotExist) {
		failed.hint = didYouMean(name, commandNames(cmd), cmd.CommandPath()+" ")
	}
	return failed
}

func readRun(stdin io.Reader, name string, read func(io.Reader) (*load.Record, error)) (*load.Record, error) {
	if name == "-" {
		return read(stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, reasonOf(err)
	}
	defer file.Close()
	return read(file)
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printable is a file's name without what steers a terminal.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man [COMMAND]",
		Short: "Print a manual page",
		Long: `man prints the manual page of bothends, or of one of its commands, in troff
format.`,
		Example: `  bothends man client | man -l -`,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), strings.Join(args, " "))
			}
			target.DisableAutoGenTag = true // it contains the date
			return doc.GenMan(target, manHeader(), cmd.OutOrStdout())
		},
	}
}

// manHeader returns the header of manual pages. Its date is fixed, so that a page changes
// only with its text.
func manHeader() *doc.GenManHeader {
	date := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return &doc.GenManHeader{Section: "1", Manual: "bothends", Source: "bothends", Date: &date}
}

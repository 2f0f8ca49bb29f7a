package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

// An outFile is the file of a flag. What it had stays until there is something to write.
type outFile struct {
	*os.File
	made    bool // by this program
	written bool
}

// create opens the file of a flag before the run, so that nobody waits for a run that
// cannot be saved; nil where the flag has none.
func create(flag, name string) (*outFile, error) {
	if name == "" {
		return nil, nil
	}
	if name == "-" {
		return nil, &failure{code: exitUsage, err: fmt.Errorf("%s: standard output has the summary; give a file", flag)}
	}
	_, missing := os.Lstat(name)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, &failure{code: exitFailure, err: fmt.Errorf("%s: %w", flag, err)}
	}
	return &outFile{File: file, made: errors.Is(missing, fs.ErrNotExist)}, nil
}

// write writes the file anew, and closes it.
func (f *outFile) write(to func(io.Writer) error) error {
	f.written = true
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() { // a pipe or a device has nothing to cut
		if err := f.Truncate(0); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(to(f), f.Close())
}

// isSame tells whether both are one file that the second would write over.
func (f *outFile) isSame(g *outFile) bool {
	if f == nil || g == nil {
		return false
	}
	one, err1 := f.Stat()
	two, err2 := g.Stat()
	return err1 == nil && err2 == nil && one.Mode().IsRegular() && os.SameFile(one, two)
}

// discard closes a file that was not written, and removes it if it was made for that.
func (f *outFile) discard() {
	if f == nil || f.written {
		return
	}
	f.Close()
	if f.made {
		os.Remove(f.Name())
	}
}

// writeOut writes to the file of --out, or to standard output. The file is opened when
// all is there: it may be one of those that were read.
func writeOut(cmd *cobra.Command, name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return &failure{code: exitFailure, err: err}
	}
	if name == "" || name == "-" {
		if _, err := b.WriteTo(cmd.OutOrStdout()); err != nil {
			return outputFailure(err)
		}
		return nil
	}
	if err := os.WriteFile(name, b.Bytes(), 0o666); err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("%s: %w", name, reasonOf(err))}
	}
	return nil
}

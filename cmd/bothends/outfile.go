package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// An outFile is the file of a flag. A regular file is written as a temporary file in the
// same directory, which then replaces it, so that it has either its old content or the
// complete new content. A pipe, a device or /dev/stdout is written directly.
type outFile struct {
	name   string   // from the command line
	path   string   // without symbolic links
	direct *os.File // nil for a regular file
}

// create opens the output file of a flag. It is called before the run, so that a file
// error is reported early. It returns nil if name is empty. It does not change the content
// of the file.
func create(flag, name string) (*outFile, error) {
	if name == "" {
		return nil, nil
	}
	if name == "-" {
		return nil, &failure{code: exitUsage, err: fmt.Errorf("%s: needs a file, because standard output has the summary", flag)}
	}
	f, err := newOutFile(name)
	if err != nil {
		return nil, &failure{code: exitFailure, err: fmt.Errorf("%s: %w", flag, err)}
	}
	return f, nil
}

func newOutFile(name string) (*outFile, error) {
	f := &outFile{name: name, path: resolved(name)}
	info, err := os.Stat(name)
	switch {
	case err == nil && (!info.Mode().IsRegular() || descriptorName.MatchString(f.path)):
		f.direct, err = os.OpenFile(name, os.O_WRONLY, 0)
		return f, err
	case err == nil: // a file without write permission must not be replaced
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		file.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return nil, f.failed("open", err)
	}
	temp, err := f.temporary()
	if err != nil {
		return nil, err
	}
	temp.Close()
	return f, os.Remove(temp.Name())
}

// descriptorName matches a name of an open file of a process, which cannot be replaced.
var descriptorName = regexp.MustCompile(`^(/dev/(stdin|stdout|stderr|fd/.*)|/proc/[^/]+/fd/.*)$`)

// resolved follows the symbolic links of name, also to a file that does not exist yet. It
// does not follow the links by which a system names open files.
func resolved(name string) string {
	for range 40 {
		target, err := os.Readlink(name)
		if err != nil || descriptorName.MatchString(name) {
			break
		}
		if !filepath.IsAbs(target) { // not Join: the directory may be a link, and .. not its parent's
			target = filepath.Dir(name) + string(filepath.Separator) + target
		}
		name = target
	}
	return name
}

// failed returns err with the name of the file from the command line.
func (f *outFile) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.name, Err: reasonOf(err)}
}

// temporary creates a file in the same directory, with the permissions of the file that it
// will replace.
func (f *outFile) temporary() (*os.File, error) {
	for {
		name := filepath.Join(filepath.Dir(f.path), ".bothends-"+strconv.FormatUint(rand.Uint64(), 36)+".tmp")
		temp, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, f.failed("open", err)
		}
		if old, err := os.Stat(f.path); err == nil {
			temp.Chmod(old.Mode().Perm()) // fails only on file systems without permissions
			keepOwner(temp, old)
		}
		return temp, nil
	}
}

// write writes the file. A signal does not interrupt it, unless the file is a pipe that is
// not read.
func (f *outFile) write(ctx context.Context, to func(io.Writer) error) error {
	w, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer hold(ctx)()
	if err := w.add(ctx, to); err != nil {
		return err
	}
	return w.commit()
}

// isSame reports whether f and g are the same file.
func (f *outFile) isSame(g *outFile) bool {
	if f == nil || g == nil {
		return false
	}
	one, err1 := os.Stat(f.path)
	two, err2 := os.Stat(g.path)
	if err1 == nil && err2 == nil {
		return one.Mode().IsRegular() && os.SameFile(one, two)
	}
	dir1, err1 := os.Stat(filepath.Dir(f.path))
	dir2, err2 := os.Stat(filepath.Dir(g.path))
	return err1 == nil && err2 == nil && os.SameFile(dir1, dir2) && filepath.Base(f.path) == filepath.Base(g.path)
}

// discard closes a file that was not written.
func (f *outFile) discard() {
	if f != nil && f.direct != nil {
		f.direct.Close()
	}
}

// A fileWriter writes an outFile. The new content is not visible before commit.
type fileWriter struct {
	*os.File
	of     *outFile
	forget func() // is called when the temporary file has been removed or renamed
}

func (f *outFile) open(ctx context.Context) (*fileWriter, error) {
	if f.direct != nil {
		if info, err := f.direct.Stat(); err == nil && info.Mode().IsRegular() { // a pipe or a device cannot be truncated
			if err := f.direct.Truncate(0); err != nil {
				return nil, errors.Join(err, f.direct.Close())
			}
		}
		return &fileWriter{File: f.direct, of: f, forget: func() {}}, nil
	}
	temp, err := f.temporary()
	if err != nil {
		return nil, err
	}
	name := temp.Name()
	return &fileWriter{File: temp, of: f, forget: beforeExit(ctx, func() { os.Remove(name) })}, nil
}

// add calls to, which writes a part of the file. If that fails, the file does not change.
// If the file is a pipe that is not read, add fails writePatience after the end of ctx.
func (w *fileWriter) add(ctx context.Context, to func(io.Writer) error) error {
	if w.of.direct != nil { // temporary files do not support deadlines
		defer context.AfterFunc(ctx, func() { w.SetWriteDeadline(time.Now().Add(writePatience)) })()
	}
	err := to(w)
	if err == nil {
		return nil
	}
	w.discard()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNotRead
	}
	return w.of.failed("write", err)
}

// discard closes the writer without changing the file.
func (w *fileWriter) discard() {
	w.Close()
	if w.of.direct == nil {
		os.Remove(w.Name())
	}
	w.forget()
}

// commit replaces the file with the new content, after that is on the disk.
func (w *fileWriter) commit() error {
	if w.of.direct != nil {
		return w.Close()
	}
	if err := w.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		w.discard()
		return w.of.failed("write", err)
	}
	defer w.forget()
	if err := w.Close(); err != nil {
		os.Remove(w.Name())
		return w.of.failed("write", err)
	}
	return w.of.replace(w.Name())
}

func (f *outFile) replace(temp string) error {
	err := os.Rename(temp, f.path)
	if errors.Is(err, syscall.EBUSY) { // a mount point, such as a file that is mounted in a container
		if err := copyTo(f.path, temp); err != nil {
			return fmt.Errorf("%w; the content is in %s", f.failed("write", err), temp)
		}
		return os.Remove(temp)
	}
	if err != nil {
		os.Remove(temp)
		return f.failed("write", err)
	}
	if dir, err := os.Open(filepath.Dir(f.path)); err == nil {
		dir.Sync() // so that the rename persists after a crash; some systems do not support this
		dir.Close()
	}
	return nil
}

func copyTo(path, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o666)
}

// writeOut writes to the file of --out, or to standard output. It opens the file after the
// content is complete, because the file may be one of the inputs.
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
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	file, err := create("--out", name)
	if err != nil {
		return err
	}
	err = file.write(ctx, func(w io.Writer) error {
		_, err := b.WriteTo(w)
		return err
	})
	switch sig := signalOf(ctx); {
	case err != nil:
		return &failure{code: exitFailure, err: fmt.Errorf("--out: %w", err)}
	case sig != nil:
		return &failure{code: exitCode(sig)}
	}
	return nil
}

//go:build unix

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func writeFile(t *testing.T, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

// is checks a file's content, and that nothing else is left in its directory.
func is(t *testing.T, name, content string, files int) {
	t.Helper()
	if text, err := os.ReadFile(name); err != nil || string(text) != content {
		t.Errorf("%s has %q, want %q; %v", name, text, content, err)
	}
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(entries) != files {
		t.Errorf("%d files in the directory, want %d: %v, %v", len(entries), files, entries, err)
	}
}

func textOf(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func saveTo(t *testing.T, name, content string) {
	t.Helper()
	f, err := create("--save", name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.write(t.Context(), textOf(content)); err != nil {
		t.Error(err)
	}
}

// A file is replaced, with its permissions; the other name of a hard link keeps the old
// content, which shows that nothing was written over.
func TestOutFileReplaces(t *testing.T) {
	dir := t.TempDir()
	name, link := filepath.Join(dir, "run"), filepath.Join(dir, "link")
	writeFile(t, name, "old and long", 0o604)
	if err := os.Link(name, link); err != nil {
		t.Fatal(err)
	}
	saveTo(t, name, "new")
	is(t, name, "new", 2)
	is(t, link, "old and long", 2)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A new file has the permissions that any new file has.
func TestOutFileIsNew(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	file, err := os.Create(plain)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	name := filepath.Join(dir, "run")
	saveTo(t, name, "new")
	is(t, name, "new", 2)
	want, _ := os.Stat(plain)
	if info, err := os.Stat(name); err != nil || info.Mode() != want.Mode() {
		t.Errorf("mode %v, want %v, %v", info.Mode(), want.Mode(), err)
	}
}

// While a file is being written the old one is there, whole. A writing that fails leaves
// it, and nothing else.
func TestOutFileThatFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "run")
	writeFile(t, name, "old", 0o600)
	f, err := create("--save", name)
	if err != nil {
		t.Fatal(err)
	}
	err = f.write(t.Context(), func(w io.Writer) error {
		if err := textOf("half of a")(w); err != nil {
			return err
		}
		is(t, name, "old", 2)
		if info, err := w.(*fileWriter).Stat(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the temporary file of a private one has mode %v, %v", info.Mode(), err)
		}
		return &fs.PathError{Op: "write", Path: "the temporary file", Err: syscall.ENOSPC}
	})
	if !errors.Is(err, syscall.ENOSPC) || err.Error() != "write "+name+": no space left on device" {
		t.Errorf("error: %v", err)
	}
	is(t, name, "old", 1)
}

// A symbolic link stays one, and its target is replaced, or created; the directory of a
// relative target is that of the link.
func TestOutFileFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"links", "files"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	name, target := filepath.Join(dir, "links", "run"), filepath.Join(dir, "files", "run")
	for name, target := range map[string]string{name: "to", filepath.Join(dir, "links", "to"): "../files/run"} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, content := range []string{"created", "replaced"} {
		saveTo(t, name, content)
		is(t, target, content, 1)
		is(t, name, content, 2)
	}
	if info, err := os.Lstat(name); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
}

// What is wrong with a file is found before the run.
func TestOutFileIsCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	readOnly, locked, loop := filepath.Join(dir, "read-only"), filepath.Join(dir, "locked"), filepath.Join(dir, "loop")
	writeFile(t, readOnly, "kept", 0o444)
	if err := os.Mkdir(locked, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		err  error
		root bool // a superuser may
	}{
		{dir, syscall.EISDIR, false},
		{filepath.Join(dir, "none", "run"), syscall.ENOENT, false},
		{filepath.Join(readOnly, "run"), syscall.ENOTDIR, false},
		{loop, syscall.ELOOP, false},
		{readOnly, syscall.EACCES, true},
		{filepath.Join(locked, "run"), syscall.EACCES, true},
	} {
		_, err := create("--save", c.name)
		if c.root && os.Getuid() == 0 {
			continue
		}
		if !errors.Is(err, c.err) || !strings.HasPrefix(err.Error(), "bothends: --save: open "+c.name+": ") {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
	}
	is(t, readOnly, "kept", 3)
}

// What is not a regular file is written as it is: a device, a FIFO, an open descriptor.
func TestOutFileWrittenDirectly(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	saveTo(t, fifo, "through the FIFO")
	if text, err := io.ReadAll(reader); err != nil || string(text) != "through the FIFO" {
		t.Errorf("%q, %v", text, err)
	}
	saveTo(t, "/dev/null", "gone")
	for _, name := range []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/17/fd/3"} {
		if !descriptorName.MatchString(resolved(name)) {
			t.Errorf("%s, which is %s, would be replaced", name, resolved(name))
		}
	}
	if descriptorName.MatchString("/dev/shm/run") {
		t.Error("a file in /dev/shm is a file")
	}
}

// Two flags with one file, by whatever names.
func TestOutFilesThatAreSame(t *testing.T) {
	dir := t.TempDir()
	old, link := filepath.Join(dir, "old"), filepath.Join(dir, "link")
	writeFile(t, old, "x", 0o600)
	if err := os.Symlink("old", link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		one, two string
		same     bool
	}{
		{old, old, true}, {old, link, true}, {dir + "/new", dir + "/./new", true},
		{old, dir + "/new", false}, {dir + "/a", dir + "/b", false}, {"/dev/null", "/dev/null", false},
	} {
		f, err1 := create("--save", c.one)
		g, err2 := create("--html", c.two)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if f.isSame(g) != c.same {
			t.Errorf("%s and %s: same is %v", c.one, c.two, !c.same)
		}
		f.discard()
		g.discard()
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A pausedReader takes a write each time it is told to.
type pausedReader struct{ reads chan struct{} }

func (r pausedReader) Write(p []byte) (int, error) {
	<-r.reads
	return len(p), nil
}

// A write may block for as long as the reader likes, but after a signal for half a second
// in total.
func TestStreamAfterSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan struct{})
		r := pausedReader{make(chan struct{})}
		s := newStream(r, stopped)
		write := func(readAfter time.Duration) (time.Duration, error) {
			began := time.Now()
			timer := time.AfterFunc(readAfter, func() { r.reads <- struct{}{} })
			defer timer.Stop()
			_, err := s.Write([]byte("line\n"))
			return time.Since(began), err
		}
		if took, err := write(time.Hour); took != time.Hour || err != nil {
			t.Errorf("before the signal: %v, %v", took, err)
		}
		close(stopped)
		if took, err := write(300 * time.Millisecond); took != 300*time.Millisecond || err != nil {
			t.Errorf("a slow reader: %v, %v", took, err)
		}
		if took, err := write(time.Second); took != 200*time.Millisecond || !errors.Is(err, errNotRead) {
			t.Errorf("a reader that has stopped: %v, %v", took, err)
		}
		if took, err := write(time.Hour); took != 0 || !errors.Is(err, errNotRead) {
			t.Errorf("after that: %v, %v", took, err)
		}
		if !errors.Is(s.failed(), errNotRead) {
			t.Errorf("remembered: %v", s.failed())
		}
		r.reads <- struct{}{} // the write that blocked
	})
}

// A write that blocks when the signal comes has the same time.
func TestStreamBlockedAtSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan struct{})
		r := pausedReader{make(chan struct{})}
		time.AfterFunc(time.Minute, func() { close(stopped) })
		began := time.Now()
		_, err := newStream(r, stopped).Write([]byte("line\n"))
		if took := time.Since(began); took != time.Minute+writePatience || !errors.Is(err, errNotRead) {
			t.Errorf("%v, %v", took, err)
		}
		r.reads <- struct{}{}
	})
}

// broken is a pipe whose reader has left; a full disk before that.
type broken struct{ errs []error }

func (b *broken) Write(p []byte) (int, error) {
	err := b.errs[0]
	b.errs = b.errs[1:]
	return 0, err
}

// The reader that leaves ends a context of whileRead; a full disk does not.
func TestWhileRead(t *testing.T) {
	s := newStream(&broken{[]error{syscall.ENOSPC, syscall.EPIPE, syscall.EPIPE}}, nil)
	ctx, cancel := whileRead(t.Context(), s)
	defer cancel()
	s.Write([]byte("x"))
	if ctx.Err() != nil {
		t.Error("ended by a full disk")
	}
	s.Write([]byte("x"))
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("ended by %v", err)
	}
	s.Write([]byte("x"))
	if !errors.Is(s.failed(), syscall.ENOSPC) {
		t.Errorf("the first error is %v", s.failed())
	}
}

// A writer that is not a stream has no reader that leaves.
func TestWhileReadOther(t *testing.T) {
	ctx, cancel := whileRead(t.Context(), io.Discard)
	if ctx.Err() != nil {
		t.Error("ended")
	}
	cancel()
}

// fullDisk is a standard output that takes nothing.
func fullDisk(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// What was asked for and could not be printed is an error, also of what cobra prints.
func TestOutputThatCannotBeWritten(t *testing.T) {
	for _, args := range [][]string{
		{"--help"}, {"help"}, {"help", "load"}, {"load", "--help"}, {"report", "--help"}, {"--version"}, {"version"},
		{"man"}, {"man", "client"}, {"completion", "bash"}, {"completion", "--help"},
		{"explain", "--list"}, {"explain", "eof", "-p", "0"}, {"explain", "eof", "-p", "0", "-o", "json"}, {"check", "--list"}, {"check", "client", "--list"},
		{"load", "-n", "1"}, {"load", "-n", "1", "-o", "json"},
	} {
		var errs bytes.Buffer
		code := run(args, fullDisk(t), &errs)
		want := "bothends: standard output: no space left on device\n"
		if slices.Contains(args, "json") {
			want = `{"schema":"bothends.error/v1","error":"standard output: no space left on device","exit":1}` + "\n"
		}
		if code != exitFailure || errs.String() != want {
			t.Errorf("%v: exit %d\n%s", args, code, &errs)
		}
	}
}

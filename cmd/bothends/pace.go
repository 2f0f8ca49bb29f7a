package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/term"
)

// errQuit is the error of a pacer when the user has pressed q.
var errQuit = errors.New("quit")

// A pacer waits between two steps, for a time or for a key.
type pacer struct {
	pause  time.Duration
	step   bool
	in     io.Reader
	prompt io.Writer
	keys   <-chan byte
}

// wait waits for the pause or for a key. It returns errQuit for the key q, and the cause of
// ctx if ctx has ended.
func (p *pacer) wait(ctx context.Context) error {
	if p.step {
		return p.key(ctx)
	}
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// The keys for which a terminal normally sends signals or an end of file. In raw mode, the
// program receives these keys.
const (
	ctrlC         = 3
	ctrlD         = 4
	ctrlZ         = 26
	ctrlBackslash = 28
)

// key waits for a key if the input is a terminal, and for a line otherwise. At the end of
// the input, it does not wait.
func (p *pacer) key(ctx context.Context) error {
	for {
		key, err := p.read(ctx)
		switch {
		case err != nil:
			return err
		case key == ctrlZ: // read has restored the terminal; after the program is continued, wait again
			suspend()
			continue
		case key == ctrlC:
			return stoppedBy{syscall.SIGINT}
		case key == 'q', key == 'Q', key == ctrlD, key == ctrlBackslash:
			return errQuit
		}
		return nil
	}
}

// read returns a key. While it waits, a terminal is in raw mode.
func (p *pacer) read(ctx context.Context) (byte, error) {
	file, ok := p.in.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	if terminal && p.keys == nil {
		fmt.Fprintln(p.prompt, "(press a key for the next step, q to end)")
	}
	if terminal {
		if old, err := term.MakeRaw(int(file.Fd())); err == nil {
			defer term.Restore(int(file.Fd()), old)
		}
	}
	if p.keys == nil {
		p.keys = keysOf(p.in)
	}
	select {
	case key := <-p.keys:
		return key, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// keysOf returns a channel with the keys of in. Its goroutine runs until the input or the
// program ends, because a read of a terminal cannot be interrupted. If the input is not a
// terminal, the first octet of each line is a key.
func keysOf(in io.Reader) <-chan byte {
	keys := make(chan byte)
	file, ok := in.(*os.File)
	lines := !ok || !term.IsTerminal(int(file.Fd()))
	go func() {
		defer close(keys)
		r := bufio.NewReader(in)
		for {
			key, err := r.ReadByte()
			if err != nil {
				return
			}
			if lines && key != '\n' {
				if _, err := r.ReadString('\n'); err != nil && err != io.EOF {
					return
				}
			}
			keys <- key
		}
	}()
	return keys
}

// A paceFlag is the pause between two steps.
type paceFlag time.Duration

func (f *paceFlag) String() string { return time.Duration(*f).String() }
func (f *paceFlag) Type() string   { return "DURATION" }
func (f *paceFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > time.Hour {
		return errors.New("must be a duration such as 500ms or 2s")
	}
	*f = paceFlag(d)
	return nil
}

// Package procgroup starts a command, and ends it together with the processes that it
// has started: a shell's client, or a script's server, would continue otherwise.
package procgroup

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// A Group is a command and the processes that it has started. The zero value is ready
// for Start. A Group cannot be started twice.
type Group struct {
	// Adopt makes the group include all descendants of this process. On Linux, this
	// process becomes the parent of those whose own parent ends, so that they cannot
	// leave the group (PR_SET_CHILD_SUBREAPER of prctl(2)). Only a program that has one
	// Group at a time, and starts nothing else, may set it. If false, or on other
	// systems, a process that outlives its parent in a session of its own has left
	// the group.
	Adopt bool

	cmd    *exec.Cmd
	exited chan struct{} // closed after the command has ended
	err    error         // of the command, set before exited is closed
	output tail
	copied chan struct{} // closed at the end of the output
	pipe   *os.File      // where the output is read
	end    sync.Once
	left   error // what could not be ended

	system
}

// endLimit is the time limit for the end of a group that was killed.
const endLimit = 2 * time.Second

// Start starts the command. Its standard output and standard error belong to the Group.
func (g *Group) Start(cmd *exec.Cmd) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = write, write
	g.cmd, g.pipe = cmd, read
	g.exited, g.copied = make(chan struct{}), make(chan struct{})
	err = g.prepare()
	if err == nil {
		err = g.launch()
	}
	write.Close()
	if err != nil {
		read.Close()
		return err
	}
	go func() {
		defer close(g.copied)
		io.Copy(&g.output, read)
	}()
	g.watch()
	return nil
}

// launch starts the command, and waits for it in a thread that does nothing else: Linux
// sends the signal for a parent's death when the thread ends that started the child.
func (g *Group) launch() error {
	started := make(chan error)
	go func() {
		defer close(g.exited)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := g.cmd.Start()
		started <- err
		if err == nil {
			g.err = g.cmd.Wait()
		}
	}()
	return <-started
}

// Exited returns a channel that is closed when the command has ended. Processes that it
// has started may continue.
func (g *Group) Exited() <-chan struct{} { return g.exited }

// Err returns how the command ended, as exec.Cmd's Wait does. Call it after the channel
// of Exited is closed.
func (g *Group) Err() error { return g.err }

// Output returns the end of what the group has written to its standard output and its
// standard error.
func (g *Group) Output() string { return g.output.String() }

// End kills the group and waits until it has ended. The error names the processes that
// could not be ended. Further calls return the same. It does nothing after a Start that
// failed.
func (g *Group) End() error {
	if g.cmd == nil || g.cmd.Process == nil {
		return nil
	}
	g.end.Do(func() {
		g.left = g.kill()
		select {
		case <-g.exited:
		case <-time.After(endLimit):
			g.left = errors.Join(g.left, errors.New("the command does not end"))
		}
		g.drain()
		g.unwatch()
	})
	return g.left
}

// EndDescendants kills all descendants of this process, on Linux. A program that has a
// Group with Adopt calls it when it cannot wait for End.
func EndDescendants() {
	g := Group{Adopt: true}
	g.kill()
}

// drain reads what is left of the output. Only a process that could not be ended still
// has the pipe open.
func (g *Group) drain() {
	select {
	case <-g.copied:
	case <-time.After(100 * time.Millisecond):
	}
	g.pipe.Close()
	<-g.copied
}

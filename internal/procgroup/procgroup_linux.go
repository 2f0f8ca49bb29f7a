package procgroup

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is Linux's part of a Group.
type system struct {
	stop, stopped chan struct{} // of reap; nil without Adopt
}

// prepare makes the command the leader of a process group, which is killed when this
// process ends in whatever way.
func (g *Group) prepare() error {
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if !g.Adopt {
		return nil
	}
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// watch starts to reap adopted processes.
func (g *Group) watch() {
	if !g.Adopt {
		return
	}
	g.stop, g.stopped = make(chan struct{}), make(chan struct{})
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		defer close(g.stopped)
		defer signal.Stop(ended)
		g.reap(ended)
	}()
}

func (g *Group) unwatch() {
	if g.stop != nil {
		close(g.stop)
		<-g.stopped
	}
}

// reapPause is the shortest time between two looks for adopted processes that have
// ended. A server that forks twice for each connection leaves one each time.
const reapPause = 50 * time.Millisecond

// reap waits for adopted processes when some have ended, until the end of the group.
func (g *Group) reap(ended <-chan os.Signal) {
	for {
		select {
		case <-ended:
		case <-g.stop:
			return
		}
		if all, err := readProcesses(); err == nil {
			g.reapFrom(all)
		}
		select {
		case <-time.After(reapPause):
		case <-g.stop:
			return
		}
	}
}

// reapFrom waits for this process's children that have ended, but for the command.
func (g *Group) reapFrom(all map[int]process) {
	if !g.Adopt || g.cmd == nil {
		return
	}
	for pid, p := range all {
		if p.dead && p.parent == os.Getpid() && pid != g.cmd.Process.Pid {
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// kill kills the group's processes until none is left. A process that is found may have
// started another one meanwhile, so it looks again.
func (g *Group) kill() error {
	failed := make(map[int]error)
	until := time.Now().Add(endLimit)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		all, err := readProcesses()
		if err != nil {
			return g.killBlindly(err)
		}
		g.reapFrom(all)
		alive := g.members(all)
		if len(alive) == 0 {
			return nil
		}
		for _, pid := range alive {
			failed[pid] = unix.Kill(pid, unix.SIGKILL)
		}
		if time.Now().After(until) {
			return notEnded(alive, all, failed)
		}
		time.Sleep(pause)
	}
}

// killBlindly ends the process group, where there is no list of processes.
func (g *Group) killBlindly(why error) error {
	if g.cmd == nil {
		return why
	}
	if err := unix.Kill(-g.cmd.Process.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("could not end process group %d: %w", g.cmd.Process.Pid, err)
	}
	return fmt.Errorf("processes that left process group %d may continue: %w", g.cmd.Process.Pid, why)
}

func notEnded(alive []int, all map[int]process, failed map[int]error) error {
	var names []string
	var why error
	for _, pid := range alive {
		names = append(names, fmt.Sprintf("%d (%s)", pid, all[pid].name))
		if why == nil {
			why = failed[pid]
		}
	}
	if why == nil {
		why = fmt.Errorf("still there %v after SIGKILL", endLimit)
	}
	return fmt.Errorf("could not end process %s: %w", strings.Join(names, ", "), why)
}

// members returns the processes of the group that are alive.
func (g *Group) members(all map[int]process) (alive []int) {
	known := make(map[int]bool)
	var isMember func(pid int) bool
	isMember = func(pid int) bool {
		p, ok := all[pid]
		if !ok {
			return false
		}
		if member, ok := known[pid]; ok {
			return member
		}
		known[pid] = false // against a circle: the list was read while it changed
		known[pid] = g.isRoot(pid, p) || isMember(p.parent)
		return known[pid]
	}
	for pid, p := range all {
		if !p.dead && isMember(pid) {
			alive = append(alive, pid)
		}
	}
	slices.Sort(alive)
	return alive
}

// isRoot reports whether a process is in the group for another reason than its parent.
func (g *Group) isRoot(pid int, p process) bool {
	if g.Adopt {
		return p.parent == os.Getpid()
	}
	return p.group == g.cmd.Process.Pid
}

//go:build unix && !linux

package procgroup

import (
	"errors"
	"fmt"
	"syscall"
)

type system struct{}

// prepare makes the command the leader of a process group (setpgid(2)).
func (g *Group) prepare() error {
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return nil
}

func (g *Group) watch()   {}
func (g *Group) unwatch() {}

// kill ends the process group.
func (g *Group) kill() error {
	if g.cmd == nil {
		return nil // the descendants are not known here
	}
	err := syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("could not end process group %d: %w", g.cmd.Process.Pid, err)
	}
	return nil
}

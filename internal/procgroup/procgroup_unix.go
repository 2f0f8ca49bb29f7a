//go:build unix

package procgroup

import (
	"os/exec"
	"syscall"
)

// Lead makes cmd, which has not been started yet, the leader of a group of its own
// (setpgid(2)).
func Lead(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Kill ends the group of a command that leads one.
func Kill(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

//go:build unix

package check

import (
	"os/exec"
	"syscall"
)

// killable makes the end of cmd's context kill its children too: a shell's client
// would go on otherwise.
func killable(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

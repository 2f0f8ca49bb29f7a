//go:build !unix

package procgroup

import "os/exec"

// Lead does nothing: there are no groups here.
func Lead(*exec.Cmd) {}

// Kill ends the command alone.
func Kill(cmd *exec.Cmd) error { return cmd.Process.Kill() }

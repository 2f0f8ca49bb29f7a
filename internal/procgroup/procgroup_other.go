//go:build !unix

package procgroup

type system struct{}

func (g *Group) prepare() error { return nil }
func (g *Group) watch()         {}
func (g *Group) unwatch()       {}

// kill ends the command alone: this system has no process groups.
func (g *Group) kill() error {
	select {
	case <-g.exited:
		return nil
	default:
		return g.cmd.Process.Kill()
	}
}

//go:build !unix

package procgroup

type system struct{}

func (g *Group) prepare() error { return nil }
func (g *Group) watch()         {}
func (g *Group) unwatch()       {}

// kill ends the command alone: this system has no process groups.
func (g *Group) kill() error {
	if g.cmd == nil {
		return nil // the descendants are not known here
	}
	select {
	case <-g.exited:
		return nil
	default:
		return g.cmd.Process.Kill()
	}
}

//go:build !linux

package proxy

// hasHungUp does not know it on this system.
func hasHungUp(int) (hungUp bool, unread int, known bool) { return false, 0, false }

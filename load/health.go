package load

import (
	"runtime/debug"
	"time"
)

// usage is what the process has used up to now.
type usage struct {
	cpu    time.Duration
	gcs    int64
	pauses []time.Duration // the most recent first
}

func used() usage {
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	return usage{cpu: cpuTime(), gcs: gc.NumGC, pauses: gc.Pause}
}

// since is what was used after before.
func (u usage) since(before usage) Health {
	h := Health{CPU: u.cpu - before.cpu, GCs: u.gcs - before.gcs}
	for _, p := range u.pauses[:min(int(h.GCs), len(u.pauses))] {
		h.GCPause = max(h.GCPause, p)
	}
	return h
}

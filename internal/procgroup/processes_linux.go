package procgroup

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A process is a line of the kernel's list of processes.
type process struct {
	name          string
	parent, group int
	dead          bool // it has ended, and its parent has not waited for it
}

// readProcesses reads the list of processes, by their ids (proc_pid_stat(5)).
func readProcesses() (map[int]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all := make(map[int]process)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		if p, ok := parseStat(string(stat)); ok {
			all[pid] = p
		}
	}
	if _, ok := all[os.Getpid()]; !ok {
		return nil, fmt.Errorf("/proc does not list this process")
	}
	return all, nil
}

// parseStat reads "PID (NAME) STATE PARENT GROUP ...". The name may contain anything.
func parseStat(stat string) (p process, ok bool) {
	from, to := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if from < 0 || to < from {
		return p, false
	}
	fields := strings.Fields(stat[to+1:])
	if len(fields) < 3 {
		return p, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	group, err2 := strconv.Atoi(fields[2])
	dead := fields[0] == "Z" || fields[0] == "X"
	return process{stat[from+1 : to], parent, group, dead}, err1 == nil && err2 == nil
}

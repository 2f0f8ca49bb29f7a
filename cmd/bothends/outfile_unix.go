//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner sets the owner of file to that of old, if this process is allowed to. This
// matters if root replaces the file of another user.
func keepOwner(file *os.File, old fs.FileInfo) {
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		file.Chown(int(stat.Uid), int(stat.Gid))
	}
}

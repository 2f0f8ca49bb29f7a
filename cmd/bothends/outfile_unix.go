//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives file the owner of old, where this process may: a superuser may write
// over the file of another user.
func keepOwner(file *os.File, old fs.FileInfo) {
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		file.Chown(int(stat.Uid), int(stat.Gid))
	}
}

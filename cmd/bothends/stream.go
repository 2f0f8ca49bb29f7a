package main

import (
	"io"
	"os"
)

// fileOf returns the file that w writes to.
func fileOf(w io.Writer) (file *os.File, ok bool) {
	file, ok = w.(*os.File)
	return file, ok
}

package main

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: a new file has the owner that its directory gives it.
func keepOwner(*os.File, fs.FileInfo) {}

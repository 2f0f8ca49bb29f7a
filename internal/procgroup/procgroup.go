// Package procgroup ends a command together with the processes that it has started: a
// shell's client, or a script's server, would go on otherwise.
package procgroup

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker for releases.
var version string

// versionCommand is `realign version`.
type versionCommand struct{}

// Run prints the version of this program, of Go, and of what decodes.
func (versionCommand) Run(h env) error {
	_, err := fmt.Fprintf(h.stdout, "realign %s\n%s %s/%s\nmodels: %s\n", build(), runtime.Version(), runtime.GOOS, runtime.GOARCH, h.engine())
	return err
}

// build names this program: the release, or else the revision it was built from.
func build() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return "unknown"
	}
	return revision + modified
}

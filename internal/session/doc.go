// Package session holds saved conversations: a session is an ordered list of runs with a title and an owner. It lists them,
// writes them to files and reads those again, and removes for good what was deleted a month ago.
//
// Runs themselves are decoded and recorded by internal/run. The package has no SQL and no HTTP.
package session

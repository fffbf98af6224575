// Package run decodes runs and records them. A run is one conversation decoded on a set of lanes with one seed and one set of
// sampling parameters. Its Spec says what was asked, its log of events what came of it, and a Transcript is what the log
// adds up to.
//
// The Hub starts runs: it hands them to a decoder, numbers the events that come back, saves them, and then shows them to
// any number of watchers. The package has no SQL and no HTTP, and it does not know how a decoder reaches its models.
package run

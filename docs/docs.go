// Package docs has the documents as they are, for the pages that show them.
package docs

import "embed"

// Files are the documents and their drawings, by name.
//
//go:embed *.md *.svg
var Files embed.FS

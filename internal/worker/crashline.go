package worker

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// crashLine passes on what a child writes to its standard error and keeps the line that tells best why it
// died: the first that only a dying program writes, since backtraces of any length follow it.
type crashLine struct {
	to io.Writer // everything is passed on to it

	mu   sync.Mutex // guards what follows
	line []byte     // unfinished, cut at maxLine
	why  string     // the line that was kept; "" before
}

// maxLine is how many bytes of a line are kept.
const maxLine = 1 << 10

// dying are words of lines that only a program writes that ends itself, or is ended by an error.
var dying = []string{
	"llama.cpp ended the process", "GGML_ASSERT", "GGML_ABORT", "ggml_abort", "CUDA error", "terminate called", "panic:", "fatal error:", "SIGSEGV", "SIGBUS", "SIGILL", "SIGABRT",
}

// Write implements io.Writer. The error is that of passing on.
func (l *crashLine) Write(b []byte) (int, error) {
	l.mu.Lock()
	for rest := b; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte("\n"))
		l.line = append(l.line, part[:min(len(part), maxLine-len(l.line))]...)
		rest = after
		if whole {
			l.keepIfFatal()
			l.line = l.line[:0]
		}
	}
	l.mu.Unlock()
	return l.to.Write(b)
}

// keepIfFatal keeps the line if it is the one; l.mu is held.
func (l *crashLine) keepIfFatal() {
	for _, word := range dying {
		if l.why == "" && bytes.Contains(l.line, []byte(word)) {
			l.why = strings.ToValidUTF8(string(bytes.TrimSpace(l.line)), "?")
		}
	}
}

// String is what was kept, "" if nothing.
func (l *crashLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keepIfFatal()
	return l.why
}

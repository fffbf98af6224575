package llamacpp

import "C"

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// Levels of llama.cpp's log, from ggml.h.
const (
	levelWarn     = 3
	levelError    = 4
	levelContinue = 5 // goes on with the line before
)

// log turns what llama.cpp reports into debug messages of slog.Default. llama.cpp has one log for the
// whole process.
var log logger

// logger puts the pieces that llama.cpp reports together to lines, and remembers errors for whoever called it.
type logger struct {
	mu     sync.Mutex      // guards the rest
	line   strings.Builder // pieces of a line that is not complete
	level  int             // of that line
	errors []string        // what was reported as an error since forget

	watching func(line string) // is given each line; or nil
}

// realignLog is called by llama.cpp, on any thread, with a line or a piece of one.
//
//export realignLog
func realignLog(level C.int, text *C.char) {
	log.write(int(level), C.GoString(text))
}

// write adds a piece of a line, and reports the line when it is complete.
func (l *logger) write(level int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if level != levelContinue {
		l.level = level
	}
	l.line.WriteString(text)
	if !strings.HasSuffix(text, "\n") {
		return
	}
	line := strings.TrimSpace(l.line.String())
	l.line.Reset()
	if l.level == levelError && line != "" {
		l.errors = append(l.errors, line)
	}
	if l.watching != nil {
		l.watching(line)
	}
	if line != "" && strings.Trim(line, ".") != "" {
		slog.Default().Log(context.Background(), slog.LevelDebug, line, "from", "llama.cpp", "level", levelName(l.level))
	}
}

// levelName is a level in slog's words; what is neither a warning nor an error is information.
func levelName(level int) string {
	switch level {
	case levelWarn:
		return "warn"
	case levelError:
		return "error"
	}
	return "info"
}

// watch has each line given to a function, which logs nothing itself; nil ends that.
func (l *logger) watch(to func(line string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watching = to
}

// forget drops the errors reported so far. A caller does so before what it will ask the reason of.
func (l *logger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = nil
}

// reason is the first error since forget, less the C function that reported it, as the end of a message.
func (l *logger) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errors) == 0 {
		return ""
	}
	_, text, found := strings.Cut(l.errors[0], ": ")
	if !found {
		text = l.errors[0]
	}
	return ": " + text
}

package fault

import (
	"path"
	"regexp"
	"strings"
)

// filePath is an absolute path with a folder and a name, on Unix or Windows, where it begins a word.
var filePath = regexp.MustCompile(`(^|[\s"'` + "`" + `(=:\[<“])((?:/[^\s/"'` + "`" + `():;,<>“”\]]+){2,}/?|[A-Za-z]:\\[^\s"'():;,<>]+)`)

// WithoutPaths replaces each path of a file in a text by the file's name: where things are on the server is nobody's business
// outside, and the name says which one is meant. The log has the whole.
func WithoutPaths(text string) string {
	return filePath.ReplaceAllStringFunc(text, func(found string) string {
		m := filePath.FindStringSubmatch(found)
		return m[1] + path.Base(strings.ReplaceAll(m[2], `\`, "/"))
	})
}

// Outside is the error in words for people outside: without its cause, and without paths of the server.
func (e *Error) Outside() string {
	text := WithoutPaths(e.Message)
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	return text
}

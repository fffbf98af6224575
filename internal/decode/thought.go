package decode

import "strings"

// Thinking models write what they consider before their answer, between these marks. Some templates write the first of them, so that
// a reply begins inside.
const (
	thoughtBegins = "<think>"
	thoughtEnds   = "</think>"
)

// CutThought cuts a reply into what the model thought and what it says, without the marks and the white space between. A reply that
// ended before its thought did says nothing; one without marks is all said.
func CutThought(text string) (thought, said string) {
	inside, begun := strings.CutPrefix(strings.TrimLeft(text, " \t\r\n"), thoughtBegins)
	if !begun {
		inside = text
	}
	if thought, said, ended := strings.Cut(inside, thoughtEnds); ended {
		return strings.TrimSpace(thought), strings.TrimLeft(said, " \t\r\n")
	}
	if begun {
		return strings.TrimSpace(inside), ""
	}
	return "", text
}

// Said is a reply without what the model thought: what people rate, rewards judge and a conversation goes on from.
func Said(text string) string {
	_, said := CutThought(text)
	return said
}

package decode

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// detokenizer turns a lane's tokens into events with text. It holds back what cannot be shown yet: bytes of an
// unfinished UTF-8 character, and anything that could be the beginning of a stop string. Each lane and each
// span has one, from its beginning to its end.
type detokenizer struct {
	stops   []string // texts that end the lane; see Sampling.Stop
	text    []byte   // bytes of all tokens so far that are not released
	held    []piece  // events not released, in order
	stopped bool     // a stop string was found; text ends before it

	leading bool // no byte has come yet, and a space that the text begins with is not its own: see Spaced
}

// piece is an event with the end of its bytes in detokenizer.text.
type piece struct {
	event Event
	end   int // in bytes
}

// clone is a detokenizer that goes on from the same place.
func (s *detokenizer) clone() detokenizer {
	return detokenizer{stops: s.stops, text: slices.Clone(s.text), held: slices.Clone(s.held), stopped: s.stopped, leading: s.leading}
}

// add takes one event. For a token event, bytes are what its token stands for; other events just keep
// their place in the order.
func (s *detokenizer) add(e Event, bytes []byte) {
	if s.leading && len(bytes) > 0 {
		s.leading = false
		if bytes[0] == ' ' {
			bytes = bytes[1:]
		}
	}
	s.text = append(s.text, bytes...)
	s.held = append(s.held, piece{e, len(s.text)})
}

// stop looks for a stop string and, if one is there, cuts the text before it. It must be called after each
// token, so that a match ends in the newest token.
func (s *detokenizer) stop() bool {
	if s.stopped {
		return true
	}
	cut := -1
	for _, stop := range s.stops {
		if i := strings.Index(string(s.text), stop); i >= 0 && (cut < 0 || i < cut) {
			cut = i
		}
	}
	if cut < 0 {
		return false
	}
	s.stopped = true
	s.text = s.text[:cut]
	for i := range s.held {
		s.held[i].end = min(s.held[i].end, cut)
	}
	return true
}

// release calls emit with the events that can be shown. With all set (at the end of a lane) no event is
// held back; bytes that no token made a character of are dropped, or become U+FFFD inside the text.
func (s *detokenizer) release(all bool, emit func(Event)) {
	safe := len(s.text)
	if !all {
		safe -= s.partial()
	}
	n, from := 0, 0
	for _, p := range s.held {
		if p.end > safe {
			break
		}
		if p.event.Type == EventToken {
			to := p.end - unfinished(s.text[from:p.end]) // a character belongs to the token that finished it
			p.event.Text = strings.ToValidUTF8(string(s.text[from:to]), "\uFFFD")
			from = to
		}
		emit(p.event)
		n++
	}
	s.held = append(s.held[:0], s.held[n:]...)
	s.text = append(s.text[:0], s.text[from:]...)
	for i := range s.held {
		s.held[i].end -= from
	}
}

// partial is the length of the longest end of the text that begins a stop string.
func (s *detokenizer) partial() int {
	longest := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.text)); n > longest; n-- {
			if string(s.text[len(s.text)-n:]) == stop[:n] {
				longest = n
				break
			}
		}
	}
	return longest
}

// unfinished is how many bytes at the end begin a UTF-8 character that needs more bytes.
func unfinished(b []byte) int {
	for n := 1; n <= min(utf8.UTFMax-1, len(b)); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}

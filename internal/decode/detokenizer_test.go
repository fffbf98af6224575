package decode

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// spell runs pieces through a detokenizer and returns the text of each token event.
func spell(stops []string, pieces ...string) (texts []string, stopped bool) {
	s := detokenizer{stops: stops}
	emit := func(e Event) { texts = append(texts, e.Text) }
	for _, p := range pieces {
		s.add(Event{Type: EventToken}, []byte(p))
		if s.stop() {
			stopped = true
			break
		}
		s.release(false, emit)
	}
	s.release(true, emit)
	return texts, stopped
}

func TestSpeller(t *testing.T) {
	for _, c := range []struct {
		name    string
		stops   []string
		pieces  []string
		want    string // joined by |
		stopped bool
	}{
		{"plain", nil, []string{"a", "b"}, "a|b", false},
		{"split character", nil, []string{"caf\xc3", "\xa9!"}, "caf|é!", false},
		{"four bytes", nil, []string{"\xf0", "\x9f", "\x98", "\x80"}, "|||😀", false},
		{"unfinished at the end", nil, []string{"a\xc3"}, "a", false},
		{"broken", nil, []string{"a\xc3", "b"}, "a|\uFFFDb", false},
		{"stop", []string{"END"}, []string{"ab", "cE", "N", "Dx"}, "ab|c||", true},
		{"almost a stop", []string{"END"}, []string{"E", "N", "T"}, "E|N|T", false},
		{"stop inside a token", []string{"b"}, []string{"abc"}, "a", true},
		{"earliest of two", []string{"cd", "bcd"}, []string{"abcd"}, "a", true},
		{"stop after a split character", []string{"é."}, []string{"x\xc3", "\xa9", "."}, "x||", true},
		{"empty pieces", nil, []string{"a", "", "b"}, "a||b", false},
	} {
		got, stopped := spell(c.stops, c.pieces...)
		if strings.Join(got, "|") != c.want || stopped != c.stopped {
			t.Errorf("%s: %q (stopped %v), want %q (%v)", c.name, strings.Join(got, "|"), stopped, c.want, c.stopped)
		}
	}
}

// However text is cut into tokens, what is shown is the text, cut before the first stop string.
func FuzzSpeller(f *testing.F) {
	f.Add("hello wörld END more", "END", uint8(3))
	f.Add("😀😀", "", uint8(1))
	f.Add("aaab", "aab", uint8(1))
	f.Fuzz(func(t *testing.T, text, stop string, size uint8) {
		if len(text) > 500 || !utf8.ValidString(text) || !utf8.ValidString(stop) {
			return
		}
		var stops []string
		want := text
		if stop != "" {
			stops = []string{stop}
			want, _, _ = strings.Cut(text, stop)
		}
		var pieces []string
		n := int(size)%5 + 1
		for rest := text; rest != ""; {
			k := min(n, len(rest))
			pieces = append(pieces, rest[:k])
			rest = rest[k:]
		}
		got, _ := spell(stops, pieces...)
		if strings.Join(got, "") != want {
			t.Errorf("%q in pieces of %d with stop %q: %q, want %q", text, n, stop, strings.Join(got, ""), want)
		}
	})
}

// A space that SentencePiece puts before a text is not part of a reply, in lanes and in maps; of a text that is completed it is.
func TestFirstSpace(t *testing.T) {
	for _, test := range []struct {
		leading bool
		pieces  []string
		want    string
	}{
		{true, []string{" Hi", " you"}, "Hi you"}, {false, []string{" Hi", " you"}, " Hi you"}, {true, []string{" ", "Hi"}, "Hi"},
		{true, []string{"", " Hi"}, "Hi"}, {true, []string{"  Hi"}, " Hi"}, {true, []string{"Hi", " you"}, "Hi you"}, {true, []string{"\n", " Hi"}, "\n Hi"},
	} {
		s, got := detokenizer{leading: test.leading}, ""
		for _, piece := range test.pieces {
			s.add(Event{Type: EventToken}, []byte(piece))
			s.release(false, func(e Event) { got += e.Text })
		}
		if s.release(true, func(e Event) { got += e.Text }); got != test.want {
			t.Errorf("%q is spelled %q, want %q", test.pieces, got, test.want)
		}
	}
}

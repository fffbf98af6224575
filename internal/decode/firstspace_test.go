package decode_test

import (
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

// A reply of a SentencePiece vocabulary begins without the space of its first word, a completion with it; stop strings and a map see
// the same text.
func TestRepliesWithoutTheFirstSpace(t *testing.T) {
	o := decodetest.Options{Spaced: true, EndLogit: -20, Sequences: 256, Cells: 1 << 14}
	e := engine(t, o, decode.Config{})
	req := request(0.5)
	req.Sampling.MaxTokens = 12
	reply := run(t, e, req).text(0)
	if reply == "" || reply[0] == ' ' || !strings.Contains(reply, " ") {
		t.Errorf("a reply is %q", reply)
	}
	req.Prompt = decode.Prompt{Text: "abcabd"}
	if got := run(t, e, req).text(0); got == "" || got[0] != ' ' && !strings.HasPrefix(got, "\uFFFD") {
		t.Errorf("a completion is %q", got)
	}
	m, _ := mapped(t, e, mapRequest(0.4, 0.6))
	if got := strings.Join(m.At(0.5).Pieces, ""); got != reply {
		t.Errorf("a map says %q, a lane %q", got, reply)
	}
}

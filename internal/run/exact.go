package run

import "realign/internal/decode"

// Keep leaves the first n tokens of a lane: what a lane with particles that was cut off had told of them.
func (l *Lane) Keep(n int) {
	again := Lane{Lane: l.Lane}
	for i := range min(n, len(l.Tokens)) {
		t := &l.Tokens[i]
		again.token(decode.Event{
			ID: t.ID, Text: t.Text, Name: t.Name, Lambda: t.Lambda,
			Logp: t.Logp, Top: t.Top, KLReference: t.KLReference, KLAligned: t.KLAligned, LogZ: t.LogZ,
		})
	}
	*l = again
}

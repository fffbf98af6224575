package decode_test

import (
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Events of several lanes add up lane by lane, and replies are there once every lane has ended.
func TestGather(t *testing.T) {
	lanes := []decode.Lane{{Index: 3, Lambda: decode.Vector{1}}, {Index: 1, Sample: 2}}
	token := func(lane int, id decode.Token, text string) decode.Event {
		return decode.Event{Type: decode.EventToken, Lane: lane, ID: id, Text: text}
	}
	for _, keep := range []bool{false, true} {
		g := decode.Gather{Tokens: keep}
		first := g.Lane(3)
		for _, e := range []decode.Event{token(3, 7, "a"), token(1, 8, "b"), {Type: decode.EventLambda, Lane: 3}, token(3, 9, " c"), {Type: decode.EventEnd, Lane: 3, Reason: decode.EndStop, Index: 2}} {
			g.Add(e)
		}
		if _, ok := g.Replies(lanes); ok {
			t.Error("a lane that has not ended is a reply")
		}
		g.Add(decode.EndWithError(lanes[1], 1, fault.New(fault.Unavailable, "the worker died")))
		replies, ok := g.Replies(lanes)
		if !ok || len(replies) != 2 {
			t.Fatalf("%+v, %v", replies, ok)
		}
		if r := replies[0]; r.Lane != 3 || r.Text != "a c" || r.Tokens != 2 || r.Reason != decode.EndStop || r.Error != nil {
			t.Errorf("%+v", r)
		}
		if r := replies[1]; r.Lane != 1 || r.Sample != 2 || r.Text != "b" || r.Tokens != 1 || r.Reason != decode.EndError || r.Error.Code != string(fault.Unavailable) {
			t.Errorf("%+v", r)
		}
		var ids []decode.Token
		for _, e := range first.Tokens {
			ids = append(ids, e.ID)
		}
		if want := []decode.Token{7, 9}; keep && !slices.Equal(ids, want) || !keep && ids != nil {
			t.Errorf("tokens %v are kept", ids)
		}
	}
}

package decode_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

// conversation is a prompt that follows earlier turns.
func conversation(turns ...string) decode.Prompt {
	var p decode.Prompt
	for i, text := range turns {
		p.Messages = append(p.Messages, decode.Message{Role: []string{"user", "assistant"}[i%2], Content: text})
	}
	return p
}

// The same prompt again, or a follow-up turn, reads only what is new, for its owner alone.
func TestPrefixIsReadOnce(t *testing.T) {
	pair := decodetest.New(decodetest.Options{EndLogit: -30})
	e := decode.NewEngine(pair, decode.Config{})
	defer e.Close()
	long := "abcdefgabcdefgabcdefgabcdefgabcdefg"
	req := request(0, 0.5, 2)
	req.Owner, req.Prompt = "ann", conversation(long)
	first := run(t, e, req)
	if s := first.stats(); s.Cached != 0 {
		t.Errorf("the first request found %d tokens", s.Cached)
	}
	again := run(t, e, req)
	for lane := range req.Lanes {
		if !slices.Equal(again.tokens(lane), first.tokens(lane)) {
			t.Errorf("lane %d differs when the prompt was read before", lane)
		}
	}
	prompt := first.stats().PromptTokens
	if a, b := first.stats(), again.stats(); b.Cached != prompt-1 || a.Rows["reference"]-b.Rows["reference"] != int64(prompt-1) || a.Rows["aligned"]-b.Rows["aligned"] != int64(prompt-1) {
		t.Errorf("rows %v at first, then %v with %d of %d tokens found", a.Rows, b.Rows, b.Cached, prompt)
	}
	other := req
	other.Owner = "bob"
	if s := run(t, e, other).stats(); s.Cached != 0 {
		t.Errorf("another owner found %d tokens", s.Cached)
	}
	plain := req
	plain.Plain = true
	if s := run(t, e, plain).stats(); s.Cached != 0 {
		t.Errorf("a plain request found %d tokens", s.Cached)
	}
	turn := req
	turn.Prompt = conversation(long, first.text(2), "abc")
	tokens, err := pair.EncodeChat(turn.Prompt.Messages)
	if err != nil {
		t.Fatal(err)
	}
	want := 0 // the answer's bytes that were no characters are not in its text
	for lane := range req.Lanes {
		answer := slices.Concat(first.all[0].Prompt.Tokens, first.tokens(lane))
		n := 0
		for n < len(answer)-1 && answer[n] == tokens[n] { // its last token was not read
			n++
		}
		want = max(want, n)
	}
	if s := run(t, e, turn).stats(); s.Cached != want || want < prompt {
		t.Errorf("a follow-up of %d tokens found %d, want %d", s.PromptTokens, s.Cached, want)
	}
}

// Whatever is kept and dropped, requests say what they say to an engine that keeps nothing, and nothing is lost of the
// cache: at the end, when another owner needs all of it, it is there.
func TestKeepingChangesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	options := decodetest.Options{Seed: 4, Cells: 900, Sequences: 24, Batch: 40, EndLogit: -3}
	pair := decodetest.New(options)
	keeping := decode.NewEngine(pair, decode.Config{PrefixCells: 500})
	defer keeping.Close()
	forgetful := engine(t, options, decode.Config{PrefixCells: -1})
	history := map[string][]string{}
	found := 0
	for i := range 150 {
		owner := []string{"ann", "bob", "eve"}[random.IntN(3)]
		turns := history[owner]
		if len(turns) > 6 || random.IntN(4) == 0 {
			turns = nil
		}
		turns = append(slices.Clone(turns), fmt.Sprint("abcdefg"[:1+random.IntN(6)], i%3))
		var req decode.Request
		if random.IntN(5) == 0 {
			req = mapRequest(0, 2)
			req.Map.Branches = 8
		} else {
			req = request([]float64{0, 0.4, 1, 2}[:1+random.IntN(4)]...)
		}
		req.Aligned = [][]string{{"warm"}, {"terse"}}[random.IntN(2)]
		req.Owner, req.Prompt, req.Seed = owner, conversation(turns...), random.Uint64()
		req.Sampling.MaxTokens = 5 + random.IntN(30)
		req.Trace.Off = random.IntN(2) == 0
		got, want := run(t, keeping, req), run(t, forgetful, req)
		found += got.stats().Cached
		var a, b decode.LambdaMap
		for _, ev := range got.all {
			a.Add(ev)
		}
		for _, ev := range want.all {
			b.Add(ev)
		}
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("request %d: map %v, want %v", i, a, b)
		}
		for lane := range req.Lanes {
			if !slices.Equal(got.tokens(lane), want.tokens(lane)) || got.end(lane).Reason != want.end(lane).Reason {
				t.Fatalf("request %d, lane %d: %v, want %v", i, lane, got.tokens(lane), want.tokens(lane))
			}
		}
		history[owner] = append(turns, got.text(0)+"a")
		keeping.Counters() // the step is over
		if used := pair.Table().Used(); used > 500 {
			t.Fatalf("after request %d %d cells are kept, at most 500", i, used)
		}
	}
	if found == 0 {
		t.Error("nothing was ever found")
	}
	all := request(0.5)
	all.Owner = "zoe"
	all.Lanes = nil
	for i := range 24 {
		all.Lanes = append(all.Lanes, decode.Lane{Index: i, Sample: i, Lambda: decode.Vector{0.5}})
	}
	all.Sampling.MaxTokens, all.Sampling.IgnoreEnd = 36, true
	if s := run(t, keeping, all).stats(); s.Tokens != 24*36 {
		t.Errorf("%d tokens on all sequences, want %d", s.Tokens, 24*36)
	}
}

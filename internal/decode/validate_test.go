package decode_test

import (
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// TestRefusedBeforeAnyModel: what no model could make right is refused at its field before one is asked.
func TestRefusedBeforeAnyModel(t *testing.T) {
	for name, c := range map[string]struct {
		field string
		edit  func(*decode.Request)
	}{
		"an aligned model twice": {"aligned", func(r *decode.Request) { r.Aligned = []string{"warm", "terse", "warm"} }},
		"a prompt's token":       {"prompt", func(r *decode.Request) { r.Prompt = decode.Prompt{Tokens: []decode.Token{4, -1}} }},
		"a prefix's token":       {"prefix", func(r *decode.Request) { r.Lanes[0].Prefix = []decode.Token{1, -7} }},
		"a bias's token":         {"bias", func(r *decode.Request) { r.Sampling.Bias = map[decode.Token]float64{-1: 1} }},
	} {
		r := decode.Request{
			Prompt: decode.Prompt{Text: "abc"}, Sampling: decode.DefaultSampling(),
			Lanes: []decode.Lane{{Lambda: decode.Vector{0.5, 0, 0}}},
		}
		if err := r.Validate(3); err != nil {
			t.Fatal(err)
		}
		c.edit(&r)
		if f := fault.Of(r.Validate(3)); f == nil || f.Kind != fault.Invalid || f.Field != c.field {
			t.Errorf("%s: %v, want an invalid %s", name, f, c.field)
		}
	}
}

// TestStopThatIsAControlToken: a stop string ends a reply also where it spells a token that has no text.
func TestStopThatIsAControlToken(t *testing.T) {
	e := decode.NewEngine(decodetest.New(decodetest.Options{Seed: 3}), decode.Config{})
	defer e.Close()
	for _, mapped := range []bool{false, true} {
		r := request(0.5)
		r.Sampling.MaxTokens, r.Sampling.IgnoreEnd = 40, true
		r.Sampling.Bias = map[decode.Token]float64{decodetest.Turn: 60}
		if mapped {
			r.Lanes, r.Map = nil, &decode.Map{From: 0, To: 1, Branches: 8}
		}
		for _, stop := range [][]string{nil, {"x y z", "|"}} {
			r.Sampling.Stop = stop
			var reasons []string
			for _, event := range run(t, e, r).all {
				if event.Type == decode.EventEnd && event.Reason != "" {
					reasons = append(reasons, event.Reason)
				}
				if event.Branch != nil {
					reasons = append(reasons, event.Branch.Reason)
				}
			}
			want := decode.EndLength
			if stop != nil {
				want = decode.EndStop
			}
			if len(reasons) == 0 || reasons[0] != want {
				t.Errorf("map %v, stop %q: replies end with %q, want %q", mapped, stop, reasons, want)
			}
		}
	}
}

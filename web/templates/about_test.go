package templates

import "testing"

func TestAboutAPair(t *testing.T) {
	v := Playground{
		Draft: Draft{Pair: "demo", Aligned: []string{"warm", "short"}},
		Pairs: []PairOption{{Name: "other", About: "Another."}, {Name: "demo", About: "A tiny model.", Aligned: []AlignedModel{
			{Name: "warm", About: "Rewarded for warm replies."}, {Name: "long", About: "Rewarded for length."}, {Name: "short"},
		}}},
	}
	if got, want := v.about(), "Aligned model: Rewarded for warm replies. A tiny model."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	v.Draft.Pair = "gone"
	if got := v.about(); got != "" {
		t.Errorf("%q of a pair that is not there", got)
	}
}

func TestFirstSentence(t *testing.T) {
	for text, want := range map[string]string{"One. Two.": "One.", "Warm replies. KL strength β = 0.05 in training.": "Warm replies.", "β = 0.05 in training.": "β = 0.05 in training.", "no end": "no end", "": ""} {
		if got := FirstSentence(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

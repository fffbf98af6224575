package decode_test

import (
	"testing"

	"realign/internal/decode"
)

func TestCutThought(t *testing.T) {
	for text, want := range map[string][2]string{
		"":                                      {"", ""},
		"Hello.":                                {"", "Hello."},
		"<think>\nHm.\n</think>\n\nHello.":      {"Hm.", "Hello."},
		"\n<think></think>Hello.":               {"", "Hello."},
		"Hm, well.\n</think>\n\nHello.":         {"Hm, well.", "Hello."},
		"<think>Hm":                             {"Hm", ""},
		"I <think> so.":                         {"", "I <think> so."},
		"<think>a</think>b</think>c":            {"a", "b</think>c"},
		"<think> a <think> b </think> c ":       {"a <think> b", "c "},
		"  Hello.":                              {"", "  Hello."},
		"<think>\nHm.\n</think>":                {"Hm.", ""},
		"Use the tag &lt;think&gt; as you like": {"", "Use the tag &lt;think&gt; as you like"},
	} {
		if thought, said := decode.CutThought(text); thought != want[0] || said != want[1] {
			t.Errorf("%q: thought %q, said %q", text, thought, said)
		}
	}
}

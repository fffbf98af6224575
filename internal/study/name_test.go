package study

import (
	"testing"

	"realign/internal/fault"
)

// TestNames: what a person takes for one name is one, and what cannot be seen is in none.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		" Ann\u00a0 Lee ": "Ann Lee", "Ann\u3000Lee": "Ann Lee", "\uff21nn": "Ann", "Ame\u0301lie": "Amélie", "\ufb01ona": "fiona",
		"\u0645\u06cc\u200c\u0634\u0648\u062f": "\u0645\u06cc\u200c\u0634\u0648\u062f", "שרה": "שרה", "李 明": "李 明",
	} {
		if got, err := CleanName(name); got != want || err != nil {
			t.Errorf("%q becomes %q, %v; want %q", name, got, err, want)
		}
	}
	for _, bad := range []string{
		"", " ", "\u200b", "Ann\u202egeil", "Ann\u200f", "\u2066Ann\u2069", "Ann\x00", "Ann\x1b[1m", "Ann\x7f", "Ann\u0085x\u009b", "Ann\ufeff", "Ann\u00ad", "Ann\xff", "Ann\ue000",
	} {
		if got, err := CleanName(bad); fault.Of(err) == nil || fault.Of(err).Field != "name" {
			t.Errorf("%q becomes %q, %v", bad, got, err)
		}
	}
	for _, same := range [][2]string{{"Ann", "aNN"}, {"STRASSE", "straße"}, {"Ame\u0301lie", "AMÉLIE"}, {"\uff21nn", "ann"}, {"\u0645\u06cc\u200c\u0634", "\u0645\u06cc\u0634"}, {"Σίσυφος", "ΣΊΣΥΦΟΣ"}} {
		if FoldName(same[0]) != FoldName(same[1]) {
			t.Errorf("%q and %q are two", same[0], same[1])
		}
	}
	if FoldName("Ann") == FoldName("Anna") {
		t.Error("Ann and Anna are one")
	}
}

package spreadsheet

import (
	"math"
	"strings"
	"testing"
)

func TestWriter(t *testing.T) {
	var b strings.Builder
	w := NewWriter(&b)
	for _, row := range [][]any{
		{"text", "λ", "n", "none"},
		{`=HYPERLINK("http://evil")`, -0.5, -3, nil},
		{"-1, \"quoted\"\nand more", math.NaN(), uint64(math.MaxUint64), math.Inf(1)},
		{"plain", 1e-7, 0, ""},
	} {
		if err := w.Write(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(struct{}{}); err == nil {
		t.Error("a struct was written")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := "\ufefftext,λ,n,none\n\"'=HYPERLINK(\"\"http://evil\"\")\",-0.5,-3,\n\"'-1, \"\"quoted\"\"\nand more\",,18446744073709551615,\nplain,1e-07,0,\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestInert(t *testing.T) {
	for _, text := range []string{"", "a", "=1", "+1", "-1", "@a", "\t=1", "\r", "\n=1", "＝1", "'", "'=1", "a=1", "'a", "é"} {
		inert := Inert(text)
		if len(inert) > 0 && strings.ContainsRune(formula, []rune(inert)[0]) || Plain(inert) != text && !strings.HasPrefix(text, "'") {
			t.Errorf("%q is written %q and read %q", text, inert, Plain(inert))
		}
	}
}

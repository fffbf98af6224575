package templates

import (
	"encoding/json"
	"os"
	"testing"
)

func TestCapital(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "the end": "The end", "ärger": "Ärger", "λ moved": "Λ moved", "élan": "Élan", "ж": "Ж", "1 λ": "1 λ", "\xff": "\xff", "日本": "日本",
	} {
		if got := Capital(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := sentence("ärger"); got != "Ärger." {
		t.Errorf("%q", got)
	}
}

// The controllers write λ the same way: web/static/lambda/lambda.test.ts reads the same table.
func TestLambdaTable(t *testing.T) {
	data, err := os.ReadFile("testdata/lambda.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Lambda                      []float64
		Beta                        float64
		Text, Hue, Effective, Words string
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if got := FormatLambda(r.Lambda); got != r.Text {
			t.Errorf("FormatLambda(%v) = %q, want %q", r.Lambda, got, r.Text)
		}
		if got := hue(r.Lambda); got != r.Hue {
			t.Errorf("hue(%v) = %q, want %q", r.Lambda, got, r.Hue)
		}
		models := make([]AlignedModel, len(r.Lambda))
		models[0].Beta = r.Beta
		if got := effectiveBeta(r.Lambda, models); got != r.Effective {
			t.Errorf("effectiveBeta(%v, %v) = %q, want %q", r.Lambda, r.Beta, got, r.Effective)
		}
		if got := words(r.Lambda); got != r.Words {
			t.Errorf("words(%v) = %q, want %q", r.Lambda, got, r.Words)
		}
	}
}

func TestRatioStep(t *testing.T) {
	for x, want := range map[float64]int{0: 0, 0.09: 0, 0.1: 1, -0.1: -1, 0.5: 2, 1.5: 3, -3: -4, 40: 4} {
		if got := ratioStep(x); got != want {
			t.Errorf("ratioStep(%v) = %d, want %d", x, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"one\n two", 20, "one two"},
		{"abcdef", 4, "abc…"},
		{"äöü", 3, "äöü"},
		{"ab cdef", 4, "ab…"},
		{"", 3, ""},
	} {
		if got := shorten(c.in, c.n); got != c.want {
			t.Errorf("shorten(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5521408: "5.3 MiB", 1 << 40: "1 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

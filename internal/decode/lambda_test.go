package decode

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"realign/internal/fault"
)

// TestNumbers goes through the table that the controllers of the pages are tested by, too.
func TestNumbers(t *testing.T) {
	data, err := os.ReadFile("testdata/numbers.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Numbers map[string]float64
		None    []string
		Commas  map[string]string
		Lists   map[string][]float64
		Asked   []string
	}
	if err := json.Unmarshal(data, &table); err != nil || len(table.Numbers) == 0 || len(table.Lists) == 0 {
		t.Fatalf("%v: %+v", err, table)
	}
	for text, want := range table.Numbers {
		if x, err := ParseNumber("x", text); err != nil || x != want {
			t.Errorf("%q is %v (%v), want %v", text, x, err, want)
		}
	}
	for _, text := range table.None {
		if x, err := ParseNumber("x", text); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q is %v, %v", text, x, err)
		}
	}
	for text, says := range table.Commas {
		if x, err := ParseNumber("x", text); fault.KindOf(err) != fault.Invalid || !strings.HasSuffix(err.Error(), "has a comma: write "+says) {
			t.Errorf("%q is %v, %v", text, x, err)
		}
	}
	for text, want := range table.Lists {
		if list, err := ParseNumbers("x", text); err != nil || !slices.Equal(list, want) {
			t.Errorf("%q is %v (%v), want %v", text, list, err, want)
		}
	}
	for _, text := range table.Asked {
		if list, err := ParseNumbers("x", text); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "can be one number or two: write ") {
			t.Errorf("%q is %v, %v", text, list, err)
		}
	}
}

func TestParseLambdas(t *testing.T) {
	list, err := ParseLambdas("lambda", "0.5:0.2, 1/6:0;−1:2", 2)
	if err != nil || len(list) != 3 || !list[1].Equal(Vector{1. / 6, 0}) || list[2].String() != "-1:2" {
		t.Errorf("%v, %v", list, err)
	}
	for text, says := range map[string]string{
		"": "has no number", "0.5": "has 1 values, and there are 2 aligned models", "a:b": "is not a number", "0:21": "21 is outside -5 to 20", "0:0,5;1:1": "has 1 values",
	} {
		if _, err := ParseLambdas("lambda", text, 2); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %s", text, err, says)
		}
	}
}

func FuzzNumbers(f *testing.F) {
	f.Add("0, 1/6; ½ −1e-3")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseNumbers("x", text)
		if err != nil {
			return
		}
		again, err := ParseNumbers("x", FormatNumbers(list))
		if err != nil || !slices.Equal(list, again) || slices.ContainsFunc(list, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }) {
			t.Errorf("%q is %v, and that is written as %q: %v, %v", text, list, FormatNumbers(list), again, err)
		}
	})
}

package intake_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/intake"
)

func TestBudget(t *testing.T) {
	b := intake.NewBudget("memory", 10)
	first, err := b.Take(t.Context(), 7, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Take(t.Context(), 4, time.Millisecond); fault.KindOf(err) != fault.Busy {
		t.Errorf("over the budget: %v", err)
	}
	if _, err := b.Take(t.Context(), 11, time.Hour); fault.KindOf(err) != fault.Invalid {
		t.Errorf("more than all of it: %v", err)
	}
	got := make(chan error)
	go func() {
		release, err := b.Take(t.Context(), 4, time.Hour)
		if err == nil {
			release()
		}
		got <- err
	}()
	first()
	first() // twice gives nothing back
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if n := b.Taken(); n != 0 {
		t.Errorf("%d bytes are still taken", n)
	}
}

func TestShape(t *testing.T) {
	s := intake.Shape{Depth: 4, Entries: 3, Named: map[string]int{"lanes": 2, "prefix": 5}}
	for text, words := range map[string]string{
		`{"lanes":[{},{}],"prefix":[1,2,3,4,5]}`:     "",
		`{"lanes":[{"prefix":[1,2,3,4,5]},{}]}`:      "",
		`{"lanes":[{},{},{}]}`:                       "lanes",
		`{ "lanes" : [ {} , {} , {} ] }`:             "lanes",
		`{"prefix":[1,2,3,4,5,6]}`:                   "prefix",
		`{"other":["a,b","],","\"",4]}`:              "other",
		`{"other":["a,b,c,d,e","]]]",["x"]]}`:        "",
		`{"a":1,"b":2,"c":3,"d":4}`:                  "json",
		`[[[[[1]]]]]`:                                "deep",
		`{"lanes":[{"a":1,"b":2,"c":3}]}`:            "", // members of a lane are no lanes
		`{"\u006canes":[{},{},{},{}]}`:               "json",
		`{"x":"` + strings.Repeat("[", 100) + `"}`:   "",
		`not json ]]]] }}}} , "`:                     "",
		`{"prefix":[[1,2,3,4,5,6],2]}`:               "prefix",
		`{"x":{"lanes":[[],[],[]]},"y":1,"z":[1,2]}`: "lanes",
	} {
		err := s.Check([]byte(text))
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want one that says %q", text, err, words)
		}
	}
}

// FuzzShape holds that what passes decodes to no array or object with more entries than allowed.
func FuzzShape(f *testing.F) {
	f.Add(`{"a":[1,2,3],"b":{"c":[{}]}}`)
	s := intake.Shape{Depth: 6, Entries: 4}
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			_ = s.Check([]byte(text))
			return
		}
		if worst, depth := measure(v); (worst > s.Entries || depth > s.Depth) && s.Check([]byte(text)) == nil {
			t.Errorf("%q passes with %d entries and depth %d", text, worst, depth)
		}
	})
}

func measure(v any) (worst, depth int) {
	var inner []any
	switch v := v.(type) {
	case []any:
		inner = v
	case map[string]any:
		for _, x := range v {
			inner = append(inner, x)
		}
	default:
		return 0, 0
	}
	worst = len(inner)
	for _, x := range inner {
		w, d := measure(x)
		worst, depth = max(worst, w), max(depth, d)
	}
	return worst, depth + 1
}

func TestAllowance(t *testing.T) {
	a := &intake.Allowance{R: strings.NewReader(`"` + strings.Repeat("x", 10000) + `"`)}
	a.Allow(2000)
	var text string
	if err := json.NewDecoder(a).Decode(&text); err == nil || !a.Full() {
		t.Errorf("a text of 10000 bytes was read where 2000 are allowed: %v", err)
	}
}

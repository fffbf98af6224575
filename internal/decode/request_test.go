package decode

import (
	"encoding/json"
	"math"
	"testing"
)

func TestVectorJSON(t *testing.T) {
	for text, want := range map[string]Vector{"0.5": {0.5}, "[1,-2.25]": {1, -2.25}, "[]": {}, "null": {math.NaN()}} {
		var v Vector
		if err := json.Unmarshal([]byte(`{"v":`+text+`}`), &struct{ V *Vector }{&v}); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if text == "null" { // encoding/json leaves the target alone
			continue
		}
		if !v.Equal(want) {
			t.Errorf("%s: %v, want %v", text, v, want)
		}
		if back, err := json.Marshal(v); err != nil || string(back) != text {
			t.Errorf("%v: %s, %v", v, back, err)
		}
	}
	var v Vector
	if err := json.Unmarshal([]byte(`[1,null]`), &v); err != nil || len(v) != 2 || !math.IsNaN(v[1]) {
		t.Errorf("[1,null]: %v, %v", v, err)
	}
	for _, text := range []string{`"1"`, `{}`, `[1,"x"]`, `true`} {
		if err := json.Unmarshal([]byte(text), &v); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// Any request that JSON can bring in is refused or fit to decode, never a panic.
func FuzzValidate(f *testing.F) {
	f.Add(`{"prompt":{"text":"a"},"lanes":[{"lane":0,"lambda":0.5}],"sampling":{"max_tokens":5,"top_p":1},"seed":"7"}`)
	f.Add(`{"prompt":{"messages":[{"role":"user","content":"x"}]},"lanes":[{"lambda":[1,2]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var r Request
		if json.Unmarshal([]byte(text), &r) != nil {
			return
		}
		if r.Validate(1) == nil && (len(r.Lanes) == 0 || r.Sampling.MaxTokens < 1) {
			t.Errorf("accepted %s", text)
		}
	})
}

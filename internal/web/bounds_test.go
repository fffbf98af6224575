package web

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"realign/internal/decode"
)

// The playground's fields, what its script reads, and the socket's hello have the ranges that requests are checked by.
func TestBoundsAreTheServers(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	page := p.get("/", 200)
	k := p.dial()
	k.close()
	hello, err := json.Marshal(w.limits().Fields)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range decode.Bounds() {
		input := regexp.MustCompile(`<input[^>]*data-sampling="` + b.Field + `"[^>]*>`).FindString(page)
		for _, want := range []string{fmt.Sprintf(`min="%v"`, b.Low), fmt.Sprintf(`max="%.0f"`, b.High)} {
			if !strings.Contains(input, want) {
				t.Errorf("%s has no %s: %s", b.Field, want, input)
			}
		}
		if part := fmt.Sprintf(`{"field":%q,"low":%v,"high":%.0f`, b.Field, b.Low, b.High); !strings.Contains(string(hello), part) || !strings.Contains(strings.ReplaceAll(page, "&#34;", `"`), part) {
			t.Errorf("%s is not told", part)
		}
	}
}

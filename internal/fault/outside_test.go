package fault_test

import (
	"errors"
	"testing"

	"realign/internal/fault"
)

func TestWithoutPaths(t *testing.T) {
	for text, want := range map[string]string{
		"open /home/ann/.local/share/realign/pairs/mine/base.gguf: no such file": "open base.gguf: no such file",
		`cannot read "/data/x/y.json", "/srv/a/"`:                                `cannot read "y.json", "a"`,
		"/var/lib/realign/realign.db is damaged":                                 "realign.db is damaged",
		`C:\Users\ann\realign.db is damaged`:                                     "realign.db is damaged",
		"ask https://judge.example/v1/chat or and/or 3/4 at 1/2":                 "ask https://judge.example/v1/chat or and/or 3/4 at 1/2",
		"GGML_ASSERT(n > 0) failed at ggml.c:1 (/root/go/pkg/mod/x/ggml.c:10)":   "GGML_ASSERT(n > 0) failed at ggml.c:1 (ggml.c:10)",
		"a \n /a": "a \n /a",
	} {
		if got := fault.WithoutPaths(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	err := fault.Wrap(errors.New("open /etc/secret/x"), fault.Invalid, "the file /srv/models/m.gguf cannot be read")
	err.Field = "reference"
	if got := err.Outside(); got != "reference: the file m.gguf cannot be read" {
		t.Errorf("%q", got)
	}
}

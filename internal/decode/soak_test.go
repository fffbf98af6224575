package decode_test

import (
	"cmp"
	"os"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/decode/speculate"
)

// Requests that are steered, stopped and forked at random leave nothing behind: no sequence, no cell, no goroutine.
// REALIGN_SOAK says how long, 2 s by default.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("REALIGN_SOAK"), "2s"))
	if err != nil {
		t.Fatal(err)
	}
	schemes := []func() decode.Speculator{speculate.Alternating, speculate.Drafting, speculate.Measured}
	for _, scheme := range schemes {
		goroutines := decodetest.Goroutines()
		pair := decodetest.New(decodetest.Options{Seed: 3, EndLogit: -4, Cells: 2000, Sequences: 40})
		e := decode.NewEngine(pair, decode.Config{Speculation: scheme, PrefixCells: 600, Queue: 100})
		base := request()
		var prompts []decode.Prompt
		for n := range 10 {
			prompts = append(prompts, conversation("abcdefgabc"[:1+n]))
		}
		decodetest.Soak(t, e, base, prompts, length/time.Duration(len(schemes)))
		if used := pair.Table().Used(); used > 600 {
			t.Errorf("%d cells are in use, at most 600 are kept", used)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		goroutines.Gone(t)
	}
}

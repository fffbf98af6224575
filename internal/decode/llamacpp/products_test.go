package llamacpp

import (
	"path/filepath"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp/products"
	"realign/internal/gguf/gguftest"
)

// A quantized model with products in tiles and by ggml's kernels, the plain twin: prompts, single rows and rows of several sequences have
// the same logits to the last bit.
func TestProductsAreGgmls(t *testing.T) {
	if !products.HasTiles() {
		t.Skip("products are ggml's in this build")
	}
	defer products.InTiles(true)
	whole := gguftest.Model(1).Write(t, "whole.gguf")
	for _, kind := range []string{"q4_1", "q5_0", "q5_1", "q8_0"} {
		path := filepath.Join(t.TempDir(), kind+".gguf")
		if err := Quantize(whole, path, kind, 1, nil); err != nil {
			t.Fatal(err)
		}
		p, err := Open(Spec{Reference: path, Options: small})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		m := p.Reference()
		var all [2][][]float32
		for i, tiles := range []bool{false, true} {
			products.InTiles(tiles)
			prompt := rows(0, 0, slices.Repeat([]decode.Token{5, 80, 90, 100}, 9)...)
			all[i] = append(all[i], forward(t, m, prompt), forward(t, m, rows(0, len(prompt), 7)))
			all[i] = append(all[i], forward(t, m, append(rows(1, 0, 5, 80), rows(2, 0, 90)...)))
			for seq := range 3 {
				m.Trim(decode.Seq(seq), 0)
			}
		}
		for i := range all[0] {
			if !slices.Equal(all[0][i], all[1][i]) {
				t.Errorf("%s: pass %d of %d has other logits", kind, i+1, len(all[0]))
			}
		}
	}
}

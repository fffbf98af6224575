package llamacpp

import (
	"cmp"
	"os"
	"strconv"
	"testing"

	"realign/internal/decode"
	"realign/internal/gpu"
)

// Contexts that are opened, with and without an adapter, used and closed leave no memory behind: it stays within 2% once
// the first ones have made pools grow to their size. REALIGN_LOADS says how many, 100 by default.
//
// Weights stay: the llama package keeps about 11 kB for each time that a model's are loaded.
func TestContextsAreFreed(t *testing.T) {
	loads, err := strconv.Atoi(cmp.Or(os.Getenv("REALIGN_LOADS"), "100"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := Options{Cells: 2048}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	const demo = "../../../models/demo/"
	w, err := loadWeights(demo+"reference-q8_0.gguf", gpu.Model{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	first, most := int64(0), int64(0)
	for i := range loads {
		a, err := loadAdapter(w, demo+"warmth-b0.1.lora.gguf")
		if err != nil {
			t.Fatal(err)
		}
		for _, laid := range []*adapter{nil, a} {
			m, err := newModel(w, laid, options)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Forward([]decode.Row{{Token: 5, Want: true}}); err != nil {
				t.Fatal(err)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		a.Close()
		giveBack()
		memory := resident(t)
		if i < max(loads/10, 30) {
			first = max(first, memory)
		}
		most = max(most, memory)
	}
	t.Logf("%d loads: at most %.1f MiB in the first ones, %.1f MiB in all", loads, float64(first)/(1<<20), float64(most)/(1<<20))
	if float64(most) > 1.02*float64(first) {
		t.Errorf("memory grew from %d to %d bytes", first, most)
	}
}

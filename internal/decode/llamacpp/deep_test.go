package llamacpp_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/gguf"
	"realign/internal/gguf/randomweights"
)

// Adapters on each matrix of a model of as many layers as people have, in one pass and in contexts of their own: llama.cpp lets a
// graph have eight nodes and leaves for each tensor of the model, which are too few.
func TestAdaptersOnEveryMatrixOfManyLayers(t *testing.T) {
	tokenizer, err := gguf.Open(filepath.Join("..", "..", "..", "models", "demo", "reference-q8_0.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	shape, err := randomweights.ShapeOf("tiny")
	if err != nil {
		t.Fatal(err)
	}
	shape.Layers = 28 // of 28 to 32 the number that has the least room, as hash tables have 2,053 places or 4,099
	job, dir := randomweights.Job{Shape: shape, Type: "q8_0", Rank: 4, Tokenizer: tokenizer}, t.TempDir()
	spec := llamacpp.Spec{Reference: filepath.Join(dir, "reference.gguf")}
	if err := job.Model(spec.Reference); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		a := llamacpp.Aligned{Name: fmt.Sprint("adapter ", i), Path: filepath.Join(dir, fmt.Sprint(i))}
		job.Seed = uint64(1 + i)
		if err := job.Adapter(a.Path); err != nil {
			t.Fatal(err)
		}
		spec.Aligned = append(spec.Aligned, a)
	}
	rows := []decode.Row{{Token: 7}, {Token: 8, Pos: 1, Want: true}}
	said := map[llamacpp.OnePass][][]float32{}
	for _, way := range []llamacpp.OnePass{llamacpp.OnePassOn, llamacpp.OnePassOff} {
		spec.Options = llamacpp.Options{OnePass: way, Cells: 512}
		p, err := llamacpp.Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		models, all := []decode.Model{p.Reference()}, [][]decode.Row{rows}
		for _, a := range spec.Aligned {
			m, err := p.Aligned(a.Name)
			if err != nil {
				t.Fatal(err)
			}
			models, all = append(models, m), append(all, rows)
		}
		if way == llamacpp.OnePassOn {
			if !joinable(models[0], models[3]) {
				t.Fatal("the third adapter has a context of its own")
			}
			err = models[0].(decode.Joint).ForwardJoint(models, all)
		} else {
			for i, m := range models {
				if err == nil {
					err = m.Forward(all[i])
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range models {
			said[way] = append(said[way], slices.Clone(m.Logits(1)))
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, one := range said[llamacpp.OnePassOn] {
		if two := said[llamacpp.OnePassOff][i]; !slices.Equal(one, two) {
			t.Errorf("model %d: logits of one pass and of a context differ", i)
		}
		if i > 0 && slices.Equal(one, said[llamacpp.OnePassOn][0]) {
			t.Errorf("adapter %d changes nothing", i)
		}
	}
}

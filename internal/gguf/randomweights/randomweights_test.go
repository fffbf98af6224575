package randomweights_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/x448/float16"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/randomweights"
)

func job(t *testing.T, kind string) *randomweights.Job {
	t.Helper()
	shape, err := randomweights.ShapeOf("tiny")
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := gguf.Open("../../../models/demo/reference-q8_0.gguf")
	if err != nil {
		t.Fatal(err)
	}
	return &randomweights.Job{Shape: shape, Type: kind, Rank: 8, Seed: 3, Tokenizer: tokenizer}
}

// TestFiles: each type makes whole files that fit together, the same for the same seed; the adapter changes every matrix.
func TestFiles(t *testing.T) {
	for _, kind := range randomweights.Types() {
		t.Run(kind, func(t *testing.T) {
			j, dir := job(t, kind), t.TempDir()
			paths := [3]string{}
			for i, name := range []string{"a", "b", "other"} {
				paths[i] = filepath.Join(dir, name)
				if i == 2 {
					j.Seed++
				}
				if err := j.Model(paths[i]); err != nil {
					t.Fatal(err)
				}
			}
			first, second, other := read(t, paths[0]), read(t, paths[1]), read(t, paths[2])
			if first != second || first == other {
				t.Error("a file does not depend on its seed alone")
			}
			if err := j.Adapter(filepath.Join(dir, "adapter")); err != nil {
				t.Fatal(err)
			}
			base, err := gguf.Open(paths[0])
			if err != nil {
				t.Fatal(err)
			}
			adapter, err := gguf.Open(filepath.Join(dir, "adapter"))
			if err != nil {
				t.Fatal(err)
			}
			if err := gguf.CheckAdapter(base, adapter); err != nil {
				t.Error(err)
			}
			if n := len(adapter.Tensors); n != 2*7*2 {
				t.Errorf("the adapter has %d tensors", n)
			}
			if got, _ := base.Metadata["tokenizer.ggml.tokens"].([]string); len(got) != 4608 {
				t.Errorf("the vocabulary has %d tokens", len(got))
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRefused: what cannot be written is named.
func TestRefused(t *testing.T) {
	for field, change := range map[string]func(j *randomweights.Job){
		"type":      func(j *randomweights.Job) { j.Type = "q3_k" },
		"rank":      func(j *randomweights.Job) { j.Rank = 6 },
		"tokenizer": func(j *randomweights.Job) { j.Shape.Vocabulary = 100 },
	} {
		j := job(t, "f16")
		change(j)
		if err := j.Model(filepath.Join(t.TempDir(), "x")); fault.Of(err) == nil || fault.Of(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := randomweights.ShapeOf("llama-70b"); fault.Of(err) == nil || fault.Of(err).Field != "shape" {
		t.Errorf("shape: %v", err)
	}
}

// TestSizes: the larger shapes have about as many weights as their names say.
func TestSizes(t *testing.T) {
	for name, billions := range map[string]float64{"llama-1b": 1.236, "llama-3b": 3.213, "llama-8b": 8.030} {
		s, err := randomweights.ShapeOf(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Parameters() / 1e9; got < billions-0.001 || got > billions+0.001 {
			t.Errorf("%s has %.3f billion weights", name, got)
		}
	}
}

// TestSpread: the values of a matrix of 8-bit weights spread as they should, about 1/√width around 0, so that what passes through
// many layers neither grows nor dies.
func TestSpread(t *testing.T) {
	j := job(t, "q8_0")
	path := filepath.Join(t.TempDir(), "model")
	if err := j.Model(path); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w, ok := f.Tensor("blk.0.ffn_up.weight")
	if !ok {
		t.Fatal("there is no such tensor")
	}
	data := []byte(read(t, path))[f.Data+int64(w.Offset):][:w.Bytes]
	var sum, squares, n float64
	for ; len(data) > 0; data = data[34:] {
		d := float64(float16.Frombits(binary.LittleEndian.Uint16(data)).Float32())
		for _, q := range data[2:34] {
			x := d * float64(int8(q))
			sum, squares, n = sum+x, squares+x*x, n+1
		}
	}
	mean, deviation, want := sum/n, math.Sqrt(squares/n), 1/math.Sqrt(float64(j.Shape.Width))
	if math.Abs(mean) > 0.02*want || math.Abs(deviation/want-1) > 0.02 {
		t.Errorf("mean %v, deviation %v, want about 0 and %v", mean, deviation, want)
	}
}

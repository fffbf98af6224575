package gguf_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
)

// A model in parts is the model: the same tensors, checked and compared as one file is.
func TestSplit(t *testing.T) {
	whole := gguftest.Model(1)
	one, err := gguf.Open(whole.Write(t, "whole.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	paths := whole.WriteSplit(t, "model", 3)
	if got := gguf.Parts(paths[0]); strings.Join(got, ",") != strings.Join(paths, ",") {
		t.Errorf("parts %v, want %v", got, paths)
	}
	f, err := gguf.Open(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := f.CheckModel(); err != nil || len(f.Tensors) != len(one.Tensors) || gguf.Compatible(one, f) != nil {
		t.Errorf("%v, %d tensors", err, len(f.Tensors))
	}
	for _, want := range one.Tensors {
		if got, ok := f.Tensor(want.Name); !ok || got.Shape != want.Shape {
			t.Errorf("%s: %v, want %v", want.Name, got.Shape, want.Shape)
		}
	}
	adapter, err := gguf.Open(gguftest.Adapter(3).Write(t, "adapter.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := gguf.CheckAdapter(f, adapter); err != nil {
		t.Error(err)
	}
}

// What does not belong to a set is told by name, with what to do.
func TestBrokenSplits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, paths []string) (open string)
		say    string
	}{
		"another part": {func(_ *testing.T, p []string) string { return p[1] }, "is part 2 of 3: name the first, model-00001-of-00003.gguf"},
		"a missing part": {func(t *testing.T, p []string) string {
			move(t, p[2], p[2]+".part")
			return p[0]
		}, "part 3 of 3 is missing: model-00003-of-00003.gguf"},
		"another name": {func(t *testing.T, p []string) string {
			at := filepath.Join(filepath.Dir(p[0]), "m.gguf")
			move(t, p[0], at)
			return at
		}, "NAME-00001-of-00003.gguf"},
		"a part twice": {func(t *testing.T, p []string) string {
			data, err := os.ReadFile(p[1])
			if err == nil {
				err = os.WriteFile(p[2], data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			return p[0]
		}, "says that it is part 2, and its name that it is part 3"},
		"a truncated part": {func(t *testing.T, p []string) string {
			if err := os.Truncate(p[1], 2000); err != nil {
				t.Fatal(err)
			}
			return p[0]
		}, "model-00002-of-00003.gguf: truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			open := c.change(t, gguftest.Model(1).WriteSplit(t, "model", 3))
			if _, err := gguf.Open(open); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v, want %q", err, c.say)
			}
		})
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// State is what llama.cpp reserves for a sequence.
func TestState(t *testing.T) {
	for _, c := range []struct {
		file *gguftest.File
		want int64
	}{{gguftest.Model(1), 0}, {gguftest.Mamba(1), gguftest.MambaState}} {
		f, err := gguf.Open(c.file.Write(t, "model.gguf"))
		if err == nil {
			err = f.CheckModel()
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := f.State(); got != c.want {
			t.Errorf("%s: %d bytes, want %d", f.Architecture(), got, c.want)
		}
	}
}

// The name of an adapter's base is the reference's, however a converter writes it, or it is noted.
func TestAdapterBase(t *testing.T) {
	base := gguftest.Model(1)
	base.Set("general.name", "SmolLM2 135M Instruct")
	reference, err := gguf.Open(base.Write(t, "base.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for name, notes := range map[string]int{"SmolLM2-135M-Instruct": 1, "smollm2_135m_instruct": 1, "SmolLM2-360M-Instruct": 2} {
		f := gguftest.Adapter(3)
		f.Set("general.base_model.0.name", name)
		adapter, err := gguf.Open(f.Write(t, "adapter.gguf"))
		if err != nil {
			t.Fatal(err)
		}
		if got := gguf.CompareAdapter(reference, adapter); len(got) != notes {
			t.Errorf("%s: %v", name, got)
		}
	}
}

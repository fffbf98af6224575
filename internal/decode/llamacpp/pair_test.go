package llamacpp

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/gguf/gguftest"
)

func TestOpen(t *testing.T) {
	var labels []string
	last := map[string]float64{}
	p, err := Open(Spec{
		Reference: gguftest.Model(1).Write(t, "reference.gguf"),
		Aligned: []Aligned{
			{Name: "z", Path: gguftest.Adapter(3).Write(t, "z.gguf")},
			{Name: "a", Path: gguftest.Model(2).Write(t, "a.gguf")},
		},
		Options: small,
		Progress: func(label string, fraction float64) {
			if !slices.Contains(labels, label) {
				labels = append(labels, label)
			}
			if fraction < last[label] || fraction > 1 {
				t.Errorf("%s goes from %g to %g", label, last[label], fraction)
			}
			last[label] = fraction
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := p.AlignedNames(); !slices.Equal(got, []string{"z", "a"}) {
		t.Errorf("names are %v", got)
	}
	first, second := open(t, p, "a"), open(t, p, "a")
	if first != second {
		t.Error("a model was opened twice")
	}
	open(t, p, "z")
	if want := []string{"reference model", "aligned model a", "aligned model z"}; !slices.Equal(labels, want) {
		t.Errorf("progress was told of %v", labels)
	}
	for label, fraction := range last {
		if fraction != 1 {
			t.Errorf("%s ended at %g", label, fraction)
		}
	}
	if _, err := p.Aligned("none"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("error is %v", err)
	}
	limits := p.Reference().Limits()
	if limits.Cells != 512 || limits.Batch != 64 || limits.Sequences != 8 || limits.Train != gguftest.Context || limits.Vocab != 275 {
		t.Errorf("limits are %+v", limits)
	}
}

// Files that would end the process in llama.cpp, or would decode to nonsense, are errors.
func TestOpenRefuses(t *testing.T) {
	reference := gguftest.Model(1).Write(t, "reference.gguf")
	whole := gguftest.Model(2).Bytes()
	changed := func(change func(*gguftest.File)) string {
		f := gguftest.Model(2)
		change(f)
		return f.Write(t, "changed.gguf")
	}
	shrunk := gguftest.Adapter(1)
	shrunk.Tensors[0].Shape, shrunk.Tensors[0].Values = []uint64{32, 4}, make([]float32, 128)
	for name, c := range map[string]struct {
		reference, aligned string
		kind               fault.Kind
		want               string
	}{
		"no reference":     {t.TempDir() + "/none.gguf", "", fault.NotFound, "none.gguf"},
		"no aligned":       {reference, t.TempDir() + "/none.gguf", fault.NotFound, "none.gguf"},
		"magic":            {gguftest.WriteBytes(t, "text.gguf", []byte("hello")), "", fault.Invalid, "text.gguf: not a GGUF"},
		"truncated":        {reference, gguftest.WriteBytes(t, "cut.gguf", whole[:len(whole)/2]), fault.Invalid, "cut.gguf: truncated"},
		"reference adapts": {gguftest.Adapter(1).Write(t, "adapter.gguf"), "", fault.Invalid, "adapter"},
		"adapter shape":    {reference, shrunk.Write(t, "shrunk.gguf"), fault.Invalid, "shrunk.gguf does not fit"},
		"token differs": {reference, changed(func(f *gguftest.File) {
			f.Get("tokenizer.ggml.tokens").([]string)[42] = "fortytwo"
		}), fault.Invalid, `token 42 is "fortytwo"`},
		"architecture": {changed(func(f *gguftest.File) { f.Set("general.architecture", "nothing") }), "", fault.Invalid, "nothing"},
		"missing tensor": {changed(func(f *gguftest.File) {
			f.Tensors = f.Tensors[:len(f.Tensors)-1]
		}), "", fault.Invalid, "ffn_down"},
		"wrong shape": {changed(func(f *gguftest.File) {
			f.Tensors[0].Shape[1]--
			f.Tensors[0].Values = f.Tensors[0].Values[64:]
		}), "", fault.Invalid, "token_embd"},
		"wrong kind of number": {changed(func(f *gguftest.File) { f.Set("llama.block_count", "two") }), "", fault.Invalid, "block_count"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Reference: c.reference, Options: small}
			if c.aligned != "" {
				spec.Aligned = []Aligned{{Name: "a", Path: c.aligned}}
			}
			p, err := Open(spec)
			if err == nil {
				p.Close()
			}
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
	for field, o := range map[string]Options{
		"cells": {Cells: -1}, "batch": {Batch: 1 << 20}, "sequences": {Sequences: 257}, "threads": {Threads: 1 << 20},
	} {
		if _, err := Open(Spec{Reference: reference, Options: o}); fault.Of(err) == nil || fault.Of(err).Field != field {
			t.Errorf("error for %+v is %v", o, err)
		}
	}
}

// Opening and closing many times leaves nothing behind.
func TestNoLeak(t *testing.T) {
	spec := Spec{
		Reference: gguftest.Model(1).Write(t, "reference.gguf"),
		Aligned:   []Aligned{{Name: "adapted", Path: gguftest.Adapter(3).Write(t, "adapted.gguf")}},
		Options:   Options{Cells: 2048, Batch: 64, Sequences: 8, OnePass: OnePassOff}, // measuring takes long beside other programs
	}
	cycle := func() {
		p, err := Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		forward(t, p.Reference(), rows(0, 0, 10, 20, 30))
		forward(t, open(t, p, "adapted"), rows(0, 0, 10, 20, 30))
	}
	for range 20 {
		cycle()
	}
	before := resident(t)
	for range 100 {
		cycle()
	}
	if grown := resident(t) - before; grown > 6<<20 {
		t.Errorf("100 pairs opened and closed left %d KiB behind", grown>>10)
	} else {
		t.Logf("grown by %d KiB", grown>>10)
	}
}

// resident is the memory the process holds, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("the system does not tell how much memory a process holds")
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(data), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

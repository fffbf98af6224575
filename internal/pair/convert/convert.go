// Package convert makes GGUF files of what other programs of the field write: a model as a folder of safetensors, and a LoRA
// adapter as PEFT writes it (TRL's trainers do, too). Names and layouts of most models' weights are those of
// github.com/ollama/ollama/convert; what that leaves out or gets wrong for llama.cpp is done here: vocabularies, positions,
// types of weights, adapters, and the architectures that it does not know.
//
// It converts what it is sure of and refuses the rest with the command of llama.cpp that converts it. It runs no model, and
// quantises nothing.
package convert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ollama/ollama/convert"
	"github.com/ollama/ollama/fs/ggml"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// Version goes up when the same folder becomes another file, so that older ones are made anew.
const Version = 1

// Options of a conversion.
type Options struct {
	// Name is what the file is called inside (general.name); the folder's where it is empty.
	Name string // as general.name in the file; the folder's name where it is empty

	// Progress, when set, is told the bytes of weights that were read, of all. One call follows another.
	Progress func(done, total int64)
}

// Model writes a folder of safetensors as a GGUF model. Weights keep their type: 32 bits, or 16 of either kind. The error is
// Invalid, and says what to do, for a folder that cannot be converted; what was written of the file is then of no use.
func Model(ctx context.Context, dir, out string, o Options) error {
	c, err := readConfig(dir)
	if err != nil {
		return err
	}
	family, ok := families[c.Architecture()]
	if !ok {
		return unknown(c.Architecture(), dir)
	}
	if err := c.check(family); err != nil {
		return fallback(err, dir)
	}
	source, err := openSource(ctx, dir, modelFiles, o.Progress)
	if err != nil {
		return err
	}
	defer source.Close()
	keys, tensors, err := family.convert(c, source.tensors)
	if err != nil {
		return fallback(err, dir)
	}
	rows, ok := embedded(tensors)
	if !ok {
		return fault.New(fault.Invalid, "%s has no embedding of tokens among its weights", dir)
	}
	v, err := readVocabulary(dir, rows)
	if err != nil {
		return fallback(err, dir)
	}
	v.keys(keys)
	keys["general.name"] = family.title(named(dir, o.Name), v)
	keys["general.type"] = "model"
	keys["general.file_type"] = fileType(tensors)
	keys["general.quantization_version"] = uint32(2)
	if err := write(out, keys, tensors); err != nil {
		return err
	}
	return checkWritten(out, nil)
}

// named is a model's name: what the caller says, or the folder's.
func named(dir, name string) string {
	if name != "" {
		return name
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Base(dir)
}

// embedded is the number of tokens that a model has embeddings for; false where it has no embedding. Shapes are
// still slowest first.
func embedded(tensors []*ggml.Tensor) (int, bool) {
	for _, t := range tensors {
		if t.Name == "token_embd.weight" && len(t.Shape) == 2 {
			return int(t.Shape[0]), true
		}
	}
	return 0, false
}

// fileType is llama.cpp's number for the type of most of the weights.
func fileType(tensors []*ggml.Tensor) uint32 {
	count := map[uint32]uint64{}
	for _, t := range tensors {
		if len(t.Shape) > 1 {
			count[t.Kind] += t.Elements()
		}
	}
	switch most := max(count[kindF32], count[kindF16], count[kindBF16]); most {
	case count[kindF32]:
		return 0
	case count[kindF16]:
		return 1
	}
	return 32
}

// write makes the file and waits until it is on disk. Dimensions come as safetensors list them, slowest first;
// write reverses them.
func write(out string, keys convert.KV, tensors []*ggml.Tensor) (err error) {
	for _, t := range tensors {
		if len(t.Name) > 63 {
			return fault.New(fault.Invalid, "the name of tensor %q is longer than GGUF allows", t.Name)
		}
		t.Shape = slices.Clone(t.Shape)
		slices.Reverse(t.Shape)
	}
	f, err := os.Create(out)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be written", out)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := ggml.WriteGGUF(f, keys, tensors); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return f.Sync()
}

// Architectures lists those of models that can be converted, as config.json names them.
func Architectures() (names []string) {
	for name := range families {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// unknown is the error, Invalid, for a model of an architecture that is not converted here.
func unknown(architecture, dir string) error {
	return fault.New(fault.Invalid, "models of architecture %.80q are not converted here (%s are); llama.cpp's own script may: %s",
		architecture, strings.Join(Architectures(), ", "), scriptFor(dir))
}

// fallback adds llama.cpp's command to an error about a model that cannot be converted here.
func fallback(err error, dir string) error {
	if err == nil || fault.KindOf(err) != fault.Invalid {
		return err
	}
	return fault.New(fault.Invalid, "%s; llama.cpp's own script may do better: %s", fault.Of(err).Message, scriptFor(dir))
}

// scriptFor is llama.cpp's command for a model's folder.
func scriptFor(dir string) string {
	return fmt.Sprintf("python convert_hf_to_gguf.py %s --outfile model.gguf", dir)
}

// checkWritten wants what was written to be a model, or with a base an adapter for it, that llama.cpp would read.
func checkWritten(path string, base *gguf.File) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	if base != nil {
		return gguf.CheckAdapter(base, f)
	}
	return f.CheckModel()
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/randomweights"
	"realign/internal/pair"
)

// randomCommand is `realign random`.
type randomCommand struct {
	pairFlags
	Out       string `required:"" placeholder:"DIR" help:"Folder of pairs, in which the pair gets a folder of its own: then --models names it."`
	Shape     string `default:"llama-1b" help:"Shape of the model: ${random_shapes}."`
	Type      string `default:"q8_0" help:"Type of the weights: ${random_types}."`
	Rank      int    `default:"16" help:"Rank of the adapter, which changes every matrix of every layer."`
	Seed      uint64 `default:"1" help:"Seed of the weights."`
	Tokenizer string `default:"demo" placeholder:"NAME" help:"Pair whose tokenizer and chat template the model has."`
}

// randomShapes are the names of shapes, for people.
func randomShapes() string {
	var names []string
	for _, s := range randomweights.Shapes() {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// Help is shown by --help.
func (c *randomCommand) Help() string {
	return `Writes a pair with random weights in the shape of a Llama model: a reference and a LoRA adapter. What it says means nothing; time and memory
are those of a real pair of that shape and type. It is for "realign bench".`
}

// Run writes the pair's files and its manifest.
func (c *randomCommand) Run(_ context.Context, h env) error {
	shape, err := randomweights.ShapeOf(c.Shape)
	if err != nil {
		return asFlagError(err)
	}
	from, err := installedPair(c.library(), c.Tokenizer)
	if err != nil {
		return asFlagError(err)
	}
	tokenizer, err := gguf.Open(from.Files()[0].Path)
	if err != nil {
		return err
	}
	job := randomweights.Job{Shape: shape, Type: c.Type, Rank: c.Rank, Seed: c.Seed, Tokenizer: tokenizer}
	p := pair.Pair{
		Name: strings.ReplaceAll(c.Shape+"-"+c.Type, "_", "-"), Title: "Random weights: " + c.Shape + ", " + c.Type, Sampling: from.Sampling,
		Reference: pair.Reference{Name: pair.RoleReference, File: "reference.gguf"},
		Aligned:   []pair.Aligned{{Name: "adapter", Adapter: "adapter.lora.gguf", Default: true}},
	}
	dir := filepath.Join(c.Out, p.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be made", dir)
	}
	if err := job.Model(filepath.Join(dir, p.Reference.File)); err != nil {
		return asFlagError(err)
	}
	if err := job.Adapter(filepath.Join(dir, p.Aligned[0].Adapter)); err != nil {
		return asFlagError(err)
	}
	manifest, err := p.Manifest()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, pair.ManifestName), manifest, 0o644); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the manifest cannot be written")
	}
	fmt.Fprintln(h.stdout, p.Name)
	return nil
}

//go:build cgo && !nollama

package main

import (
	"context"
	"time"

	"realign/internal/decode/llamacpp"
	"realign/internal/gguf"
	"realign/internal/gpu"
	"realign/internal/pair"
	"realign/internal/sandbox"
)

// vocabularies is the name of the computation that loads the vocabularies of pairs.
const vocabularies = "vocabularies"

// vocabularyTime is how long the vocabularies of a pair may take.
const vocabularyTime = 2 * time.Minute

// vocabularyQuestion is what that computation is asked.
type vocabularyQuestion struct {
	Pair pair.Pair
	Dir  string // of the manifest
}

// The child process checks the vocabularies of the pair that it is asked about.
func init() {
	sandbox.Serve(vocabularies, func(q vocabularyQuestion) (map[string][]gguf.Finding, error) {
		q.Pair.Dir = q.Dir
		return checkVocabularies(context.Background(), &q.Pair)
	})
}

// checkVocabularies loads the vocabularies of a pair in this process. Findings are by role: the name of an aligned model, or
// pair.RoleTemplate for the chat template.
func checkVocabularies(ctx context.Context, p *pair.Pair) (map[string][]gguf.Finding, error) {
	spec, err := specOf(p, modelFlags{GPULayers: "0", Devices: "none"})
	if err != nil {
		return nil, err
	}
	loadBackends(ctx, gpu.Choice{None: true})
	found, err := llamacpp.CheckVocabularies(spec)
	if err != nil {
		return nil, err
	}
	if template, ok := found[""]; ok {
		delete(found, "")
		found[pair.RoleTemplate] = template
	}
	return found, nil
}

// checkVocabulariesApart does it in a process of its own, since what is wrong with a file may end the process that loads it.
func checkVocabulariesApart() func(context.Context, *pair.Pair) (map[string][]gguf.Finding, error) {
	process := sandbox.New(vocabularies, "the check of the vocabularies", sandbox.Limits{Time: vocabularyTime, Environment: true})
	return func(ctx context.Context, p *pair.Pair) (found map[string][]gguf.Finding, err error) {
		err = process.Call(ctx, vocabularyQuestion{*p, p.Dir}, &found)
		return found, err
	}
}

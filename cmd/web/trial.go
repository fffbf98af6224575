//go:build cgo && !nollama

package main

import (
	"context"

	"realign/internal/decode"
	"realign/internal/gguf"
	"realign/internal/pair"
	"realign/internal/sandbox"
)

// trials is the name of the computation that tries out models.
const trials = "trial"

// asked is a question of a trial: to try a model, unless Tokens or Prompt or no role asks for something else.
type asked struct {
	Pair  pair.Pair
	Dir   string // of the manifest
	Flags modelFlags
	Role  string // of the model to try; "" asks about the chat template

	Tokens bool // compare the tokenizer of the model instead of trying it

	Prompt    *decode.Prompt // to render instead
	Rendering decode.Rendering
}

// told is the answer: what was asked for, and nothing else.
type told struct {
	Notes   []string // about the chat template
	Prompts []shown  // as the models get them
	Found   []gguf.Finding
}

// The child process of a trial opens the pair at the first question and answers all questions with it.
func init() {
	var models *opened // stays loaded until the process ends
	sandbox.Serve(trials, func(q asked) (told, error) {
		ctx := context.Background()
		if models == nil {
			q.Pair.Dir = q.Dir
			models = &opened{open: func(ctx context.Context) (decode.Pair, error) {
				return openModels(ctx, &q.Pair, q.Flags, func(float64) {})
			}}
		}
		if q.Tokens {
			found, err := models.Tokens(ctx, q.Role)
			return told{Found: found}, err
		}
		if q.Role != "" {
			return told{}, models.Try(ctx, q.Role)
		}
		if q.Prompt != nil {
			prompts, err := models.Prompt(ctx, *q.Prompt, q.Rendering)
			return told{Prompts: prompts}, err
		}
		notes, err := models.Chat(ctx)
		return told{Notes: notes}, err
	})
}

// apart is a trial in a process of its own.
type apart struct {
	process *sandbox.Process
	asked   asked // what all questions have in common
}

// tryApart tries out pairs in processes of their own.
func tryApart() func(*pair.Pair, modelFlags) trial { return begin }

// begin makes a trial; its process starts with the first question.
func begin(p *pair.Pair, o modelFlags) trial {
	return &apart{sandbox.New(trials, "the check of the models", sandbox.Limits{Environment: true}), asked{Pair: *p, Dir: p.Dir, Flags: o}}
}

// Try implements trial.
func (a *apart) Try(ctx context.Context, role string) error {
	q := a.asked
	q.Role = role
	var answer told
	return a.process.Call(ctx, q, &answer)
}

// Chat implements trial.
func (a *apart) Chat(ctx context.Context) ([]string, error) {
	var answer told
	err := a.process.Call(ctx, a.asked, &answer)
	return answer.Notes, err
}

// Tokens implements trial.
func (a *apart) Tokens(ctx context.Context, name string) ([]gguf.Finding, error) {
	q := a.asked
	q.Role, q.Tokens = name, true
	var answer told
	err := a.process.Call(ctx, q, &answer)
	return answer.Found, err
}

// Prompt implements trial.
func (a *apart) Prompt(ctx context.Context, prompt decode.Prompt, with decode.Rendering) ([]shown, error) {
	q := a.asked
	q.Prompt, q.Rendering = &prompt, with
	var answer told
	err := a.process.Call(ctx, q, &answer)
	return answer.Prompts, err
}

// Close ends the process, if there is one.
func (a *apart) Close() error { return a.process.Close() }

//go:build cgo && !nollama

package main

import (
	"context"

	"realign/internal/decode"
	"realign/internal/pair"
	"realign/internal/sandbox"
)

// trials is the name of the computation that tries out models.
const trials = "trial"

// asked is a question of a trial.
type asked struct {
	Pair  pair.Pair
	Dir   string // of the manifest
	Flags modelFlags
	Role  string // of the model to try; "" asks about the chat template
}

type told struct{ Notes []string }

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
		if q.Role != "" {
			return told{}, models.Try(ctx, q.Role)
		}
		notes, err := models.Chat(ctx)
		return told{notes}, err
	})
}

// apart is a trial in a process of its own.
type apart struct {
	process *sandbox.Process
	asked   asked
}

// tryApart tries out pairs in processes of their own.
func tryApart() func(*pair.Pair, modelFlags) trial { return begin }

func begin(p *pair.Pair, o modelFlags) trial {
	return &apart{sandbox.New(trials, "the check of the models", sandbox.Limits{Environment: true}), asked{Pair: *p, Dir: p.Dir, Flags: o}}
}

func (a *apart) Try(ctx context.Context, role string) error {
	q := a.asked
	q.Role = role
	var answer told
	return a.process.Call(ctx, q, &answer)
}

func (a *apart) Chat(ctx context.Context) ([]string, error) {
	var answer told
	err := a.process.Call(ctx, a.asked, &answer)
	return answer.Notes, err
}

func (a *apart) Close() error { return a.process.Close() }

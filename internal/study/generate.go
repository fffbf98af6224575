package study

import (
	"context"
	"reflect"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
)

// Experiment is what a study has decoded, where it makes an experiment of its own.
func (s *Setup) Experiment(prompts []Prompt) experiment.Setup {
	e := experiment.Setup{
		Pair: s.Pair, Aligned: s.Aligned, Sampling: s.Sampling, Prompts: make([]experiment.Prompt, len(prompts)),
		Seed: s.experimentSeed(), Mix: s.Mix,
	}
	for i := range prompts {
		e.Prompts[i] = s.decoded(&prompts[i])
	}
	if len(s.Grid) > 1 && experiment.Reweights(&s.Sampling) && !decode.InWeights(s.Mix) {
		e.Evaluate = experiment.EvaluationGrid(s.Grid)
	}
	return e
}

// decoded is a prompt as the models get it.
func (s *Setup) decoded(p *Prompt) experiment.Prompt {
	spec := s.spec(p)
	return experiment.Prompt{Prompt: spec.Request("", nil).Prompt, Category: p.Category}
}

// OutputsOf are Outputs for a study of an experiment that exists, which may have more prompts: those of the study are found
// among them. The error is Invalid and names what does not agree with the experiment.
func (s *Setup) OutputsOf(e *experiment.Setup, prompts []Prompt) ([]Output, error) {
	for field, same := range map[string]bool{"pair": s.Pair == e.Pair && s.Aligned == e.Aligned, "sampling": reflect.DeepEqual(s.Sampling, e.Sampling),
		"mix": decode.InWeights(s.Mix) == decode.InWeights(e.Mix)} {
		if !same {
			return nil, fault.Field(field, "is not that of the experiment, whose outputs are to be rated")
		}
	}
	sources := make([]int, len(prompts))
	taken := map[int]bool{}
	for i := range prompts {
		want := s.decoded(&prompts[i])
		sources[i] = -1
		for k := range e.Prompts {
			if !taken[k] && e.Prompts[k].Same(&want) {
				sources[i], taken[k] = k, true
				break
			}
		}
		if sources[i] < 0 {
			return nil, fault.Field("prompts", "line %d: is not a prompt of the experiment, whose outputs are to be rated", prompts[i].Line)
		}
	}
	outputs := s.Outputs(prompts)
	for i := range outputs {
		o := &outputs[i]
		o.Source = sources[o.Prompt-1]
		o.Seed = experiment.PromptSeed(e.Seed, o.Source)
	}
	return outputs, nil
}

// Cell is where an output is in the experiment.
func (o *Output) Cell() experiment.Cell {
	return experiment.Cell{Prompt: o.Source, Lambda: o.Lambda, Sample: o.Sample}
}

// experimentClient is a study that is Decoding: the client of its experiment's generator. It lives as long as the generator's
// job does.
type experimentClient struct {
	service *Service
	study   Study             // as it was when its decoding began
	wanted  []experiment.Cell // sorted
}

// Plan implements experiment.Client: everything that is wanted and not there.
func (g *experimentClient) Plan(_ context.Context, outputs []experiment.Output) ([]experiment.Item, error) {
	there := make(map[experiment.Cell]bool, len(outputs))
	for i := range outputs {
		there[outputs[i].Cell] = true
	}
	return experiment.Missing(g.wanted, func(c experiment.Cell) bool { return there[c] }), nil
}

// Take implements experiment.Client: what is stored is all that a study needs.
func (g *experimentClient) Take(context.Context, []experiment.Output) error { return nil }

// Finish implements experiment.Client: it makes the questions, and the study is Ready. Prompts of which an output failed
// are left out.
func (g *experimentClient) Finish(ctx context.Context, made []experiment.Output) error {
	d, s := g.service, &g.study
	prompts, err := d.Store.StudyPrompts(ctx, s.ID)
	if err != nil {
		return err
	}
	outputs, err := d.Store.StudyOutputs(ctx, s.ID)
	if err != nil {
		return err
	}
	failed := map[experiment.Cell]string{}
	for i := range made {
		if made[i].Failed() {
			failed[made[i].Cell] = made[i].Error
		}
	}
	problems := map[int]string{}
	for i := range outputs {
		o := &outputs[i]
		if problem := failed[o.Cell()]; problem != "" && !o.Broken && problems[o.Prompt] == "" {
			problems[o.Prompt] = problem
			prompts[o.Prompt-1].Problem = problem
		}
	}
	items, broken := s.Setup.Items(prompts, outputs)
	err = d.Store.FinishStudy(ctx, s.Owner, s.ID, problems, broken, items, d.now())
	if gone(err) || fault.KindOf(err) == fault.Conflict {
		return nil // it was halted or deleted at the last moment
	}
	return err
}

// PromptOf is a prompt that is decoded as one of an experiment; false where there is none.
func PromptOf(e *experiment.Prompt) (Prompt, bool) {
	parts, ok := e.Parts()
	return Prompt{Text: parts.Asked, System: parts.System, History: parts.History, Category: e.Category}, ok
}

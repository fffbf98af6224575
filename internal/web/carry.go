package web

import (
	"cmp"
	"context"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/prompt"
	"realign/internal/run"
	"realign/internal/study"
	"realign/internal/sweep"
	"realign/web/templates"
)

// carried is what goes from the playground to a study or a sweep: a run, the prompts of its session, and λ.
type carried struct {
	run     run.Run
	prompts []study.Prompt
	lambdas []float64 // ascending
}

// carry reads what a form about a run begins with: the prompts of its session that were asked in the same way, each once, and the
// λ of its lanes, or five of its map.
func (s *Server) carry(ctx context.Context, owner, id string) (c carried, err error) {
	if c.run, err = s.sessions.Run(ctx, owner, id); err != nil {
		return c, err
	}
	spec := &c.run.Spec
	if n := len(spec.Aligned); n != 1 {
		return c, fault.New(fault.Conflict, "the run mixes %d aligned models, and studies and sweeps are of one: run it with one of them first", n)
	}
	runs, err := s.sessions.Runs(ctx, owner, c.run.Session)
	if err != nil {
		return c, err
	}
	seen := map[string]bool{}
	for i := range runs {
		r := &runs[i].Spec
		key := r.Prompt
		for _, m := range r.History {
			key += "\x00" + m.Content
		}
		if seen[key] || r.Mode != spec.Mode || r.System != spec.System || r.Pair != spec.Pair || r.Mode == run.Plain && len(r.History) > 0 {
			continue
		}
		seen[key] = true
		p := study.Prompt{}
		p.Text, p.History = r.Prompt, r.History
		c.prompts = append(c.prompts, p)
	}
	if m := spec.Map; m != nil {
		for i := range 5 {
			c.lambdas = append(c.lambdas, m.From+(m.To-m.From)*float64(i)/4)
		}
	}
	for _, l := range spec.Lanes {
		c.lambdas = append(c.lambdas, l.Lambda[0])
	}
	slices.Sort(c.lambdas)
	c.lambdas = slices.Compact(c.lambdas)
	return c, nil
}

// rateRun fills the form of a study with what a run carries over.
func (s *Server) rateRun(c echo.Context, v *templates.StudyForm, id string) error {
	from, err := s.carry(c.Request().Context(), owner(c), id)
	if err != nil {
		return err
	}
	spec := &from.run.Spec
	setup := s.newSetup()
	setup.Pair, setup.Aligned, setup.System, setup.Mode, setup.Sampling, setup.Seed = spec.Pair, spec.Aligned[0], spec.System, spec.Mode, spec.Sampling, spec.Seed
	if len(from.lambdas) > 1 { // people compare at least two
		setup.Grid = from.lambdas
	}
	v.Values = filled(setup)
	typePrompts(v.Values, from.prompts)
	return nil
}

// sweepRun fills the form of a sweep with what a run carries over.
func (s *Server) sweepRun(c echo.Context, v *templates.SweepNew, id string) error {
	from, err := s.carry(c.Request().Context(), owner(c), id)
	if err != nil {
		return err
	}
	spec := &from.run.Spec
	format, text := promptText(withSystem(from.prompts, spec.System))
	setup, lambda := sweep.Default(), sweep.Range{From: 0, To: 2, Points: 9}
	setup.Sampling.MaxTokens, setup.Sampling.Temperature, setup.Seed = spec.Sampling.MaxTokens, spec.Sampling.Temperature, spec.Seed
	if len(from.lambdas) > 1 {
		lambda = rangeOf(from.lambdas)
	}
	v.Values = filledSweep(&setup, lambda)
	for name, value := range map[string]string{"pair": spec.Pair + ":" + spec.Aligned[0], "prompts": text, "prompts_format": format} {
		v.Values.Set(name, value)
	}
	return nil
}

// withSystem gives each prompt its system prompt, as sweeps take it.
func withSystem(prompts []study.Prompt, system string) []study.Prompt {
	for i := range prompts {
		prompts[i].System = system
	}
	return prompts
}

// typedFormat is how the prompts of a sweep's form are written: one a line, unless it says something else.
func typedFormat(form url.Values) prompt.Format {
	return cmp.Or(prompt.Format(form.Get("prompts_format")), prompt.Lines)
}

package web

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
	"realign/internal/study"
	"realign/internal/sweep"
	"realign/web/templates"
)

// Experiments is where studies and sweeps that are about the same outputs find each other. What does not exist, or is
// somebody else's, is NotFound.
type Experiments interface {
	// Experiment is one of an owner's experiments.
	Experiment(ctx context.Context, owner, id string) (experiment.Experiment, error)
	ExperimentHead(ctx context.Context, owner, id string) (experiment.Experiment, error) // without its prompts
	// ExperimentOutputs are the outputs of an experiment, or of one of its prompts, with their texts or without.
	ExperimentOutputs(ctx context.Context, id string, prompt *int, texts bool) ([]experiment.Output, error)
	// StudiesOver are an owner's studies of the outputs of an experiment, the newest first; SweepsOver the sweeps, the oldest first.
	StudiesOver(ctx context.Context, owner, experiment string) ([]study.Study, error)
	SweepsOver(ctx context.Context, owner, experiment string) ([]sweep.Sweep, error)
}

// What the form of a study of a sweep's outputs begins with: at most so many of the sweep's prompts and of its λ.
const (
	ratedPrompts = 20
	ratedLambdas = 5
)

// studyOfSweep is the form of a study in which people rate outputs of a sweep: some of its prompts, and the λ near the best.
func (s *Server) studyOfSweep(c echo.Context, v *templates.StudyForm, id string) error {
	ctx := c.Request().Context()
	w, err := s.sweeps.Sweep(ctx, owner(c), id)
	if err != nil {
		return err
	}
	e, err := s.experiments.Experiment(ctx, owner(c), w.Experiment)
	if err != nil {
		return err
	}
	report, err := s.sweeper.Report(ctx, &w)
	if err != nil {
		return err
	}
	fixedByExperiment(v, &e)
	v.About = w.Title()
	v.Values.Set("grid", decode.FormatNumbers(near(report, w.Setup.Config.Lambda.Values)))
	if w.Setup.Config.Samples < 2 {
		v.Values.Set("same_every", "0") // each such trial would decode another sample
	}
	outputs, err := s.experiments.ExperimentOutputs(ctx, e.ID, nil, false)
	if err != nil {
		return err
	}
	prompts, err := ratable(&e.Setup, outputs)
	if err != nil {
		return err
	}
	typePrompts(v.Values, prompts)
	return nil
}

// ratable are up to ratedPrompts of an experiment's prompts, evenly apart, of which nothing failed.
func ratable(e *experiment.Setup, outputs []experiment.Output) ([]study.Prompt, error) {
	decoded, failed := map[int]bool{}, map[int]bool{}
	for i := range outputs {
		decoded[outputs[i].Prompt] = true
		if outputs[i].Failed() {
			failed[outputs[i].Prompt] = true
		}
	}
	var sound []int
	for i := range e.Prompts {
		if decoded[i] && !failed[i] {
			sound = append(sound, i)
		}
	}
	if len(sound) == 0 {
		return nil, fault.New(fault.Conflict, "there is nothing to rate: no prompt is decoded yet")
	}
	n := min(len(sound), ratedPrompts)
	prompts := make([]study.Prompt, n)
	for i := range prompts {
		p, ok := study.PromptOf(&e.Prompts[sound[i*len(sound)/n]])
		if !ok {
			return nil, fault.New(fault.Conflict, "prompt %d of the experiment is none that people can be shown", sound[i*len(sound)/n]+1)
		}
		p.Place, p.Line = i+1, i+1
		prompts[i] = p
	}
	return prompts, nil
}

// near are the λ of a grid that are nearest to the best one; where none is known, some of it from end to end.
func near(r *sweep.Report, grid []float64) []float64 {
	if len(grid) <= ratedLambdas {
		return grid
	}
	chosen := make([]float64, ratedLambdas)
	if r.Best == nil {
		for i := range chosen {
			chosen[i] = grid[i*(len(grid)-1)/(ratedLambdas-1)]
		}
		return chosen
	}
	sorted := slices.Clone(grid)
	best := r.Best.Lambda.Estimate
	slices.SortStableFunc(sorted, func(a, b float64) int {
		switch x, y := math.Abs(a-best), math.Abs(b-best); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	copy(chosen, sorted)
	slices.Sort(chosen)
	return chosen
}

// fixedByExperiment puts into the form of a study what its experiment has fixed.
func fixedByExperiment(v *templates.StudyForm, e *experiment.Experiment) {
	u := e.Setup
	v.Experiment = e.ID
	v.Values.Set("pair", u.Pair+"/"+u.Aligned)
	v.Values.Set("mode", string(run.Chat))
	v.Values.Set("system", "")
	if len(u.Prompts) > 0 && u.Prompts[0].Text != "" {
		v.Values.Set("mode", string(run.Plain))
	}
	v.Values.Set("mix", u.Mix)
	fillForm(v.Values, samplingFields(&u.Sampling))
	if u.Sampling.Temperature == 0 {
		v.Values.Set("same_every", "0")
	}
}

// typedOver completes the form of a study of an experiment's outputs, of which only what is not fixed was sent.
func (s *Server) typedOver(c echo.Context, v *templates.StudyForm) (*experiment.Experiment, error) {
	id := c.FormValue("experiment")
	if id == "" {
		return nil, nil
	}
	e, err := s.experiments.Experiment(c.Request().Context(), owner(c), id)
	if err != nil {
		return nil, err
	}
	same := v.Values.Get("same_every")
	fixedByExperiment(v, &e)
	v.Values.Set("same_every", same)
	v.About = c.FormValue("about")
	return &e, nil
}

// sweepOfStudy is the form of a sweep in which rewards judge the outputs of a study.
func (s *Server) sweepOfStudy(c echo.Context, v *templates.SweepNew, id string) error {
	st, err := s.studies.Study(c.Request().Context(), owner(c), id)
	if err != nil {
		return err
	}
	v.Study, v.About = st.ID, st.Setup.Title
	return judgeable(&st)
}

// judgeable is Conflict for a study whose outputs are not there yet.
func judgeable(st *study.Study) error {
	switch st.Status {
	case study.Draft, study.Decoding, study.Halted:
		return fault.New(fault.Conflict, "the answers of the study are not decoded yet: rewards judge them when they are")
	}
	return nil
}

// startOver starts the sweep that a form asks for about a study's outputs.
func (s *Server) startOver(c echo.Context, form url.Values) (sweep.Sweep, error) {
	ctx := c.Request().Context()
	st, err := s.studies.Study(ctx, owner(c), form.Get("study"))
	if err != nil {
		return sweep.Sweep{}, err
	}
	if err := judgeable(&st); err != nil {
		return sweep.Sweep{}, err
	}
	e, err := s.experiments.Experiment(ctx, owner(c), st.Experiment)
	if err != nil {
		return sweep.Sweep{}, err
	}
	outputs, err := s.experiments.ExperimentOutputs(ctx, e.ID, nil, false)
	if err != nil {
		return sweep.Sweep{}, err
	}
	grid := decodedGrid(len(e.Setup.Prompts), st.Setup.Grid, st.Setup.Samples, outputs)
	if len(grid) < 2 {
		return sweep.Sweep{}, fault.New(fault.Conflict, "the experiment has other prompts, which are not decoded at the study's λ: add rewards to the sweep that it was decoded for")
	}
	over, err := sweep.Over(&e.Setup, grid, st.Setup.Samples)
	if err != nil {
		return sweep.Sweep{}, err
	}
	over.Seed = st.Setup.Seed
	asked, err := withRewards(over, form, st.Setup.Title)
	if err != nil {
		return sweep.Sweep{}, err
	}
	return s.sweeper.CreateOver(ctx, owner(c), id.New(), e.ID, asked)
}

// decodedGrid are the λ of a grid at which so many samples of every prompt are there.
func decodedGrid(prompts int, grid []float64, samples int, outputs []experiment.Output) []float64 {
	count := map[float64]int{}
	for i := range outputs {
		if outputs[i].Sample < samples {
			count[outputs[i].Lambda]++
		}
	}
	return slices.DeleteFunc(slices.Clone(grid), func(l float64) bool { return count[l] < prompts*samples })
}

// withRewards is a configuration with the rewards that a form asks for, under a name that is shortened if need be.
func withRewards(c sweep.Config, form url.Values, name string) (*sweep.Config, error) {
	if r := []rune(name); len(r) > sweep.MaxName {
		name = string(r[:sweep.MaxName])
	}
	c.Name, c.Rewards, c.Objective, c.Evaluation = name, formRewards(form), form.Get("objective"), form.Get("evaluation")
	if err := c.Complete(); err != nil {
		return nil, err
	}
	return &c, c.Validate()
}

// showMoreRewards is GET /sweeps/{id}/rewards: the form that adds rewards to a sweep.
func (s *Server) showMoreRewards(c echo.Context) error {
	w, err := s.found(c)
	if err != nil {
		return err
	}
	v := s.sweepForm(c)
	v.Adds, v.About = w.ID, w.Title()
	return s.page(c, http.StatusOK, v)
}

// addRewards is POST /sweeps/{id}/rewards. What is wrong is told on the form.
func (s *Server) addRewards(c echo.Context) error {
	w, err := s.found(c)
	if err != nil {
		return err
	}
	form, err := c.FormParams()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the form cannot be read")
	}
	more, err := moreRewards(&w, form)
	if err == nil {
		err = s.sweeper.AddRewards(c.Request().Context(), owner(c), w.ID, more)
	}
	if err == nil {
		return s.done(c, "The outputs are being judged. Nothing is decoded.", "", "/sweeps/"+w.ID)
	}
	f := fault.Of(err)
	if wantsJSON(c.Request()) || f.Kind != fault.Invalid && f.Kind != fault.Unavailable {
		return err
	}
	v := s.sweepForm(c)
	v.Adds, v.About, v.Values, v.Errors = w.ID, w.Title(), form, formErrors(err)
	return s.page(c, statuses[f.Kind], v)
}

// moreRewards are the rewards that a form adds to a sweep, under names that it has not.
func moreRewards(w *sweep.Sweep, form url.Values) ([]sweep.Reward, error) {
	more := formRewards(form)
	if len(more) == 0 {
		return nil, fault.Field("rewards", "tick one or more")
	}
	taken := map[string]bool{}
	for _, r := range w.Setup.Config.Rewards {
		taken[r.Name] = true
	}
	for i := range more {
		name := more[i].Reward
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s %d", more[i].Reward, n)
		}
		more[i].Name, taken[name] = name, true
	}
	return more, nil
}

// related are the studies and sweeps that are about the same outputs, but for the one whose page it is.
func (s *Server) related(c echo.Context, over, but string) (list []templates.Related, err error) {
	if over == "" {
		return nil, nil
	}
	studies, err := s.experiments.StudiesOver(c.Request().Context(), owner(c), over)
	if err != nil {
		return nil, err
	}
	for _, st := range studies {
		if st.ID != but {
			one := templates.Related{Kind: "Study", Title: st.Setup.Title, State: string(st.Status), Path: "/studies/" + st.ID}
			if judgeable(&st) == nil {
				one.Agreement = one.Path + "/agreement"
			}
			list = append(list, one)
		}
	}
	sweeps, err := s.experiments.SweepsOver(c.Request().Context(), owner(c), over)
	if err != nil {
		return nil, err
	}
	for _, w := range sweeps {
		if w.ID != but {
			list = append(list, templates.Related{Kind: "Sweep", Title: w.Title(), State: string(w.State), Path: "/sweeps/" + w.ID})
		}
	}
	return list, nil
}

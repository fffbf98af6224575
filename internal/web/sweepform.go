package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/intake"
	"realign/internal/prompt"
	"realign/internal/sweep"
	"realign/internal/sweep/config"
	"realign/internal/sweep/reward"
	"realign/web/templates"
)

// newSweep is GET /sweeps/new: an empty form, the prompts and λ of a run ("?run="), or the configuration of another sweep
// ("?from=").
func (s *Server) newSweep(c echo.Context) error {
	v := s.sweepForm(c)
	if id := c.QueryParam("study"); id != "" {
		if err := s.sweepOfStudy(c, &v, id); err != nil {
			return err
		}
	}
	if id := c.QueryParam("run"); id != "" {
		if err := s.sweepRun(c, &v, id); err != nil {
			return err
		}
	}
	if from := c.QueryParam("from"); from != "" {
		w, err := s.sweeps.Sweep(c.Request().Context(), owner(c), from)
		if err != nil {
			return err
		}
		if mix := c.QueryParam("mix"); mix != "" { // the same with λ elsewhere, to be compared
			if err := decode.CheckMix("mix", mix); err != nil {
				return err
			}
			w.Setup.Config.Mix = mix
			w.Setup.Config.Name = otherName(w.Title(), mix)
		}
		if v.Values, v.Config, err = formOf(&w.Setup.Config); err != nil {
			return err
		}
	}
	return s.page(c, http.StatusOK, v)
}

// otherName is what the form calls a sweep that differs from another in what λ mixes.
func otherName(title, mix string) string {
	suffix := []rune(", λ in the " + mix)
	name := []rune(title)
	return string(name[:min(len(name), sweep.MaxName-len(suffix))]) + string(suffix)
}

// sweepForm is the page with an empty form: the pairs, and all rewards that are not Headless.
func (s *Server) sweepForm(c echo.Context) templates.SweepNew {
	standard := sweep.Default()
	v := templates.SweepNew{
		Layout: s.layout(c, "New sweep", "sweeps"), Pairs: s.pairOptions(), Fields: boundsView(sweep.Bounds()),
		Values: filledSweep(&standard, sweep.Range{From: 0, To: 2, Points: 9}),
	}
	for i := range v.Pairs {
		v.Pairs[i].Pace = s.studyService.Pace(v.Pairs[i].Name)
	}
	for _, info := range reward.Infos() {
		if info.Headless {
			continue
		}
		r := templates.RewardOption{
			Name: info.Name, Title: info.Title, About: info.About, Unit: info.Unit, Direction: string(info.Direction), Needs: info.Needs, Remote: info.Remote,
		}
		for _, p := range info.Schema {
			r.Parameters = append(r.Parameters, templates.RewardParameter{Name: p.Name, About: p.About, Default: p.Default})
		}
		v.Rewards = append(v.Rewards, r)
	}
	return v
}

// createSweep is POST /sweeps. What is wrong is told on the form, which keeps what was typed.
func (s *Server) createSweep(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "sweeps"); err != nil {
		return err
	}
	form, err := c.FormParams()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the form cannot be read")
	}
	var made sweep.Sweep
	if form.Get("study") != "" {
		made, err = s.startOver(c, form)
	} else {
		var asked *sweep.Config
		if asked, err = askedSweep(c, form); err == nil {
			made, err = s.sweeper.Create(c.Request().Context(), owner(c), id.New(), asked)
		}
	}
	if err != nil {
		f := fault.Of(err)
		if wantsJSON(c.Request()) || f.Kind != fault.Invalid && f.Kind != fault.Unavailable {
			return err
		}
		v := s.sweepForm(c)
		v.Values, v.Config, v.Errors = form, form.Get("config"), formErrors(err)
		v.Study, v.About = form.Get("study"), form.Get("about")
		return s.page(c, statuses[f.Kind], v)
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"sweep": made.ID, "url": s.base.at("/sweeps/" + made.ID)})
	}
	if grid := made.Setup.Config.Lambda.Values; !slices.Contains(grid, 1) {
		s.leaveToast(c, toast{Text: "λ = 1, the aligned model itself, is not among the λ: nothing is compared with it."})
	}
	return c.Redirect(http.StatusSeeOther, "/sweeps/"+made.ID)
}

// askedSweep is the configuration that a form asks for.
func askedSweep(c echo.Context, form url.Values) (*sweep.Config, error) {
	set, wrong := promptFile(c)
	if set != nil { // a browser does not send a file again
		form.Set("prompts_format", string(prompt.JSONL))
		form.Set("prompts", rowsJSONL(set.Prompts))
	}
	asked, err := typedConfig(form)
	if err = errors.Join(err, wrong); err != nil {
		return nil, err
	}
	switch {
	case set != nil:
		asked.Prompts.Rows = set.Prompts
	case len(asked.Prompts.Rows) == 0 && asked.Prompts.Path != "":
		return nil, fault.Field("prompts", "names the file %s of your machine: choose it in the form", path.Base(asked.Prompts.Path))
	}
	return asked, asked.Validate()
}

// typedConfig is the whole configuration that was typed, or else what the fields say.
func typedConfig(form url.Values) (*sweep.Config, error) {
	text := []byte(form.Get("config"))
	if len(bytes.TrimSpace(text)) == 0 {
		return formConfig(form)
	}
	if err := intake.Config("config", text); err != nil {
		return nil, err
	}
	return config.Parse(text)
}

// promptFile is the uploaded file of prompts; nil without one.
func promptFile(c echo.Context) (*prompt.Set, error) {
	part, err := c.FormFile("file")
	if err != nil || part.Size == 0 && part.Filename == "" {
		return nil, nil
	}
	in, err := part.Open()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the file cannot be read")
	}
	defer in.Close()
	return sweep.ReadPrompts(in, part.Filename)
}

// configFields are the fields of a sweep's form, but for the pair, the prompts and the rewards. Those that are left empty keep the
// default.
func configFields(c *sweep.Config, lambda *sweep.Range) []field {
	return []field{
		{name: "name", to: &c.Name}, {name: "mix", to: &c.Mix}, {name: "from", to: &lambda.From}, {name: "to", to: &lambda.To},
		{name: "points", to: &lambda.Points, optional: true}, {name: "samples", to: &c.Samples, optional: true},
		{name: "max_tokens", to: &c.Sampling.MaxTokens, optional: true}, {name: "temperature", to: &c.Sampling.Temperature, optional: true},
		{name: "rounds", to: &c.Refine.Rounds, optional: true}, {name: "budget", to: &c.Budget, optional: true}, {name: "seed", to: &c.Seed, optional: true},
	}
}

// filledSweep are the fields of a sweep's form with what a configuration says.
func filledSweep(c *sweep.Config, lambda sweep.Range) url.Values {
	form := url.Values{}
	fillForm(form, configFields(c, &lambda))
	if c.Budget == 0 {
		form.Set("budget", "")
	}
	return form
}

// formConfig makes a configuration of the fields of the form. A file may have its prompts.
func formConfig(form url.Values) (*sweep.Config, error) {
	c, lambda := sweep.Default(), sweep.Range{}
	wrong := bindForm(form, configFields(&c, &lambda))
	c.Name = strings.TrimSpace(c.Name)
	c.Pair, c.Aligned, _ = strings.Cut(form.Get("pair"), ":")
	c.Rewards, c.Objective, c.Evaluation = formRewards(form), form.Get("objective"), form.Get("evaluation")
	if text := form.Get("prompts"); strings.TrimSpace(text) != "" {
		set, err := prompt.Read(strings.NewReader(text), "", prompt.Options{Format: typedFormat(form), MaxBytes: sweep.MaxPromptFile, MaxPrompts: sweep.MaxPrompts})
		if wrong = errors.Join(wrong, err); err == nil {
			c.Prompts.Rows = set.Prompts
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	var err error
	if c.Lambda, err = lambda.Grid(); err != nil {
		return nil, err
	}
	return &c, c.Complete()
}

// formRewards are the rewards that are ticked, with their parameters: a value that is JSON is taken as such, any other as
// text, and an empty one is left to its default.
func formRewards(form url.Values) (rewards []sweep.Reward) {
	for _, name := range form["reward"] {
		parameters := map[string]any{}
		for _, info := range reward.Infos() {
			if info.Name != name {
				continue
			}
			for _, p := range info.Schema {
				text := strings.TrimSpace(form.Get("param." + name + "." + p.Name))
				if text == "" {
					continue
				}
				parameters[p.Name] = text
				if json.Valid([]byte(text)) {
					parameters[p.Name] = json.RawMessage(text)
				}
			}
		}
		encoded, _ := json.Marshal(parameters) // texts and what is JSON always encode
		rewards = append(rewards, sweep.Reward{Reward: name, Parameters: encoded})
	}
	return rewards
}

package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
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

// newSweep is GET /sweeps/new: an empty form, or the configuration of another sweep ("?from=").
func (s *Server) newSweep(c echo.Context) error {
	v := s.sweepForm(c)
	if id := c.QueryParam("study"); id != "" {
		if err := s.sweepOfStudy(c, &v, id); err != nil {
			return err
		}
	}
	if from := c.QueryParam("from"); from != "" {
		w, err := s.sweeps.Sweep(c.Request().Context(), owner(c), from)
		if err != nil {
			return err
		}
		text, err := json.MarshalIndent(w.Setup.Config, "", "  ")
		if err != nil {
			return fault.Wrap(err, fault.Internal, "the configuration cannot be shown")
		}
		v.Config = string(text)
	}
	return s.page(c, http.StatusOK, v)
}

func (s *Server) sweepForm(c echo.Context) templates.SweepNew {
	v := templates.SweepNew{Layout: s.layout(c, "New sweep", "sweeps"), Pairs: s.pairOptions()}
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
		v.Values, v.Config, v.Error, v.Field = form, form.Get("config"), f.Message, f.Field
		v.Study, v.About = form.Get("study"), form.Get("about")
		return s.page(c, statuses[f.Kind], v)
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"sweep": made.ID, "url": s.base.at("/sweeps/" + made.ID)})
	}
	return c.Redirect(http.StatusSeeOther, "/sweeps/"+made.ID)
}

// askedSweep is the configuration that a form asks for.
func askedSweep(c echo.Context, form url.Values) (*sweep.Config, error) {
	text := []byte(form.Get("config"))
	if len(bytes.TrimSpace(text)) == 0 {
		var err error
		if text, err = formConfig(form); err != nil {
			return nil, err
		}
	} else if err := intake.Config("config", text); err != nil {
		return nil, err
	}
	asked, err := config.Parse(text)
	if err != nil {
		return nil, err
	}
	set, err := promptFile(c)
	switch {
	case err != nil:
		return nil, err
	case set != nil:
		asked.Prompts.Rows = set.Prompts
	case len(asked.Prompts.Rows) == 0 && asked.Prompts.Path != "":
		return nil, fault.Field("prompts", "names the file %s of your machine: choose it in the form", path.Base(asked.Prompts.Path))
	}
	return asked, asked.Validate()
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

// formConfig makes a configuration of the fields of the form, in JSON, so that it is read and checked like any other.
func formConfig(form url.Values) ([]byte, error) {
	number := func(name string) (any, error) {
		text := strings.TrimSpace(form.Get(name))
		if text == "" {
			return nil, nil
		}
		if n := json.Number(text); json.Unmarshal([]byte(text), &n) == nil {
			return n, nil // a seed has more digits than a float64
		}
		return decode.ParseNumber(name, text)
	}
	all := map[string]any{}
	under := func(name string) map[string]any {
		if all[name] == nil {
			all[name] = map[string]any{}
		}
		return all[name].(map[string]any)
	}
	for _, field := range []struct {
		name string
		to   map[string]any
		as   string
	}{
		{"from", under("lambda"), "from"}, {"to", under("lambda"), "to"}, {"points", under("lambda"), "points"}, {"samples", all, "samples"},
		{"max_tokens", under("sampling"), "max_tokens"}, {"temperature", under("sampling"), "temperature"}, {"rounds", under("refine"), "rounds"},
		{"budget", all, "budget"}, {"seed", all, "seed"},
	} {
		n, err := number(field.name)
		if err != nil {
			return nil, err
		}
		if n != nil {
			field.to[field.as] = n
		}
	}
	pair, aligned, _ := strings.Cut(form.Get("pair"), ":")
	all["name"], all["pair"], all["aligned"] = strings.TrimSpace(form.Get("name")), pair, aligned
	all["prompts"] = []prompt.Prompt{} // a file may have them
	if text := form.Get("prompts"); strings.TrimSpace(text) != "" {
		set, err := prompt.Read(strings.NewReader(text), "", prompt.Options{Format: prompt.Lines, MaxPrompts: sweep.MaxPrompts})
		if err != nil {
			return nil, err
		}
		all["prompts"] = set.Prompts
	}
	rewards, err := formRewards(form)
	if err != nil {
		return nil, err
	}
	all["rewards"] = rewards
	for _, role := range []string{"objective", "evaluation"} {
		if name := form.Get(role); name != "" {
			all[role] = name
		}
	}
	return json.Marshal(all)
}

// formRewards are the rewards that are ticked, with their parameters: a value that is JSON is taken as such, any other as
// text, and an empty one is left to its default.
func formRewards(form url.Values) ([]any, error) {
	var rewards []any
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
		rewards = append(rewards, map[string]any{"reward": name, "parameters": parameters})
	}
	return rewards, nil
}

package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/prompt"
	"realign/internal/run"
	"realign/internal/study"
	"realign/web/templates"
)

// setupFields are the fields of a study's form, but for the pair and the prompts. Those of a kind of question that is not asked
// are left out.
func setupFields(u *study.Setup) []field {
	fields := []field{
		{name: "title", to: &u.Title}, {name: "guidelines", to: &u.Guidelines}, {name: "mode", to: (*string)(&u.Mode)}, {name: "system", to: &u.System},
		{name: "grid", to: &u.Grid}, {name: "samples", to: &u.Samples}, {name: "seed", to: &u.Seed}, {name: "pairwise", to: &u.Pairwise},
		{name: "comments", to: &u.Comments}, {name: "scheme", to: (*string)(&u.Scheme)}, {name: "overlap", to: &u.Overlap}, {name: "cap", to: &u.Cap},
		{name: "same_every", to: &u.SameEvery}, {name: "broken_every", to: &u.BrokenEvery},
	}
	if u.Likert != nil {
		fields = append(fields, field{name: "criteria", to: &u.Likert.Criteria}, field{name: "points", to: &u.Likert.Points})
	}
	fields = append(fields, field{name: "mix", to: &u.Mix})
	return append(fields, samplingFields(&u.Sampling)...)
}

// newSetup is what the form of a study begins with.
func (s *Server) newSetup() study.Setup {
	return study.Setup{
		Grid: []float64{0, 0.5, 1, 1.5, 2}, Samples: 1, Mode: run.Chat, Sampling: s.defaultSampling(), Pairwise: true, Comments: true,
		Overlap: 2, SameEvery: 12, BrokenEvery: 20, Scheme: study.ActiveScheme,
	}
}

// filled is the form of a setup. Kinds of question that it does not ask stand there as they would be asked.
func filled(u study.Setup) url.Values {
	values := url.Values{"pair": {u.Pair + "/" + u.Aligned}, "ranked": {"4"}}
	for kind, asked := range map[string]bool{"likert": u.Likert != nil, "ranking": u.Ranked > 0} {
		if asked {
			values.Set(kind, "on")
		}
	}
	if u.Likert == nil {
		u.Likert = &study.Scale{Points: 5, Criteria: []string{"helpful", "honest"}}
	}
	fillForm(values, setupFields(&u))
	if u.Ranked > 0 {
		fillForm(values, []field{{name: "ranked", to: &u.Ranked}})
	}
	return values
}

// showStudyForm is GET /studies/new: an empty form, or one about a run ("?run=") or a sweep ("?sweep=").
func (s *Server) showStudyForm(c echo.Context) error {
	v := templates.StudyForm{Values: filled(s.newSetup())}
	v.Values.Set("format", string(prompt.Lines))
	for _, open := range []string{"seed", "pair"} {
		v.Values.Del(open)
	}
	if id := c.QueryParam("run"); id != "" {
		if err := s.rateRun(c, &v, id); err != nil {
			return err
		}
	}
	if id := c.QueryParam("sweep"); id != "" {
		if err := s.studyOfSweep(c, &v, id); err != nil {
			return err
		}
	}
	return s.studyForm(c, http.StatusOK, v)
}

// editStudy is GET /studies/{id}/edit: a draft in the form.
func (s *Server) editStudy(c echo.Context) error {
	st, err := s.studies.Study(c.Request().Context(), owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	if st.Status != study.Draft {
		return fault.New(fault.Conflict, "the study is %s: its setup is fixed", st.Status)
	}
	prompts, err := s.studies.StudyPrompts(c.Request().Context(), st.ID)
	if err != nil {
		return err
	}
	v := templates.StudyForm{ID: st.ID, Experiment: st.Experiment, Values: filled(st.Setup)}
	typePrompts(v.Values, prompts)
	return s.studyForm(c, http.StatusOK, v)
}

// typePrompts puts prompts into a form.
func typePrompts(form url.Values, prompts []study.Prompt) {
	format, text := promptText(prompts)
	form.Set("format", format)
	form.Set("prompts", text)
}

// promptText is prompts as they can be typed again: lines where that says all, or JSONL.
func promptText(prompts []study.Prompt) (format, text string) {
	var lines []string
	for _, p := range prompts {
		said := study.Prompt{Place: p.Place, Line: p.Line, Problem: p.Problem, Text: p.Text}
		if !reflect.DeepEqual(p, said) || strings.TrimSpace(p.Text) != p.Text || strings.ContainsAny(p.Text, "\r\n") {
			return string(prompt.JSONL), promptJSONL(prompts)
		}
		lines = append(lines, p.Text)
	}
	return string(prompt.Lines), strings.Join(lines, "\n")
}

// promptJSONL is prompts as JSON, a row on each line.
func promptJSONL(prompts []study.Prompt) string {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	for _, p := range prompts {
		_ = encoder.Encode(p.Given()) // what was read as JSON always encodes
	}
	return strings.TrimRight(buf.String(), "\n")
}

// studyForm is the page with the form. Without a pair among the values the default pair is chosen.
func (s *Server) studyForm(c echo.Context, status int, v templates.StudyForm) error {
	v.Layout = s.layout(c, "New study", "studies")
	v.MaxPrompts, v.MaxGrid, v.MaxRanked, v.Fields = study.MaxPrompts, study.MaxGrid, preference.MaxRanked, boundsView(study.Bounds())
	pairs, err := s.library.List()
	if err != nil {
		return err
	}
	for _, p := range pairs {
		for _, m := range alignedModels(p) {
			name := p.Name + ", " + cmp.Or(m.Title, m.Name)
			if m.Beta > 0 && !strings.Contains(m.Title, "β") {
				name += fmt.Sprintf(" (β %g)", m.Beta)
			}
			v.Pairs = append(v.Pairs, templates.PairChoice{Value: p.Name + "/" + m.Name, Name: name})
		}
	}
	if v.Values.Get("pair") == "" {
		for _, p := range v.Pairs {
			if strings.HasPrefix(p.Value, s.defaultPair+"/") {
				v.Values.Set("pair", p.Value)
				break
			}
		}
	}
	return s.page(c, status, v)
}

// createStudy is POST /studies: a new draft.
func (s *Server) createStudy(c echo.Context) error {
	if err := s.createLimiter.allow(owner(c), "studies"); err != nil {
		return err
	}
	return s.saveStudy(c, "", "The draft is saved.", func(ctx context.Context, setup study.Setup, prompts []study.Prompt, beta float64) (string, error) {
		made, err := s.studyService.CreateOver(ctx, owner(c), c.FormValue("experiment"), setup, prompts, beta)
		return made.ID, err
	})
}

// reviseStudy is POST /studies/{id}/edit: a draft with another setup.
func (s *Server) reviseStudy(c echo.Context) error {
	id := c.Param("id")
	return s.saveStudy(c, id, "The draft is changed.", func(ctx context.Context, setup study.Setup, prompts []study.Prompt, beta float64) (string, error) {
		return id, s.studyService.Revise(ctx, owner(c), id, setup, prompts, beta)
	})
}

// saveStudy reads the form and saves it. What is wrong is told in the form, with all that was typed.
func (s *Server) saveStudy(c echo.Context, id, done string, save func(context.Context, study.Setup, []study.Prompt, float64) (string, error)) error {
	form, err := c.FormParams()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the form cannot be read")
	}
	v := templates.StudyForm{ID: id, Values: form}
	over, err := s.typedOver(c, &v)
	if err != nil {
		return err
	}
	setup, prompts, err := readStudy(c, &v)
	if over != nil {
		setup.Sampling = over.Setup.Sampling
	}
	if err == nil && decode.InWeights(setup.Mix) {
		err = s.checkMix(setup.Pair, setup.Aligned, setup.Mix)
	}
	if err != nil {
		err = errors.Join(err, setup.Validate()) // all that is wrong is told at once
	} else {
		id, err = save(c.Request().Context(), setup, prompts, s.betaOf(setup.Pair, setup.Aligned))
	}
	if err != nil && fault.KindOf(err) == fault.Invalid && !wantsJSON(c.Request()) {
		v.Errors = formErrors(err)
		return s.studyForm(c, http.StatusBadRequest, v)
	}
	if err != nil {
		return err
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"id": id, "url": s.base.at("/studies/" + id)})
	}
	s.leaveToast(c, toast{Text: strings.Join(append([]string{done}, sentences(v.Notes)...), " ")})
	return c.Redirect(http.StatusSeeOther, "/studies/"+id)
}

// checkMix checks that λ can be mixed so in an aligned model.
func (s *Server) checkMix(name, aligned, mix string) error {
	p, err := s.library.Find(name)
	if err != nil {
		return fault.Field("pair", "%v", err)
	}
	return p.CheckMix(aligned, mix)
}

// sentences are notes as people read them.
func sentences(notes []string) []string {
	all := make([]string, len(notes))
	for i, note := range notes {
		all[i] = strings.ToUpper(note[:1]) + note[1:] + "."
	}
	return all
}

// readStudy is the setup and the prompts that a form says. Prompts that were read from a file stand in the form
// from then on, since a browser does not send a file again.
func readStudy(c echo.Context, v *templates.StudyForm) (setup study.Setup, prompts []study.Prompt, err error) {
	form := v.Values
	prompts, wrong := readPrompts(c, v)
	setup.Pair, setup.Aligned, _ = strings.Cut(form.Get("pair"), "/")
	if form.Get("likert") != "" {
		setup.Likert = &study.Scale{}
	}
	wrong = errors.Join(wrong, bindForm(form, setupFields(&setup)))
	if !setup.Pairwise {
		setup.Scheme = study.BalancedScheme // there are no pairs to choose
	}
	if form.Get("ranking") != "" {
		err = bindForm(form, []field{{name: "ranked", to: &setup.Ranked}})
		if err == nil && setup.Ranked == 0 {
			err = fault.Field("ranked", "a best–worst ranking has 3 to %d answers, not 0", preference.MaxRanked)
		}
	}
	return setup, prompts, errors.Join(wrong, err)
}

// readPrompts reads the prompts of a form: the uploaded file, or what was typed. It leaves notes about them in v.
func readPrompts(c echo.Context, v *templates.StudyForm) ([]study.Prompt, error) {
	part, err := c.FormFile("file")
	if err != nil || part.Size == 0 {
		if err == nil {
			return nil, fault.Field("file", "%.60q is empty", part.Filename)
		}
		prompts, notes, err := study.ReadPrompts(strings.NewReader(v.Values.Get("prompts")), "", cmp.Or(prompt.Format(v.Values.Get("format")), prompt.Lines))
		v.Notes = notes
		return prompts, err
	}
	in, err := part.Open()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the file cannot be read")
	}
	defer in.Close()
	prompts, notes, err := study.ReadPrompts(in, part.Filename, prompt.Auto)
	if err != nil {
		return nil, err
	}
	v.Notes = notes
	typePrompts(v.Values, prompts)
	return prompts, nil
}

// betaOf is the β that a pair states of an aligned model; 0 when it states none.
func (s *Server) betaOf(pair, aligned string) float64 {
	for _, m := range s.alignedView(pair, []string{aligned}) {
		return m.Beta
	}
	return 0
}

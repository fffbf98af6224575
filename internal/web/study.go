package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/prompt"
	"realign/internal/run"
	"realign/internal/study"
	"realign/web/templates"
)

// Studies is where studies are kept, as their owner looks at them.
type Studies interface {
	Study(ctx context.Context, owner, id string) (study.Study, error)
	Studies(ctx context.Context, owner string) ([]study.Study, error)
	StudyTallies(ctx context.Context, ids []string) (map[string]study.Summary, error)
	StudyPrompts(ctx context.Context, id string) ([]study.Prompt, error)
	StudyItems(ctx context.Context, id string) ([]study.ItemProgress, error)
	StudyAnnotators(ctx context.Context, id string) ([]study.AnnotatorProgress, error)
	Ratings
}

// markdown renders what owners write for annotators. Raw HTML is left out, and links lead nowhere but to
// web pages: goldmark's default.
var markdown = goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.Linkify))

func guidelines(text string) (string, error) {
	var buf bytes.Buffer
	if err := markdown.Convert([]byte(text), &buf); err != nil {
		return "", fault.Wrap(err, fault.Internal, "the guidelines could not be rendered")
	}
	return buf.String(), nil
}

// showStudies is GET /studies.
func (s *Server) showStudies(c echo.Context) error {
	ctx := c.Request().Context()
	list, err := s.studies.Studies(ctx, owner(c))
	if err != nil {
		return err
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	tallies, err := s.studies.StudyTallies(ctx, ids)
	if err != nil {
		return err
	}
	v := templates.StudyList{Layout: s.layout(c, "Studies", "studies")}
	for _, one := range list {
		t := tallies[one.ID]
		v.Studies = append(v.Studies, templates.StudyItem{
			ID: one.ID, Title: one.Setup.Title, Status: string(one.Status), Pair: one.Setup.Pair, Prompts: t.Prompts, Lambdas: len(one.Setup.Grid),
			Outputs: t.Outputs, Decoded: t.Decoded, Annotators: t.Annotators, Answers: t.Answers, Created: one.CreatedAt,
		})
	}
	return s.page(c, http.StatusOK, v)
}

// showStudyForm is GET /studies/new.
func (s *Server) showStudyForm(c echo.Context) error {
	d := s.defaultSampling()
	v := templates.StudyForm{
		Format: string(prompt.Lines), Grid: "0, 0.5, 1, 1.5, 2", Samples: "1", Mode: string(run.Chat),
		MaxTokens: strconv.Itoa(d.MaxTokens), Temperature: decode.FormatNumber(d.Temperature), TopK: strconv.Itoa(d.TopK), TopP: decode.FormatNumber(d.TopP), MinP: decode.FormatNumber(d.MinP),
		Pairwise: true, Points: "5", Criteria: "helpful\nhonest", Ranked: "4", Comments: true,
		Overlap: "2", Cap: "0", SameEvery: "12", BrokenEvery: "20", Scheme: string(study.ActiveScheme),
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
	u := &st.Setup
	v := templates.StudyForm{
		ID: st.ID, Experiment: st.Experiment, Name: u.Title, Guidelines: u.Guidelines, Pair: u.Pair + "/" + u.Aligned, Mode: string(u.Mode), System: u.System,
		Grid: decode.FormatNumbers(u.Grid), Samples: strconv.Itoa(u.Samples), Seed: strconv.FormatUint(u.Seed, 10),
		MaxTokens: strconv.Itoa(u.Sampling.MaxTokens), Temperature: decode.FormatNumber(u.Sampling.Temperature), TopK: strconv.Itoa(u.Sampling.TopK),
		TopP: decode.FormatNumber(u.Sampling.TopP), MinP: decode.FormatNumber(u.Sampling.MinP), Pairwise: u.Pairwise, Likert: u.Likert != nil, Ranking: u.Ranked > 0,
		Points: "5", Ranked: "4", Comments: u.Comments, Overlap: strconv.Itoa(u.Overlap), Cap: strconv.Itoa(u.Cap),
		SameEvery: strconv.Itoa(u.SameEvery), BrokenEvery: strconv.Itoa(u.BrokenEvery), Scheme: string(u.Scheme),
	}
	if u.Likert != nil {
		v.Points, v.Criteria = strconv.Itoa(u.Likert.Points), strings.Join(u.Likert.Criteria, "\n")
	}
	if u.Ranked > 0 {
		v.Ranked = strconv.Itoa(u.Ranked)
	}
	v.Format, v.Prompts = promptText(prompts)
	return s.studyForm(c, http.StatusOK, v)
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

func promptJSONL(prompts []study.Prompt) string {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	for _, p := range prompts {
		_ = encoder.Encode(p.Given()) // what was read as JSON always encodes
	}
	return strings.TrimRight(buf.String(), "\n")
}

func (s *Server) studyForm(c echo.Context, status int, v templates.StudyForm) error {
	v.Layout = s.layout(c, "New study", "studies")
	v.MaxPrompts, v.MaxGrid, v.MaxRanked = study.MaxPrompts, study.MaxGrid, preference.MaxRanked
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
	if v.Pair == "" {
		for _, p := range v.Pairs {
			if strings.HasPrefix(p.Value, s.defaultPair+"/") {
				v.Pair = p.Value
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
		create := s.studyService.Create
		if over := c.FormValue("experiment"); over != "" {
			create = func(ctx context.Context, owner string, setup study.Setup, prompts []study.Prompt, beta float64) (study.Study, error) {
				return s.studyService.CreateOver(ctx, owner, over, setup, prompts, beta)
			}
		}
		made, err := create(ctx, owner(c), setup, prompts, beta)
		return made.ID, err
	})
}

// reviseStudy is POST /studies/{id}/edit.
func (s *Server) reviseStudy(c echo.Context) error {
	id := c.Param("id")
	return s.saveStudy(c, id, "The draft is changed.", func(ctx context.Context, setup study.Setup, prompts []study.Prompt, beta float64) (string, error) {
		return id, s.studyService.Revise(ctx, owner(c), id, setup, prompts, beta)
	})
}

// saveStudy reads the form and saves it. What is wrong is told in the form, with all that was typed.
func (s *Server) saveStudy(c echo.Context, id, done string, save func(context.Context, study.Setup, []study.Prompt, float64) (string, error)) error {
	v := typedStudy(c)
	v.ID = id
	over, err := s.typedOver(c, &v)
	if err != nil {
		return err
	}
	setup, prompts, err := s.readStudy(c, &v)
	if over != nil {
		setup.Sampling = over.Setup.Sampling
	}
	if err == nil {
		id, err = save(c.Request().Context(), setup, prompts, s.betaOf(setup.Pair, setup.Aligned))
	}
	var wrong *fault.Error
	if errors.As(err, &wrong) && wrong.Kind == fault.Invalid && !wantsJSON(c.Request()) {
		v.Error, v.ErrorField = wrong.Message, wrong.Field
		return s.studyForm(c, http.StatusBadRequest, v)
	}
	if err != nil {
		return err
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"id": id, "url": "/studies/" + id})
	}
	s.leaveToast(c, toast{Text: strings.Join(append([]string{done}, sentences(v.Notes)...), " ")})
	return c.Redirect(http.StatusSeeOther, "/studies/"+id)
}

// sentences are notes as people read them.
func sentences(notes []string) []string {
	all := make([]string, len(notes))
	for i, note := range notes {
		all[i] = strings.ToUpper(note[:1]) + note[1:] + "."
	}
	return all
}

// typedStudy is the form as it was typed.
func typedStudy(c echo.Context) templates.StudyForm {
	on := func(name string) bool { return c.FormValue(name) != "" }
	return templates.StudyForm{
		Name: c.FormValue("title"), Guidelines: c.FormValue("guidelines"), Pair: c.FormValue("pair"), Mode: c.FormValue("mode"), System: c.FormValue("system"),
		Format: c.FormValue("format"), Prompts: c.FormValue("prompts"), Grid: c.FormValue("grid"), Samples: c.FormValue("samples"), Seed: c.FormValue("seed"),
		MaxTokens: c.FormValue("max_tokens"), Temperature: c.FormValue("temperature"), TopK: c.FormValue("top_k"), TopP: c.FormValue("top_p"), MinP: c.FormValue("min_p"),
		Pairwise: on("pairwise"), Likert: on("likert"), Ranking: on("ranking"), Points: c.FormValue("points"), Criteria: c.FormValue("criteria"),
		Ranked: c.FormValue("ranked"), Comments: on("comments"), Overlap: c.FormValue("overlap"), Cap: c.FormValue("cap"),
		SameEvery: c.FormValue("same_every"), BrokenEvery: c.FormValue("broken_every"), Scheme: c.FormValue("scheme"),
	}
}

// readStudy is the setup and the prompts that a form says. Prompts that were read from a file stand in the form
// from then on, since a browser does not send a file again.
func (s *Server) readStudy(c echo.Context, v *templates.StudyForm) (study.Setup, []study.Prompt, error) {
	setup := study.Setup{
		Title: v.Name, Guidelines: v.Guidelines, Mode: run.Mode(v.Mode), System: v.System,
		Pairwise: v.Pairwise, Comments: v.Comments, Scheme: study.Scheme(v.Scheme),
	}
	setup.Pair, setup.Aligned, _ = strings.Cut(v.Pair, "/")
	if !setup.Pairwise {
		setup.Scheme = study.BalancedScheme // there are no pairs to choose
	}
	prompts, err := readPrompts(c, v)
	if err != nil {
		return setup, nil, err
	}
	if setup.Grid, err = decode.ParseNumbers("grid", v.Grid); err != nil {
		return setup, nil, err
	}
	if v.Seed = strings.TrimSpace(v.Seed); v.Seed == "" {
		setup.Seed = rand.Uint64()
	} else if setup.Seed, err = strconv.ParseUint(v.Seed, 10, 64); err != nil {
		return setup, nil, fault.Field("seed", "%.30q is not a whole number from 0 to 2⁶⁴−1", v.Seed)
	}
	setup.Sampling = decode.Sampling{TopP: 1}
	ints := []struct {
		field, text string
		to          *int
	}{
		{"samples", v.Samples, &setup.Samples}, {"max_tokens", v.MaxTokens, &setup.Sampling.MaxTokens}, {"top_k", v.TopK, &setup.Sampling.TopK},
		{"overlap", v.Overlap, &setup.Overlap}, {"cap", v.Cap, &setup.Cap}, {"same_every", v.SameEvery, &setup.SameEvery}, {"broken_every", v.BrokenEvery, &setup.BrokenEvery},
	}
	if v.Likert {
		setup.Likert = &study.Scale{}
		for line := range strings.Lines(v.Criteria) {
			if line = strings.TrimSpace(line); line != "" {
				setup.Likert.Criteria = append(setup.Likert.Criteria, line)
			}
		}
		ints = append(ints, struct {
			field, text string
			to          *int
		}{"points", v.Points, &setup.Likert.Points})
	}
	if v.Ranking {
		ints = append(ints, struct {
			field, text string
			to          *int
		}{"ranked", v.Ranked, &setup.Ranked})
	}
	for _, one := range ints {
		if *one.to, err = strconv.Atoi(strings.TrimSpace(one.text)); err != nil {
			return setup, nil, fault.Field(one.field, "%.30q is not a whole number", one.text)
		}
	}
	if v.Ranking && setup.Ranked == 0 {
		return setup, nil, fault.Field("ranked", "a best–worst ranking has 3 to %d answers, not 0", preference.MaxRanked)
	}
	for _, one := range []struct {
		field, text string
		to          *float64
	}{{"temperature", v.Temperature, &setup.Sampling.Temperature}, {"top_p", v.TopP, &setup.Sampling.TopP}, {"min_p", v.MinP, &setup.Sampling.MinP}} {
		if *one.to, err = decode.ParseNumber(one.field, one.text); err != nil {
			return setup, nil, err
		}
	}
	return setup, prompts, nil
}

func readPrompts(c echo.Context, v *templates.StudyForm) ([]study.Prompt, error) {
	part, err := c.FormFile("file")
	if err != nil || part.Size == 0 {
		if err == nil {
			return nil, fault.Field("file", "%.60q is empty", part.Filename)
		}
		prompts, notes, err := study.ReadPrompts(strings.NewReader(v.Prompts), "", cmp.Or(prompt.Format(v.Format), prompt.Lines))
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
	v.Format, v.Prompts = promptText(prompts)
	return prompts, nil
}

// betaOf is the β that a pair states of an aligned model; 0 when it states none.
func (s *Server) betaOf(pair, aligned string) float64 {
	for _, m := range s.alignedView(pair, []string{aligned}) {
		return m.Beta
	}
	return 0
}

// showStudy is GET /studies/{id}.
func (s *Server) showStudy(c echo.Context) error {
	v, err := s.studyView(c)
	if err != nil {
		return err
	}
	if c.Request().Header.Get("X-Requested-With") != "" { // the controller looks how far it is
		var buf bytes.Buffer
		if err := v.Live().Render(c.Request().Context(), &buf); err != nil {
			return fault.Wrap(err, fault.Internal, "the page could not be made")
		}
		c.Response().Header().Set("Cache-Control", "no-store")
		return c.HTMLBlob(http.StatusOK, buf.Bytes())
	}
	return s.page(c, http.StatusOK, v)
}

const itemsOnPage = 50

func (s *Server) studyView(c echo.Context) (templates.StudyPage, error) {
	ctx := c.Request().Context()
	st, err := s.studies.Study(ctx, owner(c), c.Param("id"))
	if err != nil {
		return templates.StudyPage{}, err
	}
	u := &st.Setup
	v := templates.StudyPage{
		Layout: s.layout(c, u.Title, "studies"), ID: st.ID, Name: u.Title, Status: string(st.Status), Pair: u.Pair, Aligned: u.Aligned, Beta: st.Beta,
		Grid: u.Grid, Samples: u.Samples, Sampling: samplingView(u.Sampling), Seed: strconv.FormatUint(u.Seed, 10), System: u.System,
		Questions: questionWords(u), Overlap: u.Overlap, Cap: u.Cap, Catches: catchWords(u), Scheme: string(u.Scheme),
		Created: st.CreatedAt, Closed: st.ClosedAt, Invited: st.Invited, Mode: "through the chat template",
	}
	if u.Mode == run.Plain {
		v.Mode = "as a text to complete"
	}
	if v.Guidelines, err = guidelines(u.Guidelines); err != nil {
		return v, err
	}
	if t, ok := s.readToast(c); ok && t.Share == st.ID && t.Token != "" {
		v.InviteURL = s.absolute(c, "/rate/"+t.Token)
	}
	tallies, err := s.studies.StudyTallies(ctx, []string{st.ID})
	if err != nil {
		return v, err
	}
	t := tallies[st.ID]
	v.Prompts, v.Problems, v.Outputs, v.Decoded, v.Items, v.CatchItems = t.Prompts, t.Problems, t.Outputs, t.Decoded, t.Items, t.Catches
	v.Answers, v.Skips, v.Needed = t.Answers, t.Skips, t.Items*u.Overlap
	if st.Status == study.Decoding {
		s.studyProgress(&v, st.ID, t.Outputs-t.Decoded)
	}
	prompts, err := s.studies.StudyPrompts(ctx, st.ID)
	if err != nil {
		return v, err
	}
	for _, p := range prompts {
		if p.Problem != "" {
			v.ProblemList = append(v.ProblemList, templates.PromptProblem{Line: p.Line, Prompt: beginning(p.Text), Words: p.Problem})
		}
	}
	if err := s.itemRows(c, &v, u, prompts); err != nil {
		return v, err
	}
	if v.Related, err = s.related(c, st.Experiment, st.ID); err != nil {
		return v, err
	}
	v.Judgeable = judgeable(&st) == nil
	worked, err := s.studies.StudyAnnotators(ctx, st.ID)
	if err != nil {
		return v, err
	}
	for _, w := range worked {
		v.Annotators = append(v.Annotators, templates.AnnotatorRow{Name: w.Name, Answered: w.Answered, Skipped: w.Skipped, Joined: w.JoinedAt, Last: w.LastAt})
	}
	return v, nil
}

// studyProgress says how the decoding of a study goes, of which so many outputs are missing.
func (s *Server) studyProgress(v *templates.StudyPage, id string, missing int) {
	p, runs := s.studyService.Progress(id)
	if !runs {
		return
	}
	v.Waits = p.Trouble
	var parts []string
	if p.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f tokens/s", p.Rate))
	}
	if left := p.Left(missing * p.Tokens / max(1, p.Outputs)); left > 0 {
		parts = append(parts, "about "+wait(left.Seconds())+" left")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Workers)) {
		parts = append(parts, fmt.Sprintf("%s: %d", name, p.Workers[name]))
	}
	v.Pace = strings.Join(parts, " · ")
}

// itemRows are a page of a study's items, and what is left out of them.
func (s *Server) itemRows(c echo.Context, v *templates.StudyPage, u *study.Setup, prompts []study.Prompt) error {
	items, err := s.studies.StudyItems(c.Request().Context(), v.ID)
	if err != nil || len(items) == 0 {
		return err
	}
	v.Answers = 0 // those that complete items: catch trials apart
	compared := 0
	for _, it := range items {
		if it.Catch == preference.NoCatch {
			v.Answers += it.Answers
			if it.Kind == study.AskPairwise {
				compared++
			}
		}
	}
	if u.Pairwise {
		v.Same = (len(prompts)-v.Problems)*u.Samples*len(preference.Pairs(u.Grid)) - compared
	}
	v.Sheets = (len(items) + itemsOnPage - 1) / itemsOnPage
	v.Sheet, _ = strconv.Atoi(c.QueryParam("page"))
	v.Sheet = min(max(v.Sheet, 1), v.Sheets)
	for _, it := range items[(v.Sheet-1)*itemsOnPage : min(len(items), v.Sheet*itemsOnPage)] {
		p := prompts[it.Prompt-1]
		row := templates.ItemRow{Prompt: beginning(p.Text), Category: p.Category, Asks: asksWords(&it.Item), Answers: it.Answers, Needed: u.Overlap}
		if it.Catch != preference.NoCatch {
			row.Needed = 0
		}
		v.Rows = append(v.Rows, row)
	}
	return nil
}

// asksWords say what a question is about.
func asksWords(it *study.Item) string {
	low, high, n := lambdaText(decode.Vector{it.Low}), lambdaText(decode.Vector{it.High}), len(it.Outputs)
	switch same := it.Catch == preference.SameLambda; {
	case it.Kind == study.AskPairwise && same:
		return fmt.Sprintf("catch trial: λ %s twice", low)
	case it.Kind == study.AskPairwise && it.Catch.Spoils():
		return "catch trial: an answer and a broken one"
	case it.Kind == study.AskPairwise:
		return "λ " + low + " or " + high
	case it.Kind == study.AskLikert && same:
		return fmt.Sprintf("catch trial: score of another answer at λ %s", low)
	case it.Kind == study.AskLikert && it.Catch.Spoils():
		return "catch trial: score of a broken answer"
	case it.Kind == study.AskLikert:
		return "score of λ " + low
	case same:
		return fmt.Sprintf("catch trial: best and worst of %d, one λ twice", n)
	case it.Catch.Spoils():
		return fmt.Sprintf("catch trial: best and worst of %d, one broken", n)
	}
	return fmt.Sprintf("best and worst of %d λ", n)
}

func beginning(text string) string {
	const most = 80
	r := []rune(strings.Join(strings.Fields(text), " "))
	if len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return string(r)
}

func questionWords(u *study.Setup) (words []string) {
	if u.Pairwise {
		words = append(words, "Pairwise: which of two answers is better?")
	}
	if u.Likert != nil {
		words = append(words, fmt.Sprintf("Likert, 1 to %d: %s", u.Likert.Points, strings.Join(u.Likert.Criteria, ", ")))
	}
	if u.Ranked > 0 {
		words = append(words, fmt.Sprintf("Best–worst of %d answers", u.Ranked))
	}
	if u.Comments {
		words = append(words, "Annotators may add a comment")
	}
	return words
}

func catchWords(u *study.Setup) string {
	var words []string
	if u.SameEvery > 0 {
		words = append(words, fmt.Sprintf("the same λ twice, one in %d", u.SameEvery))
	}
	if u.BrokenEvery > 0 {
		words = append(words, fmt.Sprintf("a broken answer, one in %d", u.BrokenEvery))
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, "; ")
}

// moveStudy is POST /studies/{id}/status: "status" is what it shall become.
func (s *Server) moveStudy(c echo.Context) error {
	id, to := c.Param("id"), study.Status(c.FormValue("status"))
	if err := s.studyService.Move(c.Request().Context(), owner(c), id, to); err != nil {
		return err
	}
	text := map[study.Status]string{
		study.Decoding: "The answers are being decoded.", study.Halted: "Decoding is paused.", study.Open: "Annotators with the link can rate now.",
		study.Paused: "Rating is paused.", study.Closed: "The study is closed.",
	}[to]
	return s.done(c, text, "", "/studies/"+id)
}

// inviteAnnotators is POST /studies/{id}/invite: a new link, instead of any earlier one.
func (s *Server) inviteAnnotators(c echo.Context) error {
	id := c.Param("id")
	token, err := s.studyService.Invite(c.Request().Context(), owner(c), id)
	if err != nil {
		return err
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusCreated, map[string]string{"url": s.absolute(c, "/rate/"+token)})
	}
	s.leaveToast(c, toast{Text: "The invite link is made.", Share: id, Token: token})
	return c.Redirect(http.StatusSeeOther, "/studies/"+id)
}

// revokeInvite is POST /studies/{id}/revoke.
func (s *Server) revokeInvite(c echo.Context) error {
	id := c.Param("id")
	if err := s.studyService.Revoke(c.Request().Context(), owner(c), id); err != nil {
		return err
	}
	return s.done(c, "The link is revoked: it opens nothing any more.", "", "/studies/"+id)
}

// deleteStudy is POST /studies/{id}/delete.
func (s *Server) deleteStudy(c echo.Context) error {
	if err := s.studyService.Delete(c.Request().Context(), owner(c), c.Param("id")); err != nil {
		return err
	}
	return s.done(c, "The study is deleted.", "", "/studies")
}

// previewStudy is GET /studies/{id}/preview: what an annotator sees, question by question.
func (s *Server) previewStudy(c echo.Context) error {
	n, _ := strconv.Atoi(c.QueryParam("n"))
	n = max(0, n)
	q, st, total, err := s.studyService.Preview(c.Request().Context(), owner(c), c.Param("id"), n)
	if err != nil {
		return err
	}
	back := "/studies/" + st.ID
	if n >= total {
		return s.page(c, http.StatusOK, templates.RateNotice{
			RateShell: s.rateShell(c, &st), Heading: "That was all", Words: "An annotator would be thanked here.", Back: back,
		})
	}
	v, err := s.rateView(c, &st, back+"/preview", &q)
	if err != nil {
		return err
	}
	v.Back, v.Turn, v.Question.Most = back, n, total
	return s.page(c, http.StatusOK, v)
}

// criterion is the criterion of a form field like "score-3", counted from 0; "" for other fields.
func criterion(scale *study.Scale, field string) string {
	i, err := strconv.Atoi(strings.TrimPrefix(field, "score-"))
	if err != nil || !strings.HasPrefix(field, "score-") || i < 0 || i >= len(scale.Criteria) {
		return ""
	}
	return scale.Criteria[i]
}

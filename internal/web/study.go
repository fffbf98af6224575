package web

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/run"
	"realign/internal/study"
	"realign/web/templates"
)

// Studies is where studies are kept, as their owner looks at them. What does not exist, or is somebody else's, is NotFound;
// the methods without an owner are for studies that were found with one.
type Studies interface {
	// Study is one of an owner's studies.
	Study(ctx context.Context, owner, id string) (study.Study, error)
	// Studies lists an owner's studies.
	Studies(ctx context.Context, owner string) ([]study.Study, error)
	// StudyTallies counts what studies have, by id.
	StudyTallies(ctx context.Context, ids []string) (map[string]study.Summary, error)
	// StudyPrompts are a study's prompts, in order.
	StudyPrompts(ctx context.Context, id string) ([]study.Prompt, error)
	// StudyItems are a study's questions, with how often each was answered.
	StudyItems(ctx context.Context, id string) ([]study.ItemProgress, error)
	// StudyAnnotators are those who joined, by when they did, with what each has done.
	StudyAnnotators(ctx context.Context, id string) ([]study.AnnotatorProgress, error)
	Ratings
}

// markdown renders what owners write for annotators. Raw HTML is left out, and links lead nowhere but to
// web pages: goldmark's default.
var markdown = goldmark.New(goldmark.WithExtensions(alignedTables, extension.Strikethrough, extension.Linkify))

// alignedTables say how cells are aligned by an attribute: the pages' policy allows no inline style.
var alignedTables = extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute))

// guidelines is what an owner wrote for annotators, as HTML.
func guidelines(text string) (string, error) {
	var buf bytes.Buffer
	if err := markdown.Convert([]byte(text), &buf); err != nil {
		return "", fault.Wrap(err, fault.Internal, "the guidelines could not be rendered")
	}
	return buf.String(), nil
}

// showStudies is GET /studies: the viewer's studies.
func (s *Server) showStudies(c echo.Context) error { return s.studyList(c, http.StatusOK, "") }

// studyList is the page of studies, with why a file could not be imported.
func (s *Server) studyList(c echo.Context, status int, trouble string) error {
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
	v := templates.StudyList{Layout: s.layout(c, "Studies", "studies"), ImportError: trouble}
	for _, one := range list {
		t := tallies[one.ID]
		v.Studies = append(v.Studies, templates.StudyItem{
			ID: one.ID, Title: one.Setup.Title, Status: string(one.Status), Pair: one.Setup.Pair, Prompts: t.Prompts, Lambdas: len(one.Setup.Grid),
			Outputs: t.Outputs, Decoded: t.Decoded, Annotators: t.Annotators, Answers: t.Answers, Created: one.CreatedAt,
		})
	}
	return s.page(c, status, v)
}

// showStudy is GET /studies/{id}; for the page's controller only the part that changes.
func (s *Server) showStudy(c echo.Context) error {
	v, err := s.studyView(c)
	if err != nil {
		return err
	}
	if c.Request().Header.Get("X-Requested-With") != "" { // the controller looks how far it is
		return s.fragment(c, "", v.Live())
	}
	return s.page(c, http.StatusOK, v)
}

// itemsOnPage is how many items a page of a study has.
const itemsOnPage = 50

// studyView is the page of a study.
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
	if st.Status == study.Draft {
		v.Cost = costWords(t.Prompts*len(u.Grid)*u.Samples*u.Sampling.MaxTokens, s.studyService.Pace(u.Pair))
	}
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

// costWords say what decoding so many tokens takes at most, at a pace in tokens a second that is 0 where none is known.
func costWords(tokens int, pace float64) string {
	words := fmt.Sprintf("At most %d tokens to decode", tokens)
	if pace <= 0 {
		return words + ": how long that takes is shown once it begins."
	}
	return words + fmt.Sprintf(": about %s at %.0f tokens/s, as this pair was decoded last.", wait(float64(tokens)/pace), pace)
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

// beginning is a text on one line, of at most 80 characters.
func beginning(text string) string {
	const most = 80
	r := []rune(strings.Join(strings.Fields(text), " "))
	if len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return string(r)
}

// questionWords say what annotators are asked.
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

// catchWords say which catch trials there are.
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

// revokeInvite is POST /studies/{id}/revoke: the link for annotators opens nothing any more.
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

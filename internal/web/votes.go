package web

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"realign/internal/preference"
	"realign/internal/study"
	"realign/web/templates"
)

// showVotes is GET /studies/{id}/votes: the texts that people rated, prompts × λ, each with what was said of it.
func (s *Server) showVotes(c echo.Context) error {
	ctx := c.Request().Context()
	st, err := s.studies.Study(ctx, owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	prompts, err := s.studies.StudyPrompts(ctx, st.ID)
	if err != nil {
		return err
	}
	outputs, err := s.studies.StudyOutputs(ctx, st.ID)
	if err != nil {
		return err
	}
	ratings, err := s.studies.Ratings(ctx, st.ID)
	if err != nil {
		return err
	}
	number, err := pageNumber(c.QueryParam("page"))
	if err != nil {
		return err
	}
	v := templates.StudyVotes{
		Layout: s.layout(c, "Votes: "+st.Setup.Title, "studies"), Study: st.ID, Name: st.Setup.Title, Lambdas: st.Setup.Grid,
		Total: len(prompts), Number: number, Pages: (len(prompts) + textsOnPage - 1) / textsOnPage,
	}
	from := min((number-1)*textsOnPage, len(prompts))
	shown := prompts[from:min(from+textsOnPage, len(prompts))]
	votes := countVotes(ratings)
	comments := commentsByPrompt(ratings)
	rows := make(map[int]int, len(shown)) // by the prompt's place
	for i := range shown {
		p := &shown[i]
		rows[p.Place] = i
		v.Prompts = append(v.Prompts, templates.VotedPrompt{
			Place: p.Place, Text: p.Text, Category: p.Category, Problem: p.Problem, Comments: comments[p.Place], Cells: make([][]templates.VotedText, len(v.Lambdas)),
		})
	}
	for i := range outputs {
		o := &outputs[i]
		row, isShown := rows[o.Prompt]
		at, ok := slices.BinarySearch(v.Lambdas, o.Lambda)
		// Spoilt outputs, and those that same-λ trials add behind the setup's samples, are no part of the table.
		if !isShown || !ok || !o.Done || o.Broken || o.Sample >= st.Setup.Samples {
			continue
		}
		text := votes[o.ID]
		text.Text = o.Text
		v.Prompts[row].Cells[at] = append(v.Prompts[row].Cells[at], text)
	}
	return s.page(c, http.StatusOK, v)
}

// countVotes is what people said of each output, by its id; catch trials do not count.
func countVotes(ratings []study.Rating) map[string]templates.VotedText {
	votes := map[string]templates.VotedText{}
	for i := range ratings {
		r := &ratings[i]
		if r.State != study.Answered || r.Catch != preference.NoCatch {
			continue
		}
		for place, o := range r.Outputs {
			votes[o.ID] = vote(votes[o.ID], r, place)
		}
	}
	return votes
}

// vote adds what a rating says of the output at a place of it.
func vote(v templates.VotedText, r *study.Rating, place int) templates.VotedText {
	switch r.Kind {
	case study.AskPairwise:
		v.Compared++
		switch r.Answer.Choice {
		case [2]preference.Choice{preference.PreferA, preference.PreferB}[place]:
			v.Preferred++
		case preference.Tie, preference.BothBad:
			v.Ties++
		}
	case study.AskRanking:
		v.Ranked++
		switch r.Answer.Rank[place] {
		case 1:
			v.Best++
		case len(r.Outputs):
			v.Worst++
		}
	case study.AskLikert:
		for _, score := range r.Answer.Scores {
			v.Scores++
			v.Score += float64(score)
		}
	}
	return v
}

// commentsByPrompt are the comments that annotators left, by the place of the prompt.
func commentsByPrompt(ratings []study.Rating) map[int][]templates.VotedComment {
	all := map[int][]templates.VotedComment{}
	for i := range ratings {
		if r := &ratings[i]; r.State == study.Answered && r.Answer.Comment != "" {
			all[r.Prompt.Place] = append(all[r.Prompt.Place], templates.VotedComment{By: r.Name, Text: r.Answer.Comment})
		}
	}
	return all
}

package templates

import (
	"math"
	"strings"
	"testing"
)

func aResult() Result {
	best := Estimate{Value: 0.87, Low: 0.62, High: 1.16}
	curve := PreferenceCurve{
		Lambda: []float64{0, 0.5, 1, 1.5, 2}, Mean: []float64{-0.6, 0.4, 0.6, -0.1, -1.3},
		Low: []float64{-1, 0.1, 0.3, -0.4, -1.7}, High: []float64{-0.2, 0.7, 0.9, 0.2, -0.9},
	}
	r := Result{
		Version: "3-0-7", Facts: []Fact{{"Pair", "demo, warm"}, {"Comparisons", "3"}}, Answers: 3, Curve: &curve, Best: &best,
		Reason: "answers that favour no λ would look like this in 0.001 of studies", Beta: "0.11 (0.086 to 0.16)", More: "about 90 further ratings",
		Pairs: []PairRate{
			{Low: 0, High: 1, LowWins: 4, HighWins: 29, Ties: 7, Rate: Estimate{Value: 29. / 33, Low: 0.73, High: 0.95}},
			{Low: 0, High: 2, LowWins: 25, HighWins: 7, Ties: 8, Rate: Estimate{Value: 7. / 32, Low: 0.11, High: 0.39}},
			{Low: 1, High: 2, Ties: 3, Rate: Estimate{Value: 0.5, High: 1}, Undecided: true},
		},
		Scales: []Scale{{Criterion: "clear <b>hello</b>", Points: 5, Means: []ScaleMean{
			{Lambda: 0, Mean: Estimate{Value: 3, Low: 2.5, High: 3.5}, Scores: 4}, {Lambda: 1, Mean: Estimate{Value: 4, Low: 4, High: 4, Open: true}, Scores: 1, Reason: "no interval: too few clusters scored this λ"},
		}}},
		Categories: []PartResult{{Name: "maths", Answers: 2, Best: &best, PValue: 0.01}, {Answers: 1, PValue: 0.4}},
		Annotators: []PartResult{{Name: "<script>alert(1)</script>", Answers: 3, PValue: math.NaN(), Record: &AnnotatorRecord{
			Broken: 3, Passed: 2, First: Estimate{Value: 0.5, Low: 0.1, High: 0.9}, Agreed: Estimate{Open: true},
		}}},
		Agreement: []AgreementRow{
			{Question: "Which is better", Level: "nominal", Reason: "α is undefined: no unit was answered by two annotators"},
			{Question: "Score: clear", Level: "ordinal", Alpha: &Estimate{Value: -0.1, Low: -0.4, High: 0.3}, Percent: Estimate{Value: 0.5, Low: 0.3, High: 0.7}, Units: 9},
			{Question: "Score: clear", Level: "nominal", Alpha: &Estimate{Value: 0.2, Open: true}, Percent: Estimate{Value: 0.5, Open: true}, Units: 1, Reason: "no interval: it needs two units"},
		},
		Noticeable: Noticeable{Same: 3, Chance: Estimate{Value: 0.5}, Reason: "no just-noticeable difference: it takes trials at one λ and at two, and there are 3 and 0"},
	}
	for i, lambda := range curve.Lambda {
		r.Strengths = append(r.Strengths, Strength{Lambda: lambda, Curve: &Estimate{Value: curve.Mean[i], Low: curve.Low[i], High: curve.High[i]}})
	}
	r.Strengths[0].Strength = &Estimate{Value: 0.4, Low: -9, High: 0.9}
	r.Strengths[2].Strength = &Estimate{Value: 1.6, Low: 1.2, High: 2}
	return r
}

func aStudyResult() StudyResults {
	return StudyResults{
		Layout: Layout{CSRF: "token"}, Name: "Which λ? <i>title</i>", Result: aResult(), Path: "/studies/st1/results", Study: "st1", Live: true, At: noon,
		Links: []Share{{ID: "n", Title: "Hello", Created: noon}, {ID: "o", Title: "Gone", Created: noon, Revoked: noon}},
		New:   &Share{ID: "n", URL: "http://localhost/r/abc"},
	}
}

// TestFindingSaysWhomItSpeaksFor: the headline of few annotators is about them, and a habit or an order that is not random
// stands beside it.
func TestFindingSaysWhomItSpeaksFor(t *testing.T) {
	r := aResult()
	if r.speaks() != "" || strings.Contains(r.headline(), "annotator") {
		t.Errorf("%q, %q: without a scope", r.headline(), r.speaks())
	}
	r.For = &ResultScope{Words: "people like these 12 annotators, prompts like these 40", People: true, Annotators: 12, Least: 6}
	if r.headline() != "λ = 0.87 is preferred most" || r.speaks() != "It speaks for people like these 12 annotators, prompts like these 40." {
		t.Errorf("%q, %q", r.headline(), r.speaks())
	}
	r.For = &ResultScope{Words: "these 3 annotators, prompts like these 40", Annotators: 3, Least: 6}
	r.Sides = &Sides{Decisive: 40, Compared: 60, First: Estimate{Value: 0.65, Low: 0.6, High: 0.7}, LowFirst: Estimate{Value: 1}, PValue: 0.001, Unbalanced: true, Note: "the lower λ stood first"}
	if r.headline() != "λ = 0.87 is preferred most by these 3 annotators" {
		t.Error(r.headline())
	}
	var b strings.Builder
	if err := r.Sections().Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"these 3 annotators, prompts like these 40, and says nothing about people in general: that takes 6 annotators.", "data-sides-warning", "The lower λ stood first.", "preferred in 65% of 40 answers", "The lower λ stood first in 100% of 60 comparisons."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the results lack %q", want)
		}
	}
	r.For.Annotators = 1
	if r.headline() != "λ = 0.87 is preferred most by this one annotator" {
		t.Error(r.headline())
	}
}

func TestPlotFitsItsBox(t *testing.T) {
	r := aResult()
	p := r.plot()
	if len(p.Levels) != 2 || !p.Levels[0].Clipped || p.Levels[1].Clipped || !p.clipped() {
		t.Fatalf("levels %+v", p.Levels)
	}
	// Strengths are moved by what they and the curve differ on average, here −1: the difference between them stays.
	perUnit := (p.Levels[0].Y - p.Levels[1].Y) / (1.6 - 0.4)
	if zero := p.Levels[1].Y + perUnit*(1.6-1); math.Abs(zero-p.Zero) > 1e-9 {
		t.Errorf("a strength of 1 stands at %g, zero at %g", zero, p.Zero)
	}
	for _, l := range p.Levels {
		if l.Hi < 0 || l.Lo > plotHeight || l.Y < l.Hi || l.Y > l.Lo {
			t.Errorf("%+v leaves the plot", l)
		}
	}
	if p.Best.X != 43.5 || p.Best.From != 31 || math.Abs(p.Best.Width-27) > 1e-9 {
		t.Errorf("the best stands at %+v", p.Best)
	}
	if n := len(strings.Fields(p.Band)); n != 10 || len(strings.Fields(p.Line)) != 5 {
		t.Errorf("%d points", n)
	}
	for _, tick := range append(p.X, p.Y...) {
		if tick.Text == "" || math.IsNaN(tick.At) {
			t.Errorf("%+v", tick)
		}
	}
	flat := Result{Answers: 1, Curve: &PreferenceCurve{Lambda: []float64{0, 1}, Mean: []float64{0, 0}, Low: []float64{0, 0}, High: []float64{0, 0}}}
	if p := flat.plot(); strings.Contains(p.Band+p.Line, "NaN") {
		t.Errorf("a curve without height: %+v", p)
	}
}

func TestWhoBeatsWhom(t *testing.T) {
	r := aResult()
	if share, n := r.beats(1, 0); share != 29./33 || n != 33 {
		t.Error(share, n)
	}
	if share, _ := r.beats(0, 1); math.Abs(share-4./33) > 1e-12 {
		t.Error(share)
	}
	if _, n := r.beats(1, 2); n != 0 {
		t.Error("a pair without a decision has a winner")
	}
}

// TestResultsSayWhatIsMissing: every empty state has its words.
func TestResultsSayWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		result Result
		want   []string
		not    string
	}{
		"nothing":  {Result{Curve: aResult().Curve}, []string{"No answers yet", "first answer"}, "data-curve"},
		"flat":     {Result{Answers: 40, Curve: aResult().Curve, Reason: "no preference found: answers that favour no λ would look like this"}, []string{"No preference found", "Answers that favour no λ would look like this."}, "preferred most"},
		"scores":   {Result{Answers: 4, Scales: aResult().Scales}, []string{"No two λ were compared", "too few clusters scored this λ"}, "data-curve"},
		"all":      {aResult(), []string{"λ = 0.87 is preferred most", "95% interval 0.62 to 1.16.", "0.11 (0.086 to 0.16)", "α is undefined: no unit", "no preference found (p = 0.4)", "nothing compared", "2 of 3", "Intervals that leave the chart go on"}, "best may lie beyond"},
		"no β":     {Result{Answers: 4, Curve: aResult().Curve, Best: aResult().Best, AtEdge: true}, []string{"unknown: the pair does not say", "best may lie beyond"}, "data-wins"},
		"a pair":   {Result{Answers: 4, Curve: aResult().Curve, Pairs: aResult().Pairs[:1]}, []string{"data-pairs-table"}, "data-wins"},
		"one rate": {Result{Answers: 4, Curve: aResult().Curve, Pairs: aResult().Pairs}, []string{"no answer prefers one", "data-wins"}, "NaN"},
	} {
		html := render(t, unexplained(c.result.Sections()))
		for _, want := range c.want {
			if !strings.Contains(html, want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
		if strings.Contains(html, c.not) {
			t.Errorf("%s has %q", name, c.not)
		}
	}
}

// TestReadersOfALinkGetNoTools: nothing on the public page leads to the study.
func TestReadersOfALinkGetNoTools(t *testing.T) {
	v := aStudyResult()
	v.Study, v.Path, v.Live, v.Frozen, v.New, v.Links = "", "/r/abc", false, true, nil, nil
	html := render(t, v.Page())
	for _, bad := range []string{"/studies/st1", "<form method=\"post\" action=\"/r", "Export", "data-results="} {
		if strings.Contains(html, bad) {
			t.Errorf("the page of a link has %q", bad)
		}
	}
	if !strings.Contains(html, "/r/abc/report") {
		t.Error("the page of a link lacks its report")
	}
}

func TestReportStandsAlone(t *testing.T) {
	html := render(t, StudyReport{StudyResults: aStudyResult(), Alone: true}.Page())
	if !strings.Contains(html, "<style>") || strings.Contains(html, "/static/") || strings.Contains(html, "href=\"/") {
		t.Error("the file needs something else")
	}
	if strings.Count(html, "Score: clear") != 1 {
		t.Error("the report has more than the customary level")
	}
}

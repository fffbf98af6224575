package study

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/run"
)

func newSetup() Setup {
	return Setup{
		Title: "Warmth", Pair: "table", Aligned: "warm", Mode: run.Chat, Grid: []float64{2, 0, 0.5, 1}, Samples: 1,
		Sampling: decode.DefaultSampling(), Seed: 7, Pairwise: true, Overlap: 2, SameEvery: 5, BrokenEvery: 10, Scheme: BalancedScheme,
	}
}

func newPrompts(n int) []Prompt {
	prompts := make([]Prompt, n)
	for i := range prompts {
		prompts[i] = Prompt{Place: i + 1, Line: i + 1, Text: fmt.Sprint("prompt ", i+1)}
	}
	return prompts
}

// decoded fills outputs in: every text is another one.
func decoded(outputs []Output) []Output {
	for i := range outputs {
		outputs[i].Done, outputs[i].Reason = true, decode.EndStop
		outputs[i].Text = fmt.Sprintf("the answer to prompt %d at strength %g number %d", outputs[i].Prompt, outputs[i].Lambda, outputs[i].Sample)
	}
	return outputs
}

func TestSetupNamesWhatIsWrong(t *testing.T) {
	s := newSetup()
	if err := s.Validate(); err != nil || !slices.IsSorted(s.Grid) {
		t.Fatalf("%v, grid %v", err, s.Grid)
	}
	for field, change := range map[string]func(*Setup){
		"title":        func(s *Setup) { s.Title = " " },
		"guidelines":   func(s *Setup) { s.Guidelines = strings.Repeat("x", MaxGuidelines+1) },
		"pair":         func(s *Setup) { s.Pair = "" },
		"grid":         func(s *Setup) { s.Grid = []float64{1} },
		"grid ":        func(s *Setup) { s.Grid = []float64{1, 21} },
		"grid  ":       func(s *Setup) { s.Grid = []float64{1, 0, 1} },
		"samples":      func(s *Setup) { s.Samples = MaxSamples + 1 },
		"samples ":     func(s *Setup) { s.Sampling.Temperature, s.Samples, s.SameEvery = 0, 2, 0 },
		"mode":         func(s *Setup) { s.Mode = "talk" },
		"system":       func(s *Setup) { s.Mode, s.System = run.Plain, "x" },
		"max_tokens":   func(s *Setup) { s.Sampling.MaxTokens = 0 },
		"questions":    func(s *Setup) { s.Pairwise = false },
		"points":       func(s *Setup) { s.Likert = &Scale{Points: 6, Criteria: []string{"a"}} },
		"criteria":     func(s *Setup) { s.Likert = &Scale{Points: 5} },
		"criteria ":    func(s *Setup) { s.Likert = &Scale{Points: 5, Criteria: []string{"a", "a "}} },
		"criteria  ":   func(s *Setup) { s.Likert = &Scale{Points: 5, Criteria: []string{" "}} },
		"ranked":       func(s *Setup) { s.Ranked = 6 },
		"ranked ":      func(s *Setup) { s.Ranked = 5 },
		"overlap":      func(s *Setup) { s.Overlap = 0 },
		"cap":          func(s *Setup) { s.Cap = -1 },
		"same_every":   func(s *Setup) { s.SameEvery = 1 },
		"same_every ":  func(s *Setup) { s.Sampling.Temperature = 0 },
		"broken_every": func(s *Setup) { s.BrokenEvery = 3 },
		"scheme":       func(s *Setup) { s.Scheme = "best" },
		"scheme ": func(s *Setup) {
			s.Scheme, s.Pairwise, s.Ranked, s.SameEvery, s.BrokenEvery = ActiveScheme, false, 3, 0, 0
		},
	} {
		s := newSetup()
		change(&s)
		f := fault.Of(s.Validate())
		if f == nil || f.Kind != fault.Invalid || f.Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, f)
		}
	}
	for _, size := range []func(*Setup) error{
		func(s *Setup) error { return s.Sized(0) },
		func(s *Setup) error { return s.Sized(MaxPrompts + 1) },
		func(s *Setup) error { s.Samples = 10; return s.Sized(1000) },
	} {
		s := newSetup()
		if f := fault.Of(size(&s)); f == nil || f.Field != "prompts" {
			t.Errorf("%v", f)
		}
	}
}

func TestStatusesFollowEachOther(t *testing.T) {
	for from, next := range map[Status][]Status{Draft: {Decoding}, Decoding: {Halted, Ready}, Ready: {Open, Closed}, Closed: nil} {
		for _, to := range []Status{Draft, Decoding, Halted, Ready, Open, Paused, Closed} {
			if err := from.Become(to); (err == nil) != slices.Contains(next, to) || err != nil && fault.KindOf(err) != fault.Conflict {
				t.Errorf("from %s to %s: %v", from, to, err)
			}
		}
	}
}

func TestItemsCoverTheGrid(t *testing.T) {
	s := newSetup()
	s.Likert, s.Ranked = &Scale{Points: 5, Criteria: []string{"a"}}, 3
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	prompts := newPrompts(8)
	outputs := s.Outputs(prompts)
	if len(outputs) != 8*4+8 { // the grid, and a further sample of one λ for same-λ trials
		t.Fatalf("%d outputs", len(outputs))
	}
	if twice := (&Setup{Grid: s.Grid, Samples: 2, Likert: s.Likert, SameEvery: 5}).Outputs(prompts); len(twice) != 8*8+8 || twice[8].Sample != 2 {
		t.Fatalf("%d outputs, and %+v", len(twice), twice[8])
	}
	decoded(outputs)
	prompts[7].Problem = "too long"
	// Two equal texts are not compared.
	for i := range outputs {
		if o := &outputs[i]; o.Prompt == 1 && o.Sample == 0 && o.Lambda <= 0.5 {
			o.Text = "the very same words"
		}
	}
	items, broken := s.Items(prompts, outputs)
	byID := map[string]Output{}
	for _, o := range slices.Concat(outputs, broken) {
		byID[o.ID] = o
	}
	pairs, kinds, catches := map[preference.Pair]int{}, map[Kind]int{}, map[Kind]int{}
	met := map[[2]float64]int{}
	for _, it := range items {
		if it.Prompt == 8 {
			t.Errorf("an item of a prompt that failed: %+v", it)
		}
		if it.Catch == preference.NoCatch {
			kinds[it.Kind]++
		} else {
			catches[it.Kind+" "+Kind(it.Catch)]++
		}
		spoilt, lambdas, texts := 0, map[float64]bool{}, map[string]bool{}
		for _, id := range it.Outputs {
			o, ok := byID[id]
			if !ok || o.Prompt != it.Prompt {
				t.Errorf("item %+v has output %+v", it, o)
			}
			lambdas[o.Lambda], texts[o.Text] = true, true
			if o.Broken {
				spoilt++
			}
		}
		if len(texts) < len(it.Outputs) || it.Catch.Spoils() != (spoilt == 1) || len(it.Outputs) > 3 {
			t.Errorf("%+v with %d different texts and %d spoilt", it, len(texts), spoilt)
		}
		if it.Kind != AskPairwise && it.Catch != preference.NoCatch {
			switch {
			case it.Kind == AskLikert && it.Catch == preference.SameLambda && byID[it.Outputs[0]].Sample != s.Samples,
				it.Kind == AskRanking && it.Catch == preference.SameLambda && len(lambdas) != len(it.Outputs)-1, it.Kind == AskRanking && len(it.Outputs) < 3:
				t.Errorf("a trial of %+v", it)
			}
			continue
		}
		switch it.Catch {
		case preference.SameLambda:
			a, b := byID[it.Outputs[0]], byID[it.Outputs[1]]
			if a.Lambda != b.Lambda || a.Sample == b.Sample {
				t.Errorf("same-λ trial of %+v and %+v", a, b)
			}
		case preference.BrokenB:
			a, b := byID[it.Outputs[0]], byID[it.Outputs[1]]
			words := strings.Fields(b.Text)
			sound := -1
			for i, o := range outputs {
				if o.Prompt == b.Prompt && o.Lambda == b.Lambda && o.Sample == b.Sample {
					sound = i
				}
			}
			source := strings.Fields(outputs[sound].Text)
			slices.Sort(words)
			slices.Sort(source)
			if !b.Broken || a.Broken || b.Text == outputs[sound].Text || !slices.Equal(words, source) {
				t.Errorf("broken trial of %+v and %+v", a, b)
			}
		case preference.NoCatch:
			if it.Kind == AskPairwise {
				pairs[preference.Pair{Low: it.Low, High: it.High}]++
			}
			if it.Kind == AskRanking {
				for _, a := range it.Outputs {
					for _, b := range it.Outputs {
						met[[2]float64{byID[a].Lambda, byID[b].Lambda}]++
					}
				}
			}
		}
	}
	for p, n := range pairs {
		if want := map[bool]int{true: 6, false: 7}[p == preference.Pair{Low: 0, High: 0.5}]; n != want {
			t.Errorf("pair %v has %d items, want %d", p, n, want)
		}
	}
	if len(pairs) != 6 || kinds[AskLikert] != 7*4 || kinds[AskRanking] != 7*2 || len(catches) != 6 {
		t.Errorf("%v %v %v", pairs, kinds, catches)
	}
	for kind, n := range catches {
		if n != 7 && (kind != "ranking same" || n < 6) { // where two texts are the same there may be too few for a ranking
			t.Errorf("%d trials: %s", n, kind)
		}
	}
	if len(met) != 16 {
		t.Errorf("not every two λ are ranked together: %v", met)
	}
}

func TestSpoiltTextsOfAnyScript(t *testing.T) {
	s := newSetup()
	for text, want := range map[string]bool{
		"one two three four": true, "ein Satz": false, "": false, "これは壊れていない答えのはずです": true, strings.Repeat("no ", 9): false,
	} {
		if o, ok := s.spoil(&Output{Text: text}); ok != want || ok && o.Text == text {
			t.Errorf("%q: %v, %q", text, ok, o.Text)
		}
	}
}

func TestOrderIsFixedPerAnnotatorAndItem(t *testing.T) {
	s := newSetup()
	first := 0
	for i := range 400 {
		it := Item{ID: fmt.Sprint("item", i), Outputs: []string{"x", "y"}}
		shown := s.Shown("ann", &it)
		if !slices.Equal(shown, s.Shown("ann", &it)) {
			t.Fatal("another order the second time")
		}
		if shown[0] == "x" {
			first++
		}
		if it.Outputs[0] != "x" {
			t.Fatal("the item itself was reordered")
		}
	}
	if first < 150 || first > 250 {
		t.Errorf("%d of 400 in the items' own order", first)
	}
}

// TestNextKeepsToThePlan runs annotators through a study against a model of the store, one after the other.
func TestNextKeepsToThePlan(t *testing.T) {
	s := newSetup()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	prompts := newPrompts(10)
	outputs := decoded(s.Outputs(prompts))
	items, _ := s.Items(prompts, outputs)
	answers := map[string]int{}
	asked := map[preference.Pair]int{}
	regular := 0
	for _, it := range items {
		if it.Catch == preference.NoCatch {
			regular++
		}
	}
	given := 0
	for a := range 6 {
		annotator := fmt.Sprint("annotator", a)
		had := map[string]bool{}
		var done Progress
		for {
			var candidates []ItemProgress
			for _, it := range items {
				if !had[it.ID] && (it.Catch != preference.NoCatch || answers[it.ID] < s.Overlap) {
					candidates = append(candidates, ItemProgress{it, Count{answers[it.ID], answers[it.ID]}})
				}
			}
			next := s.Next(annotator, done, candidates, asked, nil)
			if next == nil {
				break
			}
			had[next.ID] = true
			done.Answered++
			switch next.Catch {
			case preference.SameLambda:
				done.Same++
			case preference.BrokenB:
				done.Broken++
			default:
				answers[next.ID]++
				asked[preference.Pair{Low: next.Low, High: next.High}]++
				given++
			}
			least, most := given, 0
			for _, p := range preference.Pairs(s.Grid) {
				least, most = min(least, asked[p]), max(most, asked[p])
			}
			if most-least > 1 && given <= regular {
				t.Fatalf("pairs were asked %v times", asked)
			}
			if done.Answered > 200 {
				t.Fatal("it does not end")
			}
		}
		// As often as was asked for, as long as there are trials that they have not had: one of each for a prompt.
		if done.Same < min(len(prompts), done.Answered/5-1) || done.Broken < min(len(prompts), done.Answered/10-1) || done.Same > done.Answered/5+1 {
			t.Errorf("%s had %+v", annotator, done)
		}
	}
	if given != regular*s.Overlap {
		t.Errorf("%d of %d answers were asked for", given, regular*s.Overlap)
	}
	for id, n := range answers {
		if n != s.Overlap {
			t.Errorf("item %s was asked %d times", id, n)
		}
	}

	// Active choice asks for what is wanted, as long as there is any.
	var candidates []ItemProgress
	for _, it := range items {
		candidates = append(candidates, ItemProgress{Item: it})
	}
	if next := s.Next("x", Progress{Same: 99, Broken: 99}, candidates, nil, []preference.Pair{{Low: 5, High: 6}, {Low: 0.5, High: 2}}); next.Low != 0.5 || next.High != 2 {
		t.Errorf("asked for %+v", next)
	}
}

// TestTrialsAreOfTheKindThatIsAsked: a catch trial comes within a run of its kind of question, about as often as the setup
// says, and whoever has had every ordinary question gets no trial on top.
func TestTrialsAreOfTheKindThatIsAsked(t *testing.T) {
	s := newSetup()
	s.Likert, s.Ranked, s.SameEvery = &Scale{Points: 5, Criteria: []string{"a"}}, 3, 8
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	prompts := newPrompts(30)
	items, _ := s.Items(prompts, decoded(s.Outputs(prompts)))
	had := map[string]bool{}
	var done Progress
	trials := map[Kind]int{}
	var last Kind
	changes := 0
	for {
		var candidates []ItemProgress
		for _, it := range items {
			if !had[it.ID] {
				candidates = append(candidates, ItemProgress{Item: it})
			}
		}
		next := s.Next("ann", done, candidates, nil, nil)
		if next == nil {
			break
		}
		if next.Kind != last && done.Answered%kindRun != 0 {
			changes++
		}
		last = next.Kind
		had[next.ID] = true
		done.Answered++
		switch {
		case next.Catch == preference.SameLambda:
			done.Same++
			trials[next.Kind]++
		case next.Catch.Spoils():
			done.Broken++
			trials[next.Kind]++
		}
	}
	if changes > done.Answered/20 { // kinds come as often as they have questions left, which changes within a run
		t.Errorf("%d of %d questions were of another kind than the run", changes, done.Answered)
	}
	if done.Same < done.Answered/8-2 || done.Broken < done.Answered/10-2 || done.Same > done.Answered/8+1 || len(trials) != 3 {
		t.Errorf("%+v, trials %v", done, trials)
	}
}

func TestAnswersFitTheirQuestion(t *testing.T) {
	s := newSetup()
	s.Likert, s.Comments = &Scale{Points: 5, Criteria: []string{"warm", "true"}}, true
	three := Item{Kind: AskRanking, Outputs: []string{"a", "b", "c"}}
	for _, test := range []struct {
		item   Item
		answer Answer
		field  string
	}{
		{Item{Kind: AskPairwise}, Answer{Choice: preference.Tie, Comment: "hm"}, ""},
		{Item{Kind: AskPairwise}, Answer{}, "choice"},
		{Item{Kind: AskPairwise}, Answer{Choice: "c"}, "choice"},
		{Item{Kind: AskPairwise}, Answer{Choice: preference.Tie, Comment: strings.Repeat("é", MaxComment+1)}, "comment"},
		{Item{Kind: AskPairwise}, Answer{Skip: "no"}, ""},
		{Item{Kind: AskPairwise}, Answer{Skip: strings.Repeat("é", MaxSkip+1)}, "reason"},
		{Item{Kind: AskLikert}, Answer{Scores: map[string]int{"warm": 1, "true": 5}}, ""},
		{Item{Kind: AskLikert}, Answer{Scores: map[string]int{"warm": 1}}, "scores"},
		{Item{Kind: AskLikert}, Answer{Scores: map[string]int{"warm": 1, "true": 6}}, "scores"},
		{Item{Kind: AskLikert}, Answer{Scores: map[string]int{"warm": 1, "true": 5, "new": 2}}, "scores"},
		{three, Answer{Rank: BestWorst(3, 2, 0)}, ""},
		{three, Answer{Rank: BestWorst(2, 1, 0)}, "rank"},
		{three, Answer{Rank: []int{1, 2, 2}}, "rank"},
		{three, Answer{}, "rank"},
	} {
		f := fault.Of(test.answer.Check(&s, &test.item))
		if got := ""; f != nil {
			got = f.Field
			if got != test.field {
				t.Errorf("%+v: %v", test, f)
			}
		} else if test.field != "" {
			t.Errorf("%+v was taken", test)
		}
	}
	if rank := BestWorst(4, 2, 0); !slices.Equal(rank, []int{4, 2, 1, 2}) {
		t.Errorf("%v", rank)
	}
}

// What a model thought is not rated: answers that say the same are not compared, and only what is said is spoilt.
func TestThoughtsAreNotRated(t *testing.T) {
	s := newSetup()
	s.Likert, s.Ranked, s.SameEvery, s.BrokenEvery = &Scale{Points: 5, Criteria: []string{"a"}}, 3, 0, 0
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	prompts := newPrompts(2)
	outputs := decoded(s.Outputs(prompts))
	for i := range outputs {
		outputs[i].Text = "<think>" + outputs[i].Text + "</think>\n\nYes."
	}
	items, _ := s.Items(prompts, outputs)
	for _, it := range items {
		if it.Kind != AskLikert {
			t.Errorf("%s of answers that say the same: %+v", it.Kind, it)
		}
	}
	spoilt, ok := s.spoil(&Output{Text: "<think>one two three four five six</think>\na b c d e f g h"})
	words := strings.Fields(spoilt.Text)
	slices.Sort(words)
	if !ok || strings.Join(words, " ") != "a b c d e f g h" {
		t.Errorf("%v, %q", ok, spoilt.Text)
	}
}

package study_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/preference"
	"realign/internal/prompt"
	"realign/internal/run"
	"realign/internal/store"
	"realign/internal/study"
	"realign/internal/study/studytest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// odd are texts that are hard to carry.
var odd = []string{"plain", "two\nlines\r\n", `quote " and \ slash`, "=1+1", "é 🙂 \u2028 end", " spaces ", "<script>alert(1)</script>", "a,b;c\td", "nul \x00 byte"}

// rated is a random study with every kind of question, answered by a few annotators.
func rated(r *rand.Rand, studyID string) studytest.Archive {
	grid := []float64{0, 0.5, 1, 1.5, 2}
	a := studytest.Archive{Of: study.Study{
		ID: studyID, Owner: "ann", Status: study.Closed, Beta: 0.1, Build: "v1", CreatedAt: noon, UpdatedAt: noon, ClosedAt: noon,
		Files: []run.File{{Role: "reference", Name: "r.gguf", SHA256: "5a"}},
		Setup: study.Setup{
			Title: "Warmth <b>", Guidelines: "Be *fair*.", Pair: "table", Aligned: "warm", Mode: []run.Mode{run.Chat, run.Plain}[r.IntN(2)],
			Grid: grid, Samples: 2, Sampling: decode.DefaultSampling(), Seed: r.Uint64(),
			Pairwise: true, Likert: &study.Scale{Points: 7, Criteria: []string{"warm", "true"}}, Ranked: 3, Comments: true,
			Overlap: 3, Scheme: study.BalancedScheme,
		},
	}}
	byPlace := map[int][]study.Output{}
	for place := 1; place <= 4; place++ {
		a.Prompts = append(a.Prompts, study.Prompt{Place: place, Line: place, Text: "Prompt " + odd[r.IntN(len(odd))], Category: []string{"", "maths", "prose"}[r.IntN(3)]})
		for sample := range 2 {
			for _, lambda := range grid {
				o := study.Output{ID: fmt.Sprintf("%s-o%d-%d-%g", studyID, place, sample, lambda), Prompt: place, Lambda: lambda, Sample: sample, Seed: r.Uint64(),
					Done: true, Text: fmt.Sprint(odd[r.IntN(len(odd))], r.IntN(100)), Tokens: 1 + r.IntN(30), Reason: "stop"}
				byPlace[place] = append(byPlace[place], o)
				a.Outputs = append(a.Outputs, o)
			}
		}
	}
	for place := range byPlace {
		spoilt := byPlace[place][2]
		spoilt.ID, spoilt.Broken, spoilt.Text = spoilt.ID+"b", true, "spoilt"
		twin := byPlace[place][place] // of λ grid[place], for same-λ trials
		twin.ID, twin.Sample, twin.Text = twin.ID+"t", 2, "once more"
		byPlace[place] = append(byPlace[place], spoilt, twin)
		a.Outputs = append(a.Outputs, spoilt, twin)
	}
	pick := func(place int, outputs ...int) []string {
		var ids []string
		for _, k := range outputs {
			ids = append(ids, byPlace[place][k].ID)
		}
		return ids
	}
	for k := range 60 {
		place := 1 + r.IntN(4)
		it := study.Item{ID: fmt.Sprintf("%s-i%d", studyID, k), Prompt: place, Kind: study.AskPairwise}
		x, y := r.IntN(5), r.IntN(5)
		for y == x {
			y = r.IntN(5)
		}
		x, y = min(x, y), max(x, y)
		switch k % 12 {
		default:
			it.Outputs, it.Low, it.High = pick(place, x, 5+y), grid[x], grid[y]
		case 1:
			it.Kind, it.Outputs = study.AskLikert, pick(place, x)
		case 2:
			it.Kind, it.Outputs = study.AskRanking, pick(place, 0, 2, 4)
		case 3:
			it.Outputs, it.Low, it.High, it.Catch = pick(place, x, 5+x), grid[x], grid[x], preference.SameLambda
		case 4:
			it.Outputs, it.Low, it.High, it.Catch = pick(place, 2, 10), 1, 1, preference.BrokenB
		case 5:
			it.Kind, it.Outputs, it.Catch = study.AskLikert, pick(place, 10), preference.Broken
		case 6:
			it.Kind, it.Outputs, it.Catch = study.AskLikert, pick(place, 11), preference.SameLambda
		case 7:
			it.Kind, it.Outputs, it.Catch = study.AskRanking, pick(place, 0, 4, 10), preference.Broken
		case 8:
			it.Kind, it.Outputs, it.Catch = study.AskRanking, pick(place, 0, place, 11), preference.SameLambda
		case 9: // of three texts two were the same
			it.Kind, it.Outputs = study.AskRanking, pick(place, 0, 4)
		}
		a.Items = append(a.Items, it)
	}
	for k, name := range []string{"Ada", "Björn", "=Chloé"} {
		a.Annotators = append(a.Annotators, study.Annotator{ID: fmt.Sprintf("%s-a%d", studyID, k), Study: studyID, Name: name, JoinedAt: noon})
	}
	at := noon
	places := map[string]int{}
	for _, it := range a.Items {
		for _, who := range a.Annotators {
			if r.IntN(3) == 0 {
				continue
			}
			if r.IntN(4) > 0 { // else at the same moment
				at = at.Add(time.Duration(r.IntN(1e6)) * time.Microsecond)
			}
			shown := slices.Clone(it.Outputs)
			r.Shuffle(len(shown), func(i, j int) { shown[i], shown[j] = shown[j], shown[i] })
			places[who.ID]++
			one := study.Assignment{ID: id.New(), Study: studyID, Item: it.ID, Annotator: who.ID, Place: places[who.ID], Shown: shown,
				State: study.Answered, AskedAt: at.Add(-time.Second), Expires: at, At: at}
			switch it.Kind {
			case study.AskPairwise:
				one.Answer.Choice = []preference.Choice{preference.PreferA, preference.PreferB, preference.Tie, preference.BothBad}[r.IntN(4)]
			case study.AskLikert:
				one.Answer.Scores = map[string]int{"warm": 1 + r.IntN(7), "true": 1 + r.IntN(7)}
			case study.AskRanking:
				one.Answer.Rank = study.BestWorst(len(shown), 0, len(shown)-1)
			}
			switch r.IntN(8) {
			case 0:
				one.Answer.Comment = odd[r.IntN(len(odd))]
			case 1:
				one.State, one.Answer = study.Skipped, study.Answer{Skip: "=not for me"}
			}
			a.Assignments = append(a.Assignments, one)
		}
	}
	return a
}

// exported is a study of the store as a file, and its results.
func exported(t *testing.T, s *store.Store, id string) ([]byte, string) {
	t.Helper()
	ctx := t.Context()
	st, err := s.Study(ctx, "ann", id)
	if err != nil {
		t.Fatal(err)
	}
	prompts, err := s.StudyPrompts(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := s.StudyOutputs(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	ratings, err := s.Ratings(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := study.Export(&b, &st, st.Status != study.Closed, prompts, outputs, ratings); err != nil {
		t.Fatal(err)
	}
	results, _, err := (&study.ResultCache{Store: s}).Results(ctx, &st)
	if err != nil {
		t.Fatal(err)
	}
	form, err := json.Marshal(results)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), string(form)
}

// TestExportedStudiesComeBack: a study that is exported and imported has the same results, and exports to the same
// bytes, whatever was answered.
func TestExportedStudiesComeBack(t *testing.T) {
	s := openStore(t)
	for n := range 6 {
		r := rand.New(rand.NewPCG(uint64(n), 91))
		a := rated(r, fmt.Sprintf("st%d", n))
		if err := s.ImportStudy(t.Context(), a.Fill); err != nil {
			t.Fatal(err)
		}
		file, results := exported(t, s, a.Of.ID)
		var back studytest.Archive
		err := parse(bytes.NewReader(file), "ann", noon.Add(time.Hour), &back)
		if err != nil {
			t.Fatalf("study %d: %v\n%s", n, err, file)
		}
		if back.Of.ID == a.Of.ID || back.Of.Status != study.Closed || len(back.Assignments) != len(a.Assignments) {
			t.Errorf("study %d came back as %+v with %d of %d ratings", n, back.Of, len(back.Assignments), len(a.Assignments))
		}
		if err := s.ImportStudy(t.Context(), back.Fill); err != nil {
			t.Fatal(err)
		}
		again, same := exported(t, s, back.Of.ID)
		if !bytes.Equal(file, again) {
			t.Errorf("study %d exports to other bytes:\n%s\n%s", n, file, again)
		}
		if results != same {
			t.Errorf("study %d has other results:\n%s\n%s", n, results, same)
		}
		if bytes.Contains(file, []byte(a.Of.ID)) || bytes.Contains(file, []byte(`"ann"`)) {
			t.Errorf("study %d: the file tells an id of the store, or whose study it is", n)
		}
	}
}

// file is a small exported study to spoil, by its lines.
func file(t testing.TB) []string {
	t.Helper()
	a := rated(rand.New(rand.NewPCG(1, 91)), "st")
	var b bytes.Buffer
	if err := study.Export(&b, &a.Of, a.Of.Status != study.Closed, a.Prompts, a.Outputs, ratings(a)); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(b.String()))
}

// ratings joins an archive as the store does.
func ratings(a studytest.Archive) []study.Rating {
	var list []study.Rating
	for _, one := range a.Assignments {
		r := study.Rating{Assignment: one}
		if a.Of.Setup.Likert != nil {
			r.Points = a.Of.Setup.Likert.Points
		}
		for _, it := range a.Items {
			if it.ID == one.Item {
				r.Kind, r.Catch, r.Prompt = it.Kind, it.Catch, a.Prompts[it.Prompt-1]
			}
		}
		for _, who := range a.Annotators {
			if who.ID == one.Annotator {
				r.Name = who.Name
			}
		}
		for _, id := range one.Shown {
			for _, o := range a.Outputs {
				if o.ID == id {
					r.Outputs = append(r.Outputs, o)
				}
			}
		}
		r.Catch = study.ShownCatch(r.Catch, r.Outputs[0])
		list = append(list, r)
	}
	return list
}

func TestImportNamesTheLine(t *testing.T) {
	lines := file(t)
	first := func(part string) int {
		return slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, part) })
	}
	rating, output := first(`"type":"rating"`), first(`"type":"output"`)
	likert := first(`"question":"likert"`)
	for name, c := range map[string]struct {
		line     int
		old, new string
		want     string
	}{
		"not JSON":          {rating, "{", "[", "not a JSON object"},
		"no head":           {0, `"study"`, `"rating"`, "type"},
		"another format":    {0, study.ExportFormat, "argilla", "format"},
		"another version":   {0, `"version":1`, `"version":9`, "version"},
		"a grid of one":     {0, `"grid":[0,0.5,1,1.5,2]`, `"grid":[0]`, "grid"},
		"an unknown type":   {1, `"type":"prompt"`, `"type":"poem"`, "type"},
		"a missing prompt":  {1, `"place":1`, `"place":2`, "place"},
		"an empty prompt":   {1, lines[1], `{"type":"prompt","place":1,"line":1,"prompt":""}` + "\n", "prompt"},
		"λ off the grid":    {output, `"lambda":0,`, `"lambda":0.3,`, "lambda"},
		"two of one id":     {output + 1, `"id":"2"`, `"id":"1"`, "id"},
		"no such output":    {rating, `"shown":["`, `"shown":["x`, "shown"},
		"a wrong λ":         {rating, `"lambda":[`, `"lambda":[9,`, "lambda"},
		"a wrong question":  {rating, `"question":"`, `"question":"x`, "question"},
		"a nameless person": {rating, `"annotator":"`, `"annotator":" `, "annotator"},
		"no time":           {rating, `"at":"2026`, `"at":"1026`, "at"},
		"out of order":      {len(lines) - 1, `"at":"2026`, `"at":"2025`, "at"},
		"a score of 9":      {likert, `"true":`, `"true":1`, "scores"},
		"no such kind":      {0, `"likert":{"points":7,"criteria":["warm","true"]},`, "", "question"},
		"no such trial":     {rating, `"shown":`, `"catch":"broken","shown":`, "catch"},
		"a prompt at last":  {len(lines) - 1, lines[len(lines)-1], lines[1], "type"},
		"rated twice":       {rating + 1, lines[rating+1], lines[rating], "annotator"},
	} {
		spoilt := slices.Clone(lines)
		spoilt[c.line] = strings.Replace(spoilt[c.line], c.old, c.new, 1)
		if spoilt[c.line] == lines[c.line] {
			t.Fatalf("%s: line %d has no %s:\n%s", name, c.line+1, c.old, lines[c.line])
		}
		err := parse(strings.NewReader(strings.Join(spoilt, "")), "ann", noon, nil)
		f := fault.Of(err)
		line := c.line + 1
		if name == "no such kind" {
			line = likert + 1
		}
		if f == nil || f.Kind != fault.Invalid || f.Field != "file" || !strings.HasPrefix(f.Message, fmt.Sprintf("line %d: ", line)) || !strings.Contains(f.Message, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "a head alone": lines[0], "a session": `{"format":"realign-session","version":1}`, "binary": "\xff\xfe",
		"a long line": `{"type":"study","x":"` + strings.Repeat("x", 5<<20) + `"}`,
	} {
		if err := parse(strings.NewReader(text), "ann", noon, nil); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != "file" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzImport(f *testing.F) {
	lines := file(f)
	f.Add(strings.Join(lines, ""))
	f.Add(strings.Join(lines[:8], ""))
	f.Add(lines[0] + lines[1])
	f.Fuzz(func(t *testing.T, text string) {
		var a studytest.Archive
		err := parse(strings.NewReader(text), "ann", noon, &a)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatal(err)
			}
			return
		}
		// What was taken says the same again.
		write := func(a studytest.Archive) []byte {
			var b bytes.Buffer
			if err := study.Export(&b, &a.Of, a.Of.Status != study.Closed, a.Prompts, a.Outputs, ratings(a)); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		one := write(a)
		var back studytest.Archive
		err = parse(bytes.NewReader(one), "ann", noon, &back)
		if err != nil {
			t.Fatalf("%v\n%s", err, one)
		}
		if two := write(back); !bytes.Equal(one, two) {
			t.Fatalf("%s\n%s", one, two)
		}
	})
}

// tiny is one prompt, two λ and a spoilt answer, asked once each way.
func tiny(mode run.Mode) (*study.Setup, []study.Rating) {
	s := &study.Setup{Mode: mode, System: "Be brief.", Likert: &study.Scale{Points: 5, Criteria: []string{"warm"}}}
	low := study.Output{ID: "l", Prompt: 1, Lambda: 0, Seed: 1<<64 - 1, Text: "low"}
	high := study.Output{ID: "h", Prompt: 1, Lambda: 1.5, Sample: 1, Seed: 1<<64 - 1, Text: "high"}
	twin := study.Output{ID: "t", Prompt: 1, Lambda: 1, Text: "low"}
	prompt := study.Prompt{Place: 1, Text: "Hi", Category: "greeting"}
	rating := func(item string, kind study.Kind, answer study.Answer, outputs ...study.Output) study.Rating {
		return study.Rating{
			Assignment: study.Assignment{Item: item, State: study.Answered, At: noon, Answer: answer},
			Name:       "Ada", Kind: kind, Prompt: prompt, Outputs: outputs, Points: 5,
		}
	}
	caught := rating("5", study.AskPairwise, study.Answer{Choice: preference.PreferA}, low, high)
	caught.Catch = preference.BrokenB
	ranked := rating("8", study.AskRanking, study.Answer{Rank: []int{3, 2, 1}}, low, high, twin)
	scored := rating("9", study.AskLikert, study.Answer{Scores: map[string]int{"warm": 1}}, low)
	ranked.Catch, scored.Catch = preference.Broken, preference.Broken
	skipped := rating("6", study.AskPairwise, study.Answer{Skip: "=no"}, low, high)
	skipped.State = study.Skipped
	return s, []study.Rating{
		rating("1", study.AskPairwise, study.Answer{Choice: preference.PreferB}, low, high),
		rating("2", study.AskPairwise, study.Answer{Choice: preference.PreferA}, high, low),
		rating("1", study.AskPairwise, study.Answer{Choice: preference.Tie}, high, low),
		rating("1", study.AskPairwise, study.Answer{Choice: preference.BothBad}, low, high),
		rating("3", study.AskPairwise, study.Answer{Choice: preference.PreferA}, low, twin), // the same text
		rating("4", study.AskLikert, study.Answer{Scores: map[string]int{"warm": 4}}, high),
		rating("4", study.AskLikert, study.Answer{Scores: map[string]int{"warm": 3}}, high),
		rating("7", study.AskRanking, study.Answer{Rank: []int{3, 2, 1}}, low, high, twin),
		caught, skipped, ranked, scored,
	}
}

func TestTrainingRows(t *testing.T) {
	s, list := tiny(run.Plain)
	rows := study.Preferences(s, list)
	if len(rows) != 4 { // two pairs, and of the ranking high > low and twin > high, but not twin > low, which reads the same
		t.Fatalf("%d rows: %+v", len(rows), rows)
	}
	a, b := rows[0], rows[1]
	if a.Prompt != "Hi" || a.Chosen != "high" || a.Rejected != "low" || a.ChosenLambda != 1.5 || a.RejectedLambda != 0 || a.ChosenSample != 1 ||
		a.Order != "rejected_first" || b.Order != "chosen_first" || a.Rater != "Ada" || a.Seed != "18446744073709551615" || a.Item == b.Item || a.Category != "greeting" {
		t.Errorf("%+v\n%+v", a, b)
	}
	labels := study.Labels(s, list)
	good, bad := 0, 0
	for _, l := range labels {
		if l.Label {
			good++
		} else {
			bad++
		}
	}
	// Good: three preferred, one score, one best. Bad: three others, two of "both bad", one worst.
	if good != 5 || bad != 6 {
		t.Errorf("%d good and %d bad: %+v", good, bad, labels)
	}
	var out bytes.Buffer
	if err := study.WriteLines(&out, rows); err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(out.String(), "\n"); !strings.Contains(first, `"rejected_lambda":0.0`) {
		t.Errorf("a reader would take the column for whole numbers: %s", first)
	}

	s, list = tiny(run.Chat)
	form, err := json.Marshal(study.Preferences(s, list)[0])
	if err != nil || !strings.Contains(string(form), `"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}],"chosen":[{"role":"assistant","content":"high"}]`) {
		t.Errorf("%s, %v", form, err)
	}
}

func TestCSV(t *testing.T) {
	s, list := tiny(run.Plain)
	list[0].Outputs[0].Text, list[0].Answer.Comment = "=cmd()", `a "quoted", comment`
	var b bytes.Buffer
	if err := study.WriteCSV(&b, s, list); err != nil {
		t.Fatal(err)
	}
	if set, err := prompt.Read(bytes.NewReader(b.Bytes()), "ratings.csv", prompt.Options{}); err != nil || set.Prompts[0].Text != list[0].Prompt.Text || set.Prompts[0].Category != list[0].Prompt.Category {
		t.Errorf("its prompts are read as %+v, %v", set, err)
	}
	begin, ok := bytes.CutPrefix(b.Bytes(), []byte("\ufeff"))
	if !ok {
		t.Error("there is no byte order mark for spreadsheets")
	}
	in := csv.NewReader(bytes.NewReader(begin))
	head, err := in.Read()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for {
		row, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for i, name := range head {
			m[name] = row[i]
		}
		rows = append(rows, m)
	}
	if len(rows) != 2*7+2+3+3+1 {
		t.Fatalf("%d rows", len(rows))
	}
	if r := rows[0]; r["text"] != "'=cmd()" || r["comment"] != `a "quoted", comment` || r["lambda"] != "0" || r["preferred"] != "0" || r["choice"] != "b" || r["position"] != "1" {
		t.Errorf("%v", r)
	}
	if r := rows[1]; r["preferred"] != "1" || r["lambda"] != "1.5" || r["rating"] != "1" {
		t.Errorf("%v", r)
	}
	if r := rows[10]; r["score: warm"] != "4" || r["preferred"] != "" || r["question"] != "likert" {
		t.Errorf("%v", r)
	}
	if r := rows[12]; r["rank"] != strconv.Itoa(3) {
		t.Errorf("%v", r)
	}
	if r := rows[len(rows)-1]; r["catch"] != "broken" || r["score: warm"] != "1" {
		t.Errorf("%v", r)
	}
	if r := rows[len(rows)-5]; r["skipped"] != "'=no" {
		t.Errorf("%v", r)
	}
}

// TestPublicationTellsNothing: no name, no prompt, no output and no id is in what a link shows.
func TestPublicationTellsNothing(t *testing.T) {
	s := openStore(t)
	a := rated(rand.New(rand.NewPCG(2, 91)), "secret-id")
	for i := range a.Prompts {
		a.Prompts[i].Text = "secret prompt"
	}
	for i := range a.Outputs {
		a.Outputs[i].Text = "secret output"
	}
	if err := s.ImportStudy(t.Context(), a.Fill); err != nil {
		t.Fatal(err)
	}
	form, err := (&study.ResultCache{Store: s}).Publish(t.Context(), &a.Of, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"secret", "Ada", "Björn", "Chloé", "ann\"", "not for me"} {
		if bytes.Contains(form, []byte(secret)) {
			t.Errorf("the publication has %q:\n%s", secret, form)
		}
	}
	p, err := study.ReadPublication(form)
	if err != nil || len(p.Results.Annotators) != 3 || p.Results.Annotators[0].Name != "Annotator 01" || p.Title != a.Of.Setup.Title {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := study.ReadPublication([]byte(`{}`)); err == nil {
		t.Error("anything is a publication")
	}
}

// TestAnalystKeepsResults: they are computed again only when an answer came or went.
func TestAnalystKeepsResults(t *testing.T) {
	ctx := t.Context()
	s := openStore(t)
	a := rated(rand.New(rand.NewPCG(3, 91)), "st")
	a.Of.Status = study.Open
	if err := s.ImportStudy(ctx, a.Fill); err != nil {
		t.Fatal(err)
	}
	cache := &study.ResultCache{Store: s}
	results := func() (*preference.Results, string) {
		t.Helper()
		r, version, err := cache.Results(ctx, &a.Of)
		if err != nil {
			t.Fatal(err)
		}
		return r, version
	}
	one, version := results()
	if again, v := results(); again != one || v != version {
		t.Error("computed again for nothing")
	}
	free := slices.IndexFunc(a.Items, func(it study.Item) bool {
		return it.Kind == study.AskPairwise && it.Catch == preference.NoCatch && !slices.ContainsFunc(a.Assignments, func(as study.Assignment) bool {
			return as.Item == it.ID && as.Annotator == a.Annotators[0].ID
		})
	})
	later := noon.Add(time.Hour)
	asked, err := s.Reserve(ctx, study.Assignment{ID: "new", Study: "st", Item: a.Items[free].ID, Annotator: a.Annotators[0].ID,
		Shown: a.Items[free].Outputs, State: study.Asked, AskedAt: later, Expires: later.Add(time.Hour)}, 9)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := results(); again != one {
		t.Error("a question that is not answered changed the results")
	}
	asked.State, asked.At, asked.Answer.Choice = study.Answered, later.Add(time.Minute), preference.PreferA
	if err := s.Settle(ctx, asked, 9); err != nil {
		t.Fatal(err)
	}
	two, next := results()
	if two.Counts.Pairwise != one.Counts.Pairwise+1 || next == version {
		t.Errorf("%+v after %+v", two.Counts, one.Counts)
	}
	if _, err := s.Undo(ctx, a.Annotators[0].ID, "", study.Assignment{ID: "again", AskedAt: later, Expires: later.Add(time.Hour)}, 2); err != nil {
		t.Fatal(err)
	}
	if three, v := results(); three.Counts != one.Counts || v == next {
		t.Errorf("%+v after it was taken back", three.Counts)
	}
}

var update = flag.Bool("update", false, "write the rows for TRL anew")

// TestRowsForTRL keeps the rows that training/tests/test_export.py loads in datasets and trains on in TRL.
func TestRowsForTRL(t *testing.T) {
	for _, mode := range []run.Mode{run.Chat, run.Plain} {
		s, list := tiny(mode)
		for name, write := range map[string]func(io.Writer) error{
			"preferences": func(w io.Writer) error { return study.WriteLines(w, study.Preferences(s, list)) },
			"labels":      func(w io.Writer) error { return study.WriteLines(w, study.Labels(s, list)) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+"-"+string(mode)+".jsonl")
			if *update {
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if want, err := os.ReadFile(file); err != nil || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s is another one now, %v: look, and run go test ./internal/study -run TestRowsForTRL -update", file, err)
			}
		}
	}
}

// parse imports an exported study into to, or only checks it where that is nil.
func parse(file io.ReadSeeker, owner string, now time.Time, to study.Importing) error {
	_, _, err := study.Import(file, owner, now, func(fill func(study.Importing) error) error {
		if to == nil {
			return nil
		}
		return fill(to)
	})
	return err
}

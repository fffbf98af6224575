package reward

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// open builds a reward for one row.
func open(t *testing.T, name, parameters string, e Environment, row sweep.Row) Reward {
	t.Helper()
	rewards, err := Open(t.Context(), &sweep.Config{
		Prompts: sweep.Prompts{Rows: []sweep.Row{row}},
		Rewards: []sweep.Reward{{Reward: name, Name: name, Parameters: json.RawMessage(parameters)}},
	}, e)
	if err != nil {
		t.Fatal(err)
	}
	return rewards[0].Reward
}

// value is what a reward says of one answer.
func value(t *testing.T, r Reward, row sweep.Row, o sweep.Output) sweep.Value {
	t.Helper()
	values := r.Score(t.Context(), []sweep.Row{row}, []sweep.Output{o})
	if len(values) != 1 {
		t.Fatalf("%d values for one answer", len(values))
	}
	return values[0]
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s: %.9g, want %.9g", what, got, want)
	}
}

func TestOverlapAgreesWithPublishedImplementations(t *testing.T) {
	var file struct {
		Pairs []struct {
			Answer, Reference  string
			Rouge, Chrf, Chrf3 float64
		}
	}
	data, err := os.ReadFile("testdata/overlap.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil || len(file.Pairs) < 50 {
		t.Fatal(err, len(file.Pairs))
	}
	for _, p := range file.Pairs {
		row, o := sweep.Row{Text: "p", Reference: p.Reference}, sweep.Output{Text: p.Answer}
		near(t, "ROUGE-L of "+p.Answer, value(t, open(t, "rouge-l", "{}", Environment{}, row), row, o).Value, p.Rouge, 1e-9)
		near(t, "chrF of "+p.Answer, value(t, open(t, "chrf", "{}", Environment{}, row), row, o).Value, p.Chrf, 1e-9)
		near(t, "chrF3 of "+p.Answer, value(t, open(t, "chrf", `{"order":3,"beta":1}`, Environment{}, row), row, o).Value, p.Chrf3, 1e-9)
	}
}

func TestReadability(t *testing.T) {
	row := sweep.Row{Text: "p"}
	// One sentence of six words of one syllable.
	o := sweep.Output{Text: "The cat sat on the mat."}
	near(t, "ease", value(t, open(t, "readability", "{}", Environment{}, row), row, o).Value, 206.835-1.015*6-84.6, 1e-9)
	grade := open(t, "readability", `{"formula":"grade"}`, Environment{}, row)
	near(t, "grade", value(t, grade, row, o).Value, 0.39*6+11.8-15.59, 1e-9)
	if grade.Info().Direction != sweep.Lower || open(t, "readability", "{}", Environment{}, row).Info().Direction != sweep.Higher {
		t.Error("ease is better where it is high, and a grade where it is low")
	}
	if n := len(sentences("It cost 3.5 dollars. Really?! “Yes.” No\n\nMore")); n != 5 {
		t.Errorf("%d sentences, want 5", n)
	}
}

// TestReadabilityAgreesWithTextstat compares words and sentences of all texts, and values of those whose words are all in the
// dictionary.
func TestReadabilityAgreesWithTextstat(t *testing.T) {
	var file struct {
		Texts []struct {
			Text                        string
			Words, Sentences, Syllables int
			Ease, Grade                 *float64
		}
	}
	data, err := os.ReadFile("testdata/readability.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	row := sweep.Row{Text: "p"}
	ease, grade := open(t, "readability", "{}", Environment{}, row), open(t, "readability", `{"formula":"grade"}`, Environment{}, row)
	compared := 0
	for _, text := range file.Texts {
		if said, sentences := readable(text.Text); len(said) != text.Words || sentences != text.Sentences {
			t.Errorf("%q: %d words in %d sentences, textstat says %d in %d", text.Text, len(said), sentences, text.Words, text.Sentences)
		}
		if text.Ease == nil {
			continue
		}
		compared++
		near(t, "ease of "+text.Text, value(t, ease, row, sweep.Output{Text: text.Text}).Value, *text.Ease, 1e-9)
		near(t, "grade of "+text.Text, value(t, grade, row, sweep.Output{Text: text.Text}).Value, *text.Grade, 1e-9)
	}
	if compared < 40 {
		t.Errorf("only %d values were compared", compared)
	}
}

// TestSpelled: rules get most words right.
func TestSpelled(t *testing.T) {
	known, err := pronounced()
	if err != nil {
		t.Fatal(err)
	}
	right, off := 0, 0
	for word, n := range known {
		switch d := spelled(word) - int(n); {
		case d == 0:
			right++
		case d < -1 || d > 1:
			off++
		}
	}
	all := float64(len(known))
	t.Logf("of %d words in the dictionary the rules count %.1f%% right, and %.2f%% wrong by two or more", len(known), 100*float64(right)/all, 100*float64(off)/all)
	if float64(right) < 0.8*all || float64(off) > 0.02*all {
		t.Error("rules count too many words wrong")
	}
}

func TestClassifiersAgreeWithPython(t *testing.T) {
	words, err := wordClassifier()
	if err != nil {
		t.Fatal(err)
	}
	if len(words.Examples) < 20 {
		t.Fatalf("%d examples", len(words.Examples))
	}
	row := sweep.Row{Text: "p"}
	reward := open(t, "sentiment", "", Environment{}, row)
	for _, e := range words.Examples {
		near(t, e.Text, words.logit(e.Text), e.Logit, 1e-6)
		near(t, e.Text, value(t, reward, row, sweep.Output{Text: e.Text}).Value, math.Tanh(e.Logit/2), 1e-6)
	}
	characters, err := characterClassifier()
	if err != nil {
		t.Fatal(err)
	}
	if len(characters.Examples) < 30 {
		t.Fatalf("%d examples", len(characters.Examples))
	}
	reward = open(t, "sentiment-check", "", Environment{}, row)
	for _, e := range characters.Examples {
		near(t, e.Text, value(t, reward, row, sweep.Output{Text: e.Text}).Value, e.Probability, 1e-6)
	}
}

// TestSimple checks rewards on answers whose values can be worked out by hand; want NaN is missing.
func TestSimple(t *testing.T) {
	missing := math.NaN()
	rows := sweep.Row{Text: "p", Context: "Marie Curie was born in Warsaw in 1867. She won two prizes.", Reference: "r"}
	for _, test := range []struct {
		reward, parameters, text string
		output                   sweep.Output
		want                     float64
	}{
		// The values of training/rewards.py.
		{"length", "", "", sweep.Output{Tokens: 25, Finish: "stop"}, 1},
		{"length", "", "", sweep.Output{Tokens: 33, Finish: "stop"}, 1},
		{"length", "", "", sweep.Output{Tokens: 21, Finish: "stop"}, 0.6},
		{"length", "", "", sweep.Output{Tokens: 64, Finish: "length"}, -1},
		{"length", "", "", sweep.Output{Tokens: 35, Finish: "length"}, 0.7},
		{"length", `{"low":2,"high":3,"fall":0.5,"unit":"words"}`, "it's one two three", sweep.Output{}, 0.5},
		{"length", `{"low":2,"high":3,"fall":0.5,"unit":"characters"}`, "é", sweep.Output{}, 0.5},
		{"pattern", `{"pattern":"colou?r"}`, "My COLOR", sweep.Output{}, 1},
		{"pattern", `{"pattern":"colou?r","ignore_case":false}`, "My COLOR", sweep.Output{}, 0},
		{"pattern", `{"keywords":["art","über uns"]}`, "party, Über uns", sweep.Output{}, 0.5},
		{"pattern", `{"keywords":["art"],"absent":true}`, "state of the art", sweep.Output{}, 0},
		{"json", "", `{"a": [1, 2]}`, sweep.Output{}, 1},
		{"json", "", `{"a": [1, 2}`, sweep.Output{}, 0},
		{"json", "", `{"a": 1} and more`, sweep.Output{}, 0},
		{"json", "", "Here:\n```json\n{\"a\": 1}\n```", sweep.Output{}, 0},
		{"json", `{"fenced":true}`, "Here:\n```json\n{\"a\": 1}\n```", sweep.Output{}, 1},
		{"json", `{"schema":{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":2}}}}`, `{"a": 2}`, sweep.Output{}, 1},
		{"json", `{"schema":{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":2}}}}`, `{"a": 1}`, sweep.Output{}, 0},
		{"distinct", "", "a b a b", sweep.Output{}, 2.0 / 3},
		{"distinct", `{"n":1}`, "a b a b", sweep.Output{}, 0.5},
		{"distinct", "", "a", sweep.Output{}, missing},
		{"readability", "", "…", sweep.Output{}, missing},
		{"grounding", "", "She won two medals", sweep.Output{}, 2.0 / 3},
		{"grounding", "", "She", sweep.Output{}, missing},
		{"grounding", `{"unit":"entities"}`, "In 1867 she met Marie Curie. Then Albert Einstein, Warsaw and 12 others.", sweep.Output{}, 3.0 / 5},
		{"grounding", `{"unit":"entities"}`, "It is what I said.", sweep.Output{}, missing},
		{"implicit", `{"beta":0.5}`, "", sweep.Output{LogpAligned: -10, LogpReference: -14}, 2},
		{"implicit", "", "", sweep.Output{LogpAligned: -10, LogpReference: -14}, 0.4},
	} {
		test.output.Text = test.text
		got := value(t, open(t, test.reward, test.parameters, Environment{Beta: 0.1}, rows), rows, test.output)
		if math.IsNaN(test.want) {
			if got.OK() || got.Missing == "" {
				t.Errorf("%s %s of %q: %v, want it missing", test.reward, test.parameters, test.text, got)
			}
			continue
		}
		if !got.OK() {
			t.Errorf("%s %s of %q is missing: %s", test.reward, test.parameters, test.text, got.Missing)
		}
		near(t, test.reward+" "+test.parameters+" of "+test.text, got.Value, test.want, 1e-12)
	}
}

func TestRefusals(t *testing.T) {
	row := sweep.Row{Text: "p"}
	for _, test := range []struct{ reward, parameters, field, says string }{
		{"lenght", "", "rewards", `nearest is "length"`},
		{"length", `{"lwo":3}`, "rewards.x.lwo", `nearest is "low"`},
		{"length", `{"low":9,"high":3}`, "rewards.x.high", "from low"},
		{"length", `{"unit":"word"}`, "rewards.x.unit", `nearest is "words"`},
		{"length", `{"low":"many"}`, "rewards.x.low", "a number is needed"},
		{"pattern", "", "rewards.x.pattern", "needed"},
		{"pattern", `{"pattern":"("}`, "rewards.x.pattern", "no regular expression"},
		{"json", `{"schema":{"type":"objekt"}}`, "rewards.x.schema", "no JSON Schema"},
		{"json", `{"schema":{"$ref":"file:///etc/passwd"}}`, "rewards.x.schema", "itself only"},
		{"json", `{"schema":{"$ref":"http://127.0.0.1:1/x"}}`, "rewards.x.schema", "itself only"},
		{"rouge-l", "", "rewards.x", `needs the column "reference", which prompts[0] does not have`},
		{"chrf", "", "rewards.x", `needs the column "reference"`},
		{"grounding", "", "rewards.x", `needs the column "context"`},
		{"implicit", "", "rewards.x.beta", "nobody says which β"},
		{"command", `{"command":"cat"}`, "rewards.x", "command line"},
		{"http", `{"url":"http://127.0.0.1:1"}`, "rewards.x.url", "asks no endpoints"},
		{"judge", `{"url":"http://127.0.0.1:1"}`, "rewards.x.model", "needed"},
	} {
		_, err := Open(t.Context(), &sweep.Config{
			Prompts: sweep.Prompts{Rows: []sweep.Row{row}},
			Rewards: []sweep.Reward{{Reward: test.reward, Name: "x", Parameters: json.RawMessage(test.parameters)}},
		}, Environment{})
		f := fault.Of(err)
		if f == nil || f.Kind != fault.Invalid || f.Field != test.field || !strings.Contains(f.Message, test.says) {
			t.Errorf("%s %s: %v, want an invalid %s that says %q", test.reward, test.parameters, err, test.field, test.says)
		}
	}
}

func TestRegistry(t *testing.T) {
	infos := Infos()
	if !slices.IsSortedFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the registry is not in the order of names")
	}
	page, err := os.ReadFile("../../../docs/sweeps.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if !strings.Contains(string(page), "\n| `"+info.Name+"` |") {
			t.Errorf("the documentation has no line on %s", info.Name)
		}
		if info.Title == "" || info.About == "" || info.Direction != sweep.Higher && info.Direction != sweep.Lower {
			t.Errorf("%+v says too little", info)
		}
	}
}

func TestCommand(t *testing.T) {
	row := sweep.Row{Text: "p"}
	judge := func(parameters string, texts ...string) []sweep.Value {
		var rows []sweep.Row
		var outputs []sweep.Output
		for _, text := range texts {
			rows, outputs = append(rows, row), append(outputs, sweep.Output{Text: text})
		}
		return open(t, "command", parameters, Environment{Headless: true}, row).Score(context.Background(), rows, outputs)
	}
	if v := judge(`{"command":"while read -r line; do echo ${#line}; done"}`, "a", "abc"); v[1].Value-v[0].Value != 2 {
		t.Errorf("%v", v)
	}
	if v := judge(`{"command":"echo '{\"missing\":\"no idea\"}'; echo 0"}`, "a", "b"); v[0].Missing != "no idea" || !v[1].OK() || v[1].Value != 0 {
		t.Errorf("%v", v)
	}
	for parameters, says := range map[string]string{
		`{"command":"echo 1; echo oh no >&2; exit 3"}`: "oh no",
		`{"command":"echo 1; echo 2"}`:                 "another number of lines",
		`{"command":"echo good"}`:                      "neither a number",
		`{"command":"sleep 60","timeout":0.1}`:         "in time",
		`{"command":"sleep 60 | cat","timeout":0.1}`:   "in time",
		`{"command":"no-such-program-anywhere"}`:       "the command failed",
		`{"command":"true"}`:                           "another number of lines",
		`{"command":"echo 1e999"}`:                     "neither a number",
		`{"command":"yes 1","timeout":0.2}`:            "in time",
	} {
		if v := judge(parameters, "a"); v[0].OK() || !strings.Contains(v[0].Missing, says) {
			t.Errorf("%s: %v, want it missing for %q", parameters, v, says)
		}
	}
	// What stands in an answer is data: no shell reads it.
	file := filepath.Join(t.TempDir(), "made")
	if v := judge(`{"command":"cat >/dev/null; echo 1"}`, "$(touch "+file+"); `touch "+file+"`\n\"}; touch "+file); !v[0].OK() {
		t.Errorf("%v", v)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("an answer was run as a command")
	}
}

// TestCommandEndsAsAWhole: what a command has started ends with it, when it is late and when the sweep is stopped.
func TestCommandEndsAsAWhole(t *testing.T) {
	t.Parallel() // with others that wait
	for name, timeout := range map[string]float64{"late": 3, "stopped": 60} {
		pids := filepath.Join(t.TempDir(), "pid")
		r := open(t, "command", fmt.Sprintf(`{"command":"sleep 300 & echo $! > %s; wait","timeout":%g}`, pids, timeout), Environment{Headless: true}, sweep.Row{Text: "p"})
		ctx, cancel := context.WithCancel(t.Context())
		judged := make(chan sweep.Value, 1)
		go func() { judged <- r.Score(ctx, []sweep.Row{{Text: "p"}}, []sweep.Output{{Text: "a"}})[0] }()
		pid := 0
		for late := time.Now().Add(30 * time.Second); pid == 0; time.Sleep(5 * time.Millisecond) {
			data, _ := os.ReadFile(pids)
			pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
			if time.Now().After(late) {
				t.Fatal("the command does not begin")
			}
		}
		if name == "stopped" {
			cancel()
		}
		if v := <-judged; v.OK() || !strings.Contains(v.Missing, map[string]string{"late": "in time", "stopped": "stopped before"}[name]) {
			t.Errorf("%s: %+v", name, v)
		}
		cancel()
		gone := func() bool { // it may be there as a zombie that nobody has collected
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		}
		for late := time.Now().Add(10 * time.Second); !gone(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%s: what the command started is still there", name)
			}
		}
	}
}

// A reward judges what is said, not what was thought before it; of a reply that ended while it was thinking, nothing is said.
func TestThoughtsAreNotJudged(t *testing.T) {
	rewards, err := Open(t.Context(), &sweep.Config{
		Prompts: sweep.Prompts{Rows: []sweep.Row{{}}},
		Rewards: []sweep.Reward{{Reward: "length", Name: "length", Parameters: json.RawMessage(`{"unit":"characters"}`)}},
	}, Environment{})
	if err != nil {
		t.Fatal(err)
	}
	outputs := []sweep.Output{{Text: "Hello."}, {Text: "<think>\nHm.\n</think>\n\nHello."}, {Text: "Hm.</think>Hello."}, {Text: "<think>Hm"}, {Text: ""}}
	kept := slices.Clone(outputs)
	values := rewards[0].Score(t.Context(), make([]sweep.Row, len(outputs)), outputs)
	for i, as := range []int{0, 0, 0, 4, 4} { // each is worth what another is that says the same
		if !values[i].OK() || values[i].Value != values[as].Value || values[0].Value == values[4].Value {
			t.Errorf("%q: %+v, and %q: %+v", outputs[i].Text, values[i], outputs[as].Text, values[as])
		}
	}
	if outputs[1].Text != kept[1].Text {
		t.Error("the outputs themselves were changed")
	}
}

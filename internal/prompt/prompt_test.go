package prompt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
)

func user(text string) decode.Message      { return decode.Message{Role: "user", Content: text} }
func assistant(text string) decode.Message { return decode.Message{Role: "assistant", Content: text} }

// other are columns that are carried along.
func other(pairs ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

func seed(n uint64) *uint64 { return &n }

// wide is a text of ASCII as spreadsheets save "Unicode text".
func wide(text string) string {
	b := []byte{0xff, 0xfe}
	for _, c := range []byte(text) {
		b = append(b, c, 0)
	}
	return string(b)
}

const conversationRow = `{"prompt":[{"role":"system","content":"be"},{"role":"user","content":"one"},{"role":"assistant","content":"1"},{"role":"user","content":"two"}]}`

func TestRead(t *testing.T) {
	two := []Prompt{{Line: 1, Text: "one"}, {Line: 3, Text: "two"}}
	table := []Prompt{
		{Line: 2, Text: "one, \"and\";\nmore", Category: "hi", ID: json.RawMessage(`"7"`), Other: other("Source", `"x"`)},
		{Line: 4, Text: "two", Other: other("Source", `""`)},
	}
	talk := Prompt{Line: 1, Text: "two", System: "be", History: []decode.Message{user("one"), assistant("1")}}
	for name, test := range map[string]struct {
		file   string
		format Format
		text   string
		want   []Prompt
		notes  int
	}{
		"lines":            {"a.txt", Auto, "\ufeffone\r\n\r\n  two \n", two, 0},
		"lines, unnamed":   {"", Auto, "one\n\n  two \n", two, 0},
		"old Mac's lines":  {"", Auto, "one\r\rtwo\r", two, 0},
		"JSON in lines":    {"", Lines, "{\"prompt\":\"one\"}", []Prompt{{Line: 1, Text: `{"prompt":"one"}`}}, 0},
		"blocks":           {"", Blocks, "\none\n more\n \n\ntwo", []Prompt{{Line: 2, Text: "one\n more"}, {Line: 6, Text: "two"}}, 0},
		"commas":           {"a.csv", Auto, "category,Prompt,id,Source\nhi,\"one, \"\"and\"\";\nmore\",7,x\n,two,,\n", table, 0},
		"semicolons":       {"a.csv", Auto, "\ufeffcategory;Prompt;id;Source\r\nhi;\"one, \"\"and\"\";\r\nmore\";7;x\r\n;two;;\r\n", table, 0},
		"tabs":             {"a.csv", Auto, "category\tPrompt\tid\tSource\nhi\t\"one, \"\"and\"\";\nmore\"\t7\tx\n\ttwo\t\t\n", table, 0},
		"tabs in UTF-16":   {"a.txt.csv", Auto, wide("category\tPrompt\tid\tSource\r\nhi\t\"one, \"\"and\"\";\r\nmore\"\t7\tx\r\n\ttwo\t\t\r\n"), table, 0},
		"sep=":             {"a.csv", Auto, "sep=|\nprompt|b\none|2\n", []Prompt{{Line: 3, Text: "one", Other: other("b", `"2"`)}}, 0},
		"unnamed table":    {"", Auto, "id;prompt\n1;one\n", []Prompt{{Line: 2, Text: "one", ID: json.RawMessage(`"1"`)}}, 0},
		"one column":       {"a.csv", Auto, "Prompt\none\ntwo\n", []Prompt{{Line: 2, Text: "one"}, {Line: 3, Text: "two"}}, 0},
		"columns":          {"a.csv", Auto, "id,prompt,category,source\n1,one,maths,web\n", []Prompt{{Line: 2, Text: "one", Category: "maths", ID: json.RawMessage(`"1"`), Other: other("source", `"web"`)}}, 0},
		"jsonl":            {"a.jsonl", Auto, "\ufeff\"one\"\n\n{\"prompt\":\"two\",\"context\":\"c\",\"reference\":\"r\",\"category\":\"k\",\"system\":\"s\",\"id\":7.50,\"seed\":11,\"x\":[1]}\r\n", []Prompt{{Line: 1, Text: "one"}, {Line: 3, Text: "two", Context: "c", Reference: "r", Category: "k", System: "s", ID: json.RawMessage("7.50"), Seed: seed(11), Other: other("x", "[1]")}}, 0},
		"jsonl by content": {"", Auto, "{\"prompt\":\"one\"}\n\n{\"prompt\":\"two\"}\n", two, 0},
		"jsonl as json":    {"a.json", Auto, "{\"prompt\":\"one\"}\n\n{\"prompt\":\"two\"}\n", two, 0},
		"json":             {"a.JSON", Auto, "[\"one\",\n\n {\"prompt\": \"two\"}]", two, 0},
		"one object":       {"", Auto, "\n{\"text\":\n\"one\"}\n", []Prompt{{Line: 2, Text: "one"}}, 0},
		"a sweep's file":   {"a.json", Auto, "{\"pair\":\"demo\",\n\"prompts\":[\n\"one\"]}", []Prompt{{Line: 3, Text: "one"}}, 0},
		"conversation":     {"", Auto, conversationRow, []Prompt{talk}, 0},
		"messages":         {"", Auto, strings.Replace(conversationRow, "prompt", "messages", 1), []Prompt{talk}, 0},
		"a bare one":       {"", Auto, strings.TrimSuffix(strings.TrimPrefix(conversationRow, `{"prompt":`), "}"), []Prompt{talk}, 0},
		"bare ones":        {"a.jsonl", Auto, `[{"role":"developer","content":"be"},{"role":"user","content":"one"}]`, []Prompt{{Line: 1, Text: "one", System: "be"}}, 0},
		"parts":            {"", Auto, `{"messages":[{"role":"user","content":[{"type":"text","text":"o"},{"type":"text","text":"ne"}]}]}`, []Prompt{{Line: 1, Text: "one"}}, 0},
		"history":          {"", Auto, `{"prompt":"two","system":"be","history":[{"role":"user","content":"one"},{"role":"assistant","content":"1"}]}`, []Prompt{talk}, 0},
		"with an answer":   {"", Auto, `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"1"}]}`, []Prompt{{Line: 1, Text: "one", Reference: "1"}}, 1},
		"messages in CSV":  {"a.csv", Auto, "messages;id\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"one\"\"}]\";1\n", []Prompt{{Line: 2, Text: "one", ID: json.RawMessage(`"1"`)}}, 0},
		"MT-Bench": {"question.jsonl", Auto, `{"question_id": 81, "category": "math", "turns": ["one", "two"], "reference": ["1", "2"]}`, []Prompt{
			{Line: 1, ID: json.RawMessage("81"), Text: "one", Turns: []string{"one", "two"}, Category: "math", Reference: "1"}}, 1},
		"Vicuna":            {"", Auto, `{"question_id": 1, "text": "one", "category": "generic"}`, []Prompt{{Line: 1, ID: json.RawMessage("1"), Text: "one", Category: "generic"}}, 0},
		"names in capitals": {"", Auto, `{"Prompt":"one","CATEGORY":"x"}`, []Prompt{{Line: 1, Text: "one", Category: "x"}}, 0},
		"our preferences":   {"preferences.jsonl", Auto, strings.Repeat(strings.TrimSuffix(conversationRow, "}")+`,"chosen":[{"role":"assistant","content":"2"}],"rejected":[],"chosen_lambda":1.0,"rejected_lambda":0.5,"seed":"18446744073709551615","question":"pairwise"}`+"\n", 2), []Prompt{talk}, 1},
		"our labels":        {"", Auto, `{"prompt":"one","completion":"x","label":true,"lambda":1.0,"rater":"Ann","question":"likert","category":"k"}`, []Prompt{{Line: 1, Text: "one", Category: "k"}}, 0},
		"our outputs":       {"", Auto, `{"prompt":0,"lambda":0.5,"sample":0,"text":"x","asked":"one","system":"s"}` + "\n" + `{"prompt":0,"lambda":1,"sample":0,"text":"y","asked":"one","system":"s"}`, []Prompt{{Line: 1, Text: "one", System: "s"}}, 1},
		"our sweep's CSV":   {"outputs.csv", Auto, "\ufeffprompt,category,asked,lambda,sample,text\n0,k,one,0.5,0,x\n0,k,one,1,0,y\n", []Prompt{{Line: 2, Text: "one", Category: "k"}}, 1},
		"our ratings":       {"ratings.csv", Auto, "rating,question,annotator,prompt,category,prompt_text,text\n1,pairwise,Ann,1,k,one,x\n", []Prompt{{Line: 2, Text: "one", Category: "k"}}, 0},
		"our study": {"study.jsonl", Auto, `{"type":"study","format":"realign-study","version":1,"setup":{"system":"be"}}` + "\n" +
			`{"type":"prompt","place":1,"line":1,"name":"a","prompt":"one"}` + "\n" + `{"type":"output","id":"1","prompt":1,"lambda":0,"text":"x"}` + "\n" +
			`{"type":"rating","item":"1","shown":["1"],"prompt":1}`, []Prompt{{Line: 2, ID: json.RawMessage(`"a"`), Text: "one", System: "be"}}, 0},
		"our session": {"session.json", Auto, `{"format":"realign-session","version":1,"runs":[{"spec":{"prompt":"two","system":"be","history":[{"role":"user","content":"one"},{"role":"assistant","content":"1"}],"seed":"7"},"events":[]}]}`, []Prompt{talk}, 0},
	} {
		set, err := Read(strings.NewReader(test.text), test.file, Options{Format: test.format, MaxPrompts: 2, MaxBytes: 4096})
		if err != nil || !reflect.DeepEqual(set.Prompts, test.want) || len(set.Notes) != test.notes {
			t.Errorf("%s: %+v, %v\nwant %+v", name, set, err, test.want)
		}
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for name, test := range map[string]struct {
		file   string
		format Format
		text   string
		says   string
	}{
		"nothing":           {"a.txt", Auto, " \n ", "give at least one"},
		"nothing in CSV":    {"a.csv", Auto, "", "give at least one"},
		"nothing in JSON":   {"a.json", Auto, "[]", "give at least one"},
		"only a head":       {"a.csv", Auto, "prompt\n", "give at least one"},
		"no column":         {"a.csv", Auto, "question text,id\nx,1\n", "line 1: no column is called “prompt”: the first row names the columns, and has “question text”, “id”"},
		"no column;":        {"a.csv", Auto, "frage;id\nx;1\n", "line 1: no column is called “prompt”: the first row names the columns, and has “frage”, “id”"},
		"twice":             {"a.csv", Auto, "prompt,Prompt\na,b\n", `line 1: has the column "prompt" twice`},
		"columns":           {"a.csv", Auto, "prompt,category\none,a\ntwo\n", "line 3: has another number of columns"},
		"quotes":            {"a.csv", Auto, "prompt\none\n\"two\nthree\n", "line 3: the row that begins here has a quotation mark too many, or too few, at line"},
		"bare quote":        {"a.csv", Auto, "prompt\none\ntw\"o\n", "line 3: the row that begins here has a quotation mark too many, or too few, at line 3, column 3"},
		"after sep=":        {"a.csv", Auto, "sep=;\nprompt;b\none\n", "line 3: has another number of columns"},
		"head after sep=":   {"a.csv", Auto, "sep=;\nfrage;id\nx;1\n", "line 2: no column is called “prompt”: the first row names the columns, and has “frage”, “id”"},
		"empty in CSV":      {"a.csv", Auto, "prompt,category\none,a\n,b\n", "line 3: the prompt is empty"},
		"no JSON":           {"a.jsonl", Auto, "{\"prompt\":\"one\"}\n\n{prompt", "line 3, column 2: is not JSON"},
		"cut JSON":          {"a.json", Auto, "[\"one\",\n{\"prompt\":\"two\"", "line 2, column 15: is not JSON"},
		"a bad third line":  {"", Auto, "{\"prompt\":\"one\"}\n{\"prompt\":\"two\"}\n{\"prompt\" \"three\"}\n", "line 3, column 11: is not JSON"},
		"a list of texts":   {"a.jsonl", Auto, "{\"prompt\":\"one\"}\n[\"one\"]", "line 2: “messages” is not a list of messages"},
		"a number":          {"a.jsonl", Auto, "7", "line 1: is a number, where a text, an object or a list of messages is needed"},
		"no prompt":         {"", Auto, `{"promt":"one"}`, "line 1: has neither “prompt” nor “messages” nor “turns”"},
		"a number for one":  {"", Auto, `{"prompt":1}`, "line 1: “prompt” is a number, where a text or a list of messages is needed"},
		"a list for a text": {"", Auto, `{"prompt":"a","system":["b"]}`, "line 1: “system” is a list, where a text is needed"},
		"an id":             {"", Auto, `{"prompt":"one","id":[1]}`, "line 1: “id” is a list"},
		"a seed":            {"", Auto, `{"prompt":"one","seed":-1}`, "line 1: “seed” is -1, which is not a whole number"},
		"both":              {"", Auto, `{"prompt":"one","messages":[{"role":"user","content":"x"}]}`, "line 1: has both a prompt and messages"},
		"no messages":       {"", Auto, `{"messages":[]}`, "line 1: “messages” is empty"},
		"no user":           {"", Auto, `{"messages":[{"role":"system","content":"x"}]}`, "line 1: “messages” has no message of the user's"},
		"a role":            {"", Auto, `{"messages":[{"role":"robot","content":"x"}]}`, `line 1: “messages”: message 1 is of the role "robot", where "user" is expected`},
		"two users":         {"", Auto, `{"messages":[{"role":"user","content":"x"},{"role":"user","content":"y"}]}`, `line 1: “messages”: message 2 is of the role "user", where "assistant" is expected`},
		"a picture":         {"", Auto, `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, `line 1: “messages”: message 1: its content has a part of the type "image_url"`},
		"content":           {"", Auto, `{"messages":[{"role":"user","content":7}]}`, "line 1: “messages”: message 1: its content is a number"},
		"two systems":       {"", Auto, `{"system":"a","messages":[{"role":"system","content":"b"},{"role":"user","content":"x"}]}`, "line 1: has two system prompts"},
		"history":           {"", Auto, `{"prompt":"a","history":[{"role":"user","content":"b"}]}`, "line 1: “history” ends with a message of the user's"},
		"no turns":          {"", Auto, `{"turns":[]}`, "line 1: “turns” is empty"},
		"turns of numbers":  {"", Auto, `{"turns":[1]}`, "line 1: “turns” is not a list of texts"},
		"an empty turn":     {"", Auto, `{"turns":["\u2003","x"]}`, "line 1: the prompt is empty"},
		"empty in JSON":     {"a.json", Auto, "[\"a\",\n{\"prompt\":\" \\u00a0\"}]", "line 2: the prompt is empty"},
		"bytes":             {"a.txt", Auto, "one\ntw\xffo", "line 2, column 3: is not valid UTF-8"},
		"late bytes":        {"a.txt", Auto, strings.Repeat("é\n", 5000) + "\xff", "line 5001, column 1: is not valid UTF-8"},
		"many":              {"a.txt", Auto, "a\nb\nc\nd", "line 4: more than 3 prompts"},
		"many in CSV":       {"a.csv", Auto, "prompt\na\nb\nc\nd\n", "line 5: more than 3 prompts"},
		"large":             {"a.txt", Auto, strings.Repeat("x", 1<<20+1), "more than 1048576 bytes"},
		"a format":          {"", "xml", "<a/>", `"xml" is none of blocks, csv, json, jsonl, lines`},
		"a spreadsheet":     {"a.XLSX", Auto, "PK", "\"a.XLSX\" is not a text: save it as CSV"},
		"a zero byte":       {"", Auto, "one\ntwo\x00", "line 2, column 4: is not a text: it holds a zero byte"},
		"a reply":           {"", Auto, `{"id":1,"lane":0,"lambda":1,"sample":0,"text":"x","tokens":[1]}`, "line 1: is a reply, and does not say what was asked"},
	} {
		_, err := Read(strings.NewReader(test.text), test.file, Options{Format: test.format, MaxPrompts: 3, MaxBytes: 1 << 20})
		if f := fault.Of(err); f == nil || f.Kind != fault.Invalid || !strings.HasPrefix(f.Message, test.says) || f.Field == "" {
			t.Errorf("%s: %v, want %s", name, err, test.says)
		}
	}
}

// endless is a file that never ends.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.read += int64(len(p))
	return len(p), nil
}

// TestLimitsWhileReading: a file that is too large is not read to its end.
func TestLimitsWhileReading(t *testing.T) {
	var e endless
	if _, err := Read(&e, "a.txt", Options{MaxBytes: 1 << 16}); fault.KindOf(err) != fault.Invalid || e.read > 1<<18 {
		t.Errorf("%d bytes were read: %v", e.read, err)
	}
}

// TestJSON: a prompt written as JSON is read as the same, on a line of its own and within another value.
func TestJSON(t *testing.T) {
	for _, p := range []Prompt{
		{Text: "one"},
		{Text: "two", System: "be", History: []decode.Message{user("one"), assistant("1")}, Context: "c", Reference: "r", Category: "k", Seed: seed(1<<64 - 1), ID: json.RawMessage("7.50"), Other: other("a", `{"b":[null]}`, "text", `"t"`)},
		{Text: "one", Turns: []string{"one", "two"}, ID: json.RawMessage(`"x"`)},
	} {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var again Prompt
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("%s is read as %+v, %v", text, again, err)
		}
		set, err := Read(bytes.NewReader(text), "", Options{})
		if p.Line = 1; err != nil || !reflect.DeepEqual(set.Prompts[0], p) {
			t.Errorf("%s is read as %+v, %v", text, set, err)
		}
	}
}

func TestMessages(t *testing.T) {
	p := Prompt{Text: "two", Context: "c", History: []decode.Message{user("one"), assistant("1")}}
	if got, want := fmt.Sprint(p.Messages("be", p.Asked())), "[{system be} {user one} {assistant 1} {user c\n\ntwo}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !p.Has("context") || p.Has("reference") {
		t.Error("columns")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("", "", []byte("one\n\ntwo"))
	f.Add("a.csv", "", []byte("prompt;id\n\"a\"\"b\";1\n"))
	f.Add("a.json", "", []byte(`[{"turns":["a"],"question_id":1}]`))
	f.Fuzz(func(t *testing.T, name, format string, data []byte) {
		set, err := Read(bytes.NewReader(data), name, Options{Format: Format(format), MaxBytes: 1 << 20, MaxPrompts: 1000})
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("%v", err)
			}
			return
		}
		lines := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n") + 1 + len(data)/2
		for i := range set.Prompts {
			p := set.Prompts[i]
			if strings.TrimSpace(p.Text) == "" || p.Line < 1 || p.Line > lines || i > 0 && p.Line < set.Prompts[i-1].Line {
				t.Errorf("prompt %d is %+v", i, p)
			}
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatalf("%+v: %v", p, err)
			}
			var again Prompt
			if err := json.Unmarshal(text, &again); err != nil {
				t.Errorf("%s cannot be read again: %v", text, err)
			}
			if again.Line = p.Line; again.Text != p.Text || again.System != p.System || !reflect.DeepEqual(again.History, p.History) {
				t.Errorf("%s is read as %+v", text, again)
			}
		}
	})
}

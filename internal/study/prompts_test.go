package study

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"realign/internal/fault"
)

func TestParsePrompts(t *testing.T) {
	for name, test := range map[string]struct {
		format Format
		text   string
		want   []Prompt
	}{
		"lines":  {Lines, "\ufeffone\r\n\r\n  two \n", []Prompt{{Place: 1, Line: 1, Text: "one"}, {Place: 2, Line: 3, Text: "two"}}},
		"blocks": {Blocks, "\none\nmore\n \n\ntwo", []Prompt{{Place: 1, Line: 2, Text: "one\nmore"}, {Place: 2, Line: 6, Text: "two"}}},
		"csv": {CSV, "category,prompt,other\nhi,\"one,\nmore\",x\n,two,\n", []Prompt{
			{Place: 1, Line: 2, Text: "one,\nmore", Category: "hi"}, {Place: 2, Line: 4, Text: "two"},
		}},
		"csv, only prompts": {CSV, "Prompt\none\ntwo\n", []Prompt{{Place: 1, Line: 2, Text: "one"}, {Place: 2, Line: 3, Text: "two"}}},
		"jsonl": {JSONL, `{"id":"a","prompt":"one","system":"be","category":"hi"}` + "\n\n" + `{"prompt":"two","id":17}`, []Prompt{
			{Place: 1, Line: 1, Name: "a", Text: "one", System: "be", Category: "hi"}, {Place: 2, Line: 3, Name: "17", Text: "two"},
		}},
		"MT-Bench": {JSONL, `{"question_id": 81, "category": "writing", "turns": ["Compose a post.", "Rewrite it."]}`, []Prompt{
			{Place: 1, Line: 1, Name: "81", Text: "Compose a post.", Category: "writing"},
		}},
		"Vicuna": {JSONL, `{"question_id": 1, "text": "How can I improve?", "category": "generic"}`, []Prompt{
			{Place: 1, Line: 1, Name: "1", Text: "How can I improve?", Category: "generic"},
		}},
	} {
		got, err := ParsePrompts([]byte(test.text), test.format)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestParsePromptsNamesTheLine(t *testing.T) {
	for name, test := range map[string]struct {
		format     Format
		text, want string
	}{
		"nothing":         {Lines, " \n ", "there are none"},
		"nothing in CSV":  {CSV, "", "there are none"},
		"only a head":     {CSV, "prompt\n", "there are none"},
		"no column":       {CSV, "question text,id\nx,1\n", "line 1: no column is called “prompt”"},
		"columns":         {CSV, "prompt,category\none,a\ntwo\n", "line 3: has another number of columns"},
		"quotes":          {CSV, "prompt\none\n\"two\nthree\n", "line 3: the row that begins here has a quotation mark"},
		"bare quote":      {CSV, "prompt\none\ntw\"o\n", "line 3: the row that begins here has a quotation mark"},
		"empty in CSV":    {CSV, "prompt,category\none,a\n,b\n", "line 3: the prompt is empty"},
		"no JSON":         {JSONL, `{"prompt":"one"}` + "\n\n{prompt", "line 3: is not JSON"},
		"no object":       {JSONL, `{"prompt":"one"}` + "\n[1]", "line 2: is not an object"},
		"no prompt":       {JSONL, `{"question":"one"}`, `line 1: has neither "prompt" nor "turns"`},
		"a number":        {JSONL, `{"prompt":1}`, "line 1: “prompt” is a number"},
		"an id":           {JSONL, `{"prompt":"one","id":[1]}`, "line 1: the id is neither"},
		"empty in JSON":   {JSONL, `{"prompt":"one"}` + "\n" + `{"prompt":" "}`, "line 2: the prompt is empty"},
		"bytes":           {Lines, "one\ntw\xffo", "line 2: is not valid UTF-8"},
		"a long prompt":   {Lines, "one\n" + strings.Repeat("x", 256<<10+1), "line 2: the prompt has 262145 bytes, at most 262144"},
		"a long category": {CSV, "prompt,category\none," + strings.Repeat("é", 61), "line 2: the category has 61 characters, at most 60"},
		"many":            {Lines, strings.Repeat("x\n", MaxPrompts+1), "2001 prompts, at most 2000"},
		"large":           {Lines, strings.Repeat("x", MaxPromptFile+1), "8388609 bytes, at most 8388608"},
		"a format":        {"xml", "<a/>", `"xml" is none of`},
	} {
		_, err := ParsePrompts([]byte(test.text), test.format)
		if f := fault.Of(err); f == nil || f.Kind != fault.Invalid || !strings.HasPrefix(f.Message, test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if _, err := FormatOf("questions.xlsx"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("%v", err)
	}
}

// TestEmptyPrompts: in no format does an empty prompt get in, however its emptiness is written. Where it has a line of its
// own that line is named; a blank line says nothing.
func TestEmptyPrompts(t *testing.T) {
	for _, empty := range []string{"", " ", "\t \u00a0", "\u2003"} {
		quoted, _ := json.Marshal(empty)
		for format, text := range map[Format]string{
			CSV:   "prompt,category\none,a\n\"" + empty + "\",b\ntwo,c\n",
			JSONL: `{"prompt":"one"}` + "\n{\"prompt\":" + string(quoted) + "}\n",
		} {
			_, err := ParsePrompts([]byte(text), format)
			line := map[Format]int{CSV: 3, JSONL: 2}[format]
			if f := fault.Of(err); f == nil || f.Kind != fault.Invalid || f.Field != "prompts" || f.Message != fmt.Sprintf("line %d: the prompt is empty", line) {
				t.Errorf("%s with %q: %v", format, empty, err)
			}
		}
		turns := `{"turns":[` + string(quoted) + `,"And then?"]}`
		if _, err := ParsePrompts([]byte(turns), JSONL); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", turns, err)
		}
		for _, format := range []Format{Lines, Blocks} {
			prompts, err := ParsePrompts([]byte("one\n\n"+empty+"\n\ntwo\n"), format)
			if err != nil || len(prompts) != 2 || prompts[1].Line != 5 {
				t.Errorf("%s with %q: %+v, %v", format, empty, prompts, err)
			}
			if _, err := ParsePrompts([]byte(empty+"\n"+empty), format); fault.KindOf(err) != fault.Invalid || fault.Of(err).Message != "there are none" {
				t.Errorf("nothing but %q as %s: %v", empty, format, err)
			}
		}
	}
}

func TestPromptsThatCannotBeAskedNameTheirLine(t *testing.T) {
	s := newSetup()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	s.Mode = "plain"
	prompts := []Prompt{{Place: 1, Line: 3, Text: "x"}, {Place: 2, Line: 7, Text: "x", System: "be"}}
	if f := fault.Of(s.CheckPrompts(prompts)); f == nil || !strings.HasPrefix(f.Message, "line 7: system") {
		t.Errorf("%v", f)
	}
}

func FuzzParsePrompts(f *testing.F) {
	for _, text := range []string{"one\n\ntwo", "prompt,id\n\"a\"\"b\",1\n", `{"turns":["a"],"question_id":1}`, "\xff", "\"", "prompt\n\"\n\""} {
		for _, format := range []Format{Lines, Blocks, JSONL, CSV} {
			f.Add([]byte(text), string(format))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, format string) {
		prompts, err := ParsePrompts(data, Format(format))
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("%v", err)
			}
			return
		}
		for i, p := range prompts {
			if p.Place != i+1 || strings.TrimSpace(p.Text) == "" || p.Line < 1 || p.Line > strings.Count(string(data), "\n")+1 {
				t.Errorf("prompt %d is %+v", i, p)
			}
		}
	})
}

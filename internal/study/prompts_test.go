package study

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/prompt"
)

// TestReadPrompts: what a study adds to the reading of prompts: places, and limits of its own.
func TestReadPrompts(t *testing.T) {
	read := func(text, name string, format prompt.Format) ([]Prompt, error) {
		prompts, _, err := ReadPrompts(strings.NewReader(text), name, format)
		return prompts, err
	}
	got, err := read(`{"id":" a ","prompt":[{"role":"user","content":"zero"},{"role":"assistant","content":"0"},{"role":"user","content":"one"}],"category":" hi\tyou ","source":7}`+"\n\n"+
		`{"turns":["two","three"],"context":"c"}`, "a.jsonl", prompt.Auto)
	want := []Prompt{
		{Place: 1, Line: 1, Name: "a", Text: "one", History: []decode.Message{{Role: "user", Content: "zero"}, {Role: "assistant", Content: "0"}}, Category: "hi you", Other: map[string]json.RawMessage{"source": json.RawMessage("7")}},
		{Place: 2, Line: 3, Text: "c\n\ntwo", Turns: []string{"two", "three"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	s := newSetup()
	if m := s.spec(&got[0]); len(m.History) != 2 || m.Prompt != "one" {
		t.Errorf("%+v: the conversation before the prompt is not decoded", m)
	}
	if asked := fmt.Sprint(s.asked(&got[0])); !strings.Contains(asked, "{assistant 0} {user one}") {
		t.Errorf("rows for training ask %s", asked)
	}
	for text, says := range map[string]string{
		"one\n" + strings.Repeat("x", 256<<10+1):               "line 2: the prompt has 262145 bytes, at most 262144",
		"prompt,category\none," + strings.Repeat("é", 61):      "line 2: the category has 61 characters, at most 60",
		"prompt,id\none," + strings.Repeat("é", 61):            "line 2: the id has 61 characters, at most 60",
		"prompt,system\none," + strings.Repeat("x", 256<<10+1): "line 2: the system prompt has 262145 bytes, at most 262144",
		strings.Repeat("x\n", MaxPrompts+1):                    "line 2001: more than 2000 prompts",
		strings.Repeat("x", MaxPromptFile+1):                   "more than 8388608 bytes",
	} {
		if _, err := read(text, "", prompt.Auto); fault.KindOf(err) != fault.Invalid || !strings.HasPrefix(fault.Of(err).Message, says) {
			t.Errorf("%.40q: %v, want %s", text, err, says)
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
	prompts[1] = Prompt{Place: 2, Line: 8, Text: "x", History: []decode.Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}}}
	if f := fault.Of(s.CheckPrompts(prompts)); f == nil || !strings.HasPrefix(f.Message, "line 8: a conversation needs the chat template") {
		t.Errorf("%v", f)
	}
}

package prompt

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"realign/internal/fault"
)

func TestRows(t *testing.T) {
	data, err := Clean([]byte("\ufeffone\r\n\r\n  two \n"), 100)
	if err != nil || string(data) != "one\n\n  two \n" {
		t.Fatalf("%q, %v", data, err)
	}
	if got, want := Lines(data), []Row{{Line: 1, Text: "one"}, {Line: 3, Text: "two"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("lines %+v", got)
	}
	if got, want := Blocks([]byte("\none\n more \n \n\ntwo")), []Row{{Line: 2, Text: "one\n more"}, {Line: 6, Text: "two"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("blocks %+v", got)
	}
	head, rows, err := Table([]byte("a,b\n\"x\ny\",1\n\n,2\n"))
	want := []Row{{Line: 2, Cells: []string{"x\ny", "1"}}, {Line: 5, Cells: []string{"", "2"}}}
	if err != nil || !reflect.DeepEqual(head, []string{"a", "b"}) || !reflect.DeepEqual(rows, want) {
		t.Errorf("table %q %+v, %v", head, rows, err)
	}
	if head, rows, err := Table(nil); head != nil || rows != nil || err != nil {
		t.Errorf("an empty table: %q %v %v", head, rows, err)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	clean := func(text string) error { _, err := Clean([]byte(text), 20); return err }
	table := func(text string) error { _, _, err := Table([]byte(text)); return err }
	for says, err := range map[string]error{
		"21 bytes, at most 20":                            clean(strings.Repeat("x", 21)),
		"line 2: is not valid UTF-8":                      clean("a\nb\xff"),
		"line 3: has another number of columns":           table("a,b\n1,2\n3\n"),
		"line 2: the row that begins here has a quotati":  table("a\n\"b\nc\n"),
		"line 3: the row that begins here has a quotat":   table("a\nb\nc\"d\n"),
		"line 1: the row that begins here has a quotatio": table("\"a"),
		"line 1: no column is called “prompt”: the first row names the columns, and has “x”, “" + strings.Repeat("é", 30) + "…”": NoPrompt([]string{"x", strings.Repeat("é", 31)}),
	} {
		f := fault.Of(err)
		if f == nil || f.Kind != fault.Invalid || f.Field != "prompts" || !strings.HasPrefix(f.Message, says) {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

func FuzzRows(f *testing.F) {
	for _, text := range []string{"one\n\ntwo", "prompt,id\n\"a\"\"b\",1\n", "\xff", "\"", "prompt\n\"\n\"", "\ufeff\r\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		clean, err := Clean(data, 1<<20)
		if err != nil {
			return
		}
		head, table, err := Table(clean)
		if err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%v", err)
		}
		for _, r := range table {
			if len(r.Cells) != len(head) {
				t.Errorf("%d cells below %d names", len(r.Cells), len(head))
			}
		}
		last := 0
		for _, rows := range [][]Row{Lines(clean), Blocks(clean), table} {
			last = 0
			for _, r := range rows {
				if r.Line <= last || r.Line > bytes.Count(clean, []byte("\n"))+1 {
					t.Errorf("line %d after %d", r.Line, last)
				}
				last = r.Line
			}
		}
	})
}

package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/prompt"
	"realign/internal/sweep"
	"realign/internal/sweep/export"
)

func setup() *sweep.Setup {
	return &sweep.Setup{
		Config:      sweep.Config{Prompts: sweep.Prompts{Rows: []sweep.Row{{Text: "Why, \"you\"?\nSo", Category: "a"}, {Text: "é"}}}},
		RewardInfos: []sweep.RewardInfo{{Name: "length"}, {Name: "my, judge"}},
	}
}

func outputs() []sweep.Output {
	return []sweep.Output{
		{Cell: sweep.Cell{Prompt: 0, Lambda: 1.0 / 3, Sample: 3}, Text: "a, \"b\"\nc", Tokens: 4, Finish: decode.EndStop, KL: 0, LogZ: -1,
			LogpReference: -2, LogpAligned: -3, LogQ: []float64{-1, -2},
			Rewards: map[string]sweep.Value{"length": sweep.Of(0), "my, judge": sweep.Missing("it slept")}},
		{Cell: sweep.Cell{Prompt: 1, Lambda: 1}, Finish: decode.EndError, Error: "too long"},
	}
}

func write(t *testing.T, f export.Format) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := export.New(f, &buf, setup())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outputs() {
		if err := w.Write(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestJSONL(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(write(t, export.JSONL))), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	var o struct {
		sweep.Output
		Asked string
	}
	if err := json.Unmarshal([]byte(lines[0]), &o); err != nil {
		t.Fatal(err)
	}
	if o.Lambda != 1.0/3 || o.Text != "a, \"b\"\nc" || o.Asked != "Why, \"you\"?\nSo" || o.Rewards["my, judge"].Missing != "it slept" || o.Rewards["length"] != sweep.Of(0) {
		t.Errorf("read %+v from %s", o, lines[0])
	}
	if !strings.Contains(lines[1], `"error":"too long"`) {
		t.Errorf("line 2 is %s", lines[1])
	}
}

func TestCSV(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(write(t, export.CSV))).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%q, %v", rows, err)
	}
	get := func(row int, name string) string {
		for i, head := range rows[0] {
			if head == name {
				return rows[row][i]
			}
		}
		t.Fatalf("no column %q in %q", name, rows[0])
		return ""
	}
	for _, c := range []struct {
		row        int
		name, want string
	}{
		{1, "lambda", "0.3333333333333333"}, {1, "asked", "Why, \"you\"?\nSo"}, {1, "reward: length", "0"}, {1, "reward: my, judge", ""},
		{1, "missing: my, judge", "it slept"}, {1, "kl", "0"}, {2, "kl", ""}, {2, "reward: length", ""}, {2, "error", "too long"},
	} {
		if got := get(c.row, c.name); got != c.want {
			t.Errorf("row %d, %s: %q, want %q", c.row, c.name, got, c.want)
		}
	}
}

func TestParquet(t *testing.T) {
	data := write(t, export.Parquet)
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil || f.NumRows() != 2 {
		t.Fatalf("%v rows, %v", f, err)
	}
	rows := make([]parquet.Row, 2)
	reader := f.RowGroups()[0].Rows()
	defer reader.Close()
	if n, _ := reader.ReadRows(rows); n != 2 {
		t.Fatalf("%d rows", n)
	}
	at := map[string]int{}
	for i, path := range f.Schema().Columns() {
		at[path[0]] = i
	}
	if len(at) != 17 {
		t.Errorf("columns %v", at)
	}
	first, second := rows[0], rows[1]
	if first[at["lambda"]].Double() != 1.0/3 || first[at["text"]].String() != "a, \"b\"\nc" || first[at["sample"]].Int64() != 3 ||
		first[at["reward: length"]].IsNull() || first[at["reward: length"]].Double() != 0 || !first[at["reward: my, judge"]].IsNull() {
		t.Errorf("first row %v", first)
	}
	if !second[at["kl"]].IsNull() || !second[at["reward: length"]].IsNull() || second[at["error"]].String() != "too long" {
		t.Errorf("second row %v", second)
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := export.New("xls", &bytes.Buffer{}, setup()); fault.Of(err) == nil || fault.Of(err).Field != "format" {
		t.Errorf("xls: %v", err)
	}
}

// TestSpreadsheets: what a model or the owner of the prompts wrote is computed by no spreadsheet, and both tables are read again as
// the prompts that they are about.
func TestSpreadsheets(t *testing.T) {
	s := setup()
	s.Config.Prompts.Rows[0] = sweep.Row{Text: "=1+1", Category: "-x", System: "be", History: []decode.Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}}}
	for _, f := range []export.Format{export.CSV, export.JSONL} {
		var buf bytes.Buffer
		w, err := export.New(f, &buf, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outputs() {
			o.Text = `=HYPERLINK("http://evil")`
			if err := w.Write(o); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if text := buf.String(); f == export.CSV && (!strings.HasPrefix(text, "\ufeff") || !strings.Contains(text, `"'=HYPERLINK(""http://evil"")"`) || !strings.Contains(text, ",'=1+1,") || strings.Contains(text, ",=")) {
			t.Errorf("the table is %q", text)
		}
		set, err := prompt.Parse(buf.Bytes(), "outputs."+string(f), prompt.Options{})
		if err != nil || len(set.Prompts) != 2 || set.Prompts[0].Text != "=1+1" || set.Prompts[0].Category != "-x" || set.Prompts[1].Text != "é" {
			t.Fatalf("%s: its prompts are read as %+v, %v", f, set, err)
		}
		if p := set.Prompts[0]; f == export.JSONL && (p.System != "be" || len(p.History) != 2) {
			t.Errorf("the conversation is read as %+v", p)
		}
	}
}

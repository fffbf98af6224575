package run_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"realign/internal/decode"
	"realign/internal/run"
	"realign/internal/run/runtest"
)

// Without the alternatives a transcript is the same otherwise, whatever stands in its texts.
func TestReadTexts(t *testing.T) {
	s := runtest.OpenStore(t)
	h := runtest.NewHub(t, s, &runtest.Decoder{}, nil)
	r := runtest.Start(t, h, runtest.Spec(3, 20))
	runtest.ToEnd(t, runtest.Watching(t, h, r.ID, 0))
	r, want := runtest.Ended(t, s, r.ID)
	got, err := run.ReadTexts(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Lanes {
		for j := range want.Lanes[i].Tokens {
			if want.Lanes[i].Tokens[j].Top == nil {
				t.Fatal("the log has no alternatives")
			}
			want.Lanes[i].Tokens[j].Top = nil
		}
	}
	if a, b := asJSON(t, got), asJSON(t, want); a != b {
		t.Errorf("%s\nwant\n%s", a, b)
	}
	for _, text := range []string{`,"top":{`, `a,`, `"}`, `\`, `{"top":{}}`, "\u2028,\"top\":{"} {
		event := decode.Event{Type: decode.EventToken, Text: text, Name: text, Top: &decode.Top{Mixture: []decode.Alternative{{ID: 1, Name: text}}}, Reason: text}
		raw, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		spec := runtest.Spec(1, 20)
		whole, brief := run.NewTranscript(&spec), run.NewTexts(&spec)
		for _, tr := range []*run.Transcript{whole, brief} {
			if err := tr.Add(run.Event{Seq: 1, Event: raw}); err != nil {
				t.Fatal(err)
			}
		}
		whole.Lanes[0].Tokens[0].Top = nil
		if !reflect.DeepEqual(whole.Lanes, brief.Lanes) {
			t.Errorf("%q: %+v, want %+v", text, brief.Lanes, whole.Lanes)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

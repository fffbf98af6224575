package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/run"
)

func TestEventsKeepTheirNumbersAndBounds(t *testing.T) {
	for _, size := range []int{2, 900, 5000, maxBatchBytes + 10} {
		for _, n := range []int{0, 1, 255, 256, 257, 700} {
			if n > 1 && size > maxBatchBytes {
				n = 3
			}
			events := make([]run.Event, n)
			for i := range events {
				body := fmt.Sprintf(`{"pad":%q}`, strings.Repeat("x", size))
				events[i] = run.Event{Run: "r", Seq: 41 + i, Event: json.RawMessage(body)}
			}
			next := 41
			for _, frame := range encodeEvents("r", events) {
				var got struct {
					Type   string            `json:"type"`
					Run    string            `json:"run"`
					First  int               `json:"first"`
					Events []json.RawMessage `json:"events"`
				}
				if err := json.Unmarshal(frame, &got); err != nil {
					t.Fatalf("size %d, n %d: %v", size, n, err)
				}
				if got.Type != "events" || got.Run != "r" || got.First != next {
					t.Fatalf("size %d, n %d: frame %q of %q begins at %d, want %d", size, n, got.Type, got.Run, got.First, next)
				}
				if len(got.Events) > maxBatchEvents || len(got.Events) > 1 && len(frame) > maxBatchBytes+maxBatchEvents+200 {
					t.Fatalf("size %d, n %d: a frame of %d events, %d bytes", size, n, len(got.Events), len(frame))
				}
				next += len(got.Events)
			}
			if next != 41+n {
				t.Fatalf("size %d: frames held %d events of %d", size, next-41, n)
			}
		}
	}
}

func TestBadFramesAreInvalid(t *testing.T) {
	for _, frame := range []string{
		"", " ", "null", "[]", "1", `"x"`, "{", `{"type":`, `{"type":1}`, `{"lane":1.5}`, `{"lambda":"x"}`, `{"lanes":{}}`,
		`{"spec":{"seed":7}}`, `{"spec":{"lanes":[{"lambda":[1,"a"]}]}}`, `{"type":"x"} {}`, "\xff", `{"ref":` + fmt.Sprintf("%q", strings.Repeat("r", 129)) + `}`,
	} {
		_, err := parseFrame([]byte(frame))
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%.40q: %v", frame, err)
		}
	}
	f, err := parseFrame([]byte(`{"ref":"a7","lane":"x"}`))
	if err == nil || f.Ref != "a7" || fault.Of(err).Field != "lane" {
		t.Errorf("ref %q, %v: the ref and the field of a bad frame belong in the answer", f.Ref, err)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte(`{"type":"start","ref":"1","spec":{"pair":"demo","prompt":"x","mode":"chat","lanes":[{"lambda":0}],"seed":"7"}}`))
	f.Add([]byte(`{"type":"lambda","run":"a","lane":0,"lambda":[1,2]}`))
	f.Add([]byte(`{"ref":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := parseFrame(data)
		if err != nil && fault.KindOf(err) != fault.Invalid {
			t.Fatalf("%v", err)
		}
		if len(frame.Ref) > maxRefBytes {
			t.Fatalf("a ref of %d bytes", len(frame.Ref))
		}
	})
}

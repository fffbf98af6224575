package runner_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// schema is a configuration whose only reward is a JSON Schema.
func schema(t *testing.T, text string) *sweep.Config {
	return config(t, func(c map[string]any) {
		c["rewards"] = []any{map[string]any{"reward": "json", "parameters": map[string]any{"schema": json.RawMessage(text)}}}
	})
}

// doublings is a schema of which every level refers to the one below twice.
func doublings(levels int) string {
	text := `{"$ref":"#/$defs/d` + fmt.Sprint(levels) + `","$defs":{"d0":{"not":{"const":"never"}}`
	for i := 1; i <= levels; i++ {
		text += fmt.Sprintf(`,"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i-1, i-1)
	}
	return text + `}}`
}

// A sweep with a schema that never ends is refused.
func TestHostileSchemaIsRefused(t *testing.T) {
	db, d := open(t, t.TempDir()), newQueue(t)
	r := start(t, db, d, nil)
	_, err := r.Create(t.Context(), "ann", "w", schema(t, doublings(34)))
	if f := fault.Of(err); f.Kind != fault.Invalid || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("error is %v", err)
	}
}

// A sweep that was stored with such a schema keeps the server neither from starting nor from stopping; it can be cancelled,
// and fails with the reason when it is left alone.
func TestStoredHostileSchema(t *testing.T) {
	db, d := open(t, t.TempDir()), newQueue(t)
	d.Say("{}")
	go d.Serve(t.Context())
	good := schema(t, `{"type":"object"}`)
	r := start(t, db, d, nil)
	w, err := r.Create(t.Context(), "ann", "good", good)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	// As if it had been stored by a version that did not try schemas. One is broken whatever the answers are.
	for id, text := range map[string]string{"w": doublings(34), "v": doublings(34), "broken": `{"type":"objekt"}`} {
		w.ID, w.Experiment, w.State = id, id, sweep.Running
		w.Setup.Config = *good
		w.Setup.Config.Rewards = []sweep.Reward{{Name: "json", Reward: "json", Parameters: json.RawMessage(`{"schema":` + text + `}`)}}
		if err := db.CreateSweep(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	within := func(what string, most time.Duration, f func()) {
		t.Helper()
		if os.Getenv("REALIGN_SIMULATIONS") == "" {
			most = 20 * time.Second // other programs may take the processor
		}
		began := time.Now()
		f()
		took := time.Since(began)
		t.Logf("%s took %v", what, took)
		if took > most {
			t.Errorf("%s took more than %v", what, most)
		}
	}
	begins := func(what string) {
		t.Helper()
		within(what, 2*time.Second, func() { r = start(t, db, d, nil) })
		if w, err := db.Sweep(t.Context(), "ann", "w"); err != nil || w.State != sweep.Running {
			t.Errorf("%s waited until the sweep was %s: %v", what, w.State, err)
		}
	}
	begins("the start")
	if w := until(t, db, "broken", sweep.Failed); !strings.Contains(w.Reason, "no JSON Schema") {
		t.Errorf("the broken one's reason is %q", w.Reason)
	}
	time.Sleep(time.Second) // a schema is being evaluated
	within("cancelling", 3*time.Second, func() {
		if err := r.Cancel(t.Context(), "ann", "v"); err != nil {
			t.Error(err)
		}
	})
	within("the stop", 5*time.Second, func() { r.Close() })
	begins("the second start")
	if w := until(t, db, "w", sweep.Failed); !strings.Contains(w.Reason, "given up") || !strings.Contains(w.Reason, "longer than") {
		t.Errorf("the reason is %q", w.Reason)
	}
}

package reward

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// doublings is a schema of which every level refers to the one below twice.
func doublings(levels int) string {
	var b strings.Builder
	b.WriteString(`{"schema":{"$ref":"#/$defs/d` + fmt.Sprint(levels) + `","$defs":{"d0":{"not":{"const":"never"}}`)
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, `,"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i-1, i-1)
	}
	return b.String() + `}}}`
}

// recursive is a schema that is harmless unless an answer is nested.
const recursive = `{"schema":{"$ref":"#/$defs/n","$defs":{"n":{"allOf":[{"items":{"$ref":"#/$defs/n"}},{"items":{"$ref":"#/$defs/n"}},{"items":{"$ref":"#/$defs/n"}},{"items":{"$ref":"#/$defs/n"}}]}}}}`

func openOne(ctx context.Context, name, parameters string) (Reward, error) {
	rewards, err := Open(ctx, &sweep.Config{
		Rewards: []sweep.Reward{{Name: "x", Reward: name, Parameters: []byte(parameters)}},
		Prompts: sweep.Prompts{Rows: []sweep.Row{{Text: "p"}}},
	}, Environment{})
	if err != nil {
		return nil, err
	}
	return rewards[0].Reward, nil
}

// A schema of 3 KB whose evaluation doubles 34 times is refused before a sweep starts, at its field.
func TestHostileSchemas(t *testing.T) {
	for name, c := range map[string]struct{ reward, parameters string }{
		"doublings": {"json", doublings(34)},
		"deep":      {"json", `{"schema":` + strings.Repeat(`{"not":`, 20_000) + `{}` + strings.Repeat(`}`, 20_000) + `}`},
		"large":     {"json", `{"schema":{"enum":["` + strings.Repeat("x", maxProgram) + `"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r, err := openOne(t.Context(), c.reward, c.parameters)
			if err == nil {
				err = r.(Checker).Check(t.Context())
			}
			if fault.KindOf(err) != fault.Invalid || time.Since(began) > 30*time.Second {
				t.Errorf("error is %.300v, after %v", err, time.Since(began))
			}
		})
	}
}

// A regular expression of the most states that there may be is judged, or given up, in bounded time.
func TestHostilePattern(t *testing.T) {
	r, err := openOne(t.Context(), "pattern", `{"pattern":"(?:`+strings.Repeat("(.?){900}", 90)+`)$"}`)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	v := r.Score(t.Context(), make([]sweep.Row, 1), []sweep.Output{{Text: strings.Repeat("x", 400_000)}})[0]
	if took := time.Since(began); took > 30*time.Second || !v.OK() && !strings.Contains(v.Missing, "longer than") && !strings.Contains(v.Missing, "memory") {
		t.Errorf("it has %+v after %v", v, took)
	}
}

// A reward whose limits an answer breaks gives missing values with the reason, can be cancelled, and gives up.
func TestRewardGivesUp(t *testing.T) {
	r, err := openOne(t.Context(), "json", recursive)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.(Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	confined := r.(*confined)
	judge := func(ctx context.Context, text string) sweep.Value {
		return r.Score(ctx, make([]sweep.Row, 1), []sweep.Output{{Text: text}})[0]
	}
	if v := judge(t.Context(), "[[1]]"); v != sweep.Of(1) {
		t.Errorf("an honest answer has %+v", v)
	}
	hostile := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if v := judge(ctx, hostile); v.OK() || strings.Contains(v.Missing, "longer than") || time.Since(began) > maxTime {
		t.Errorf("a judging that was stopped has %+v after %v", v, time.Since(began))
	}
	for range maxBroken {
		if confined.GaveUp() != nil {
			t.Fatal("it gave up too early")
		}
		if v := judge(t.Context(), hostile); !strings.Contains(v.Missing, "longer than") {
			t.Errorf("a hostile answer has %+v", v)
		}
	}
	began = time.Now()
	if v := judge(t.Context(), "1"); !strings.Contains(v.Missing, "given up") || time.Since(began) > maxTime {
		t.Errorf("a reward that gave up says %+v after %v", v, time.Since(began))
	}
	if err := AllGaveUp([]Named{{"x", r}}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("the rewards' end is %v", err)
	}
}

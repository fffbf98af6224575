package runner_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"realign/internal/fault"
	"realign/internal/sweep"
	"realign/internal/sweep/runner"
)

// TestJudgeAgain: what an endpoint failed at is asked again, and only that, and nothing is decoded; the report is that of a
// sweep in which nothing failed.
func TestJudgeAgain(t *testing.T) {
	works := filepath.Join(t.TempDir(), "works")
	asked := filepath.Join(t.TempDir(), "asked")
	// It gives each answer its λ, but nothing for λ above 1 while the file is not there.
	command := fmt.Sprintf(`while read -r line; do echo x >> %s; l=$(echo "$line" | sed 's/.*"lambda":\([0-9.]*\).*/\1/');`+
		` case "$l" in 1.5|2) test -e %s && echo "$l" || echo '{"missing":"asleep"}';; *) echo "$l";; esac; done`, asked, works)
	change := func(c map[string]any) {
		c["prompts"] = c["prompts"].([]string)[:3]
		c["rewards"] = []any{"distinct", map[string]any{"reward": "command", "parameters": map[string]any{"command": command}}}
		c["objective"] = "command"
		c["refine"] = map[string]any{"rounds": 0}
	}
	db := open(t, t.TempDir())
	q, left := newCounted(t)
	go q.Serve(t.Context())
	r := start(t, db, q, nil)
	ctx := t.Context()
	if _, err := r.Create(ctx, "ann", "w", config(t, change)); err != nil {
		t.Fatal(err)
	}
	w := until(t, db, "w", sweep.Done)
	var report sweep.Report
	if err := json.Unmarshal(w.Report, &report); err != nil {
		t.Fatal(err)
	}
	if m := report.Reward("command").Missing; len(m) != 1 || m[0].Cells != 3*2*2 || m[0].Reason != "asleep" {
		t.Fatalf("missing %+v", m)
	}
	decoded, _ := q.Decoded()
	questions := size(t, asked)
	if err := os.WriteFile(works, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.JudgeAgain(ctx, "bob", "w"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("somebody else has it judged: %v", err)
	}
	if err := r.JudgeAgain(ctx, "ann", "w"); err != nil {
		t.Fatal(err)
	}
	w = until(t, db, "w", sweep.Done)
	if n := size(t, asked) - questions; n != 2*3*2*2 {
		t.Errorf("%d bytes of questions, want one of two bytes for each of the 12 that failed", n)
	}
	if now, _ := q.Decoded(); now != decoded {
		t.Errorf("%d items are decoded again", now-decoded)
	}
	if w.Reason == "" || w.Ended.IsZero() {
		t.Errorf("it ended as %+v", w)
	}
	want, _ := whole(t, config(t, change)) // nothing fails now
	if string(w.Report) != want {
		t.Errorf("the report is %s, want %s", w.Report, want)
	}

	// Cancelled in the middle, a sweep is judged again, too, and its plan does not go on.
	left.Store(1) // so that it has not ended when it is cancelled
	if _, err := r.Create(ctx, "ann", "v", config(t, nil)); err != nil {
		t.Fatal(err)
	}
	begun(t, r, "v")
	if err := r.Cancel(ctx, "ann", "v"); err != nil {
		t.Fatal(err)
	}
	before, err := db.ExperimentOutputs(ctx, "v", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.JudgeAgain(ctx, "ann", "v"); err != nil {
		t.Fatal(err)
	}
	until(t, db, "v", sweep.Cancelled)
	if after, err := db.ExperimentOutputs(ctx, "v", nil, false); err != nil || len(after) != len(before) {
		t.Errorf("%d outputs, %v, where %d were when it was cancelled", len(after), err, len(before))
	}
}

func size(t *testing.T, file string) int {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

// TestAddRewards: a reward that is added to a sweep at its end says what it would have said from the beginning, and nothing
// is decoded for it; interrupted, the judging goes on.
func TestAddRewards(t *testing.T) {
	ctx := t.Context()
	dir, q := t.TempDir(), newQueue(t)
	db := open(t, dir)
	r := start(t, db, q, nil)
	if _, err := r.Create(ctx, "ann", "w", config(t, nil)); err != nil {
		t.Fatal(err)
	}
	if err := r.AddRewards(ctx, "ann", "w", []sweep.Reward{{Reward: "readability", Name: "readability"}}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("added while it runs: %v", err)
	}
	go q.Serve(ctx)
	until(t, db, "w", sweep.Done)
	decoded, _ := q.Decoded()
	for _, wrong := range []sweep.Reward{{Reward: "nothing", Name: "n"}, {Reward: "distinct", Name: "distinct"}} {
		if err := r.AddRewards(ctx, "ann", "w", []sweep.Reward{wrong}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	more := sweep.Reward{Reward: "length", Name: "short", Parameters: json.RawMessage(`{"low":1,"high":2}`)}
	if err := r.AddRewards(ctx, "ann", "w", []sweep.Reward{more}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = start(t, db, q, nil)
	}
	w := until(t, db, "w", sweep.Done)
	if now, _ := q.Decoded(); now != decoded {
		t.Errorf("%d items are decoded for it", now-decoded)
	}
	// The same from the beginning: the objective is another reward, so the plan is the same.
	want, outputs := whole(t, config(t, func(c map[string]any) {
		c["rewards"] = append(c["rewards"].([]any), map[string]any{"reward": "length", "name": "short", "parameters": map[string]any{"low": 1, "high": 2}})
	}))
	if string(w.Report) != want {
		t.Errorf("the report is\n%s, want\n%s", w.Report, want)
	}
	if got, err := db.Outputs(ctx, "w", nil, true); err != nil || !reflect.DeepEqual(got, outputs) {
		t.Errorf("%d outputs, %v, want %d others", len(got), err, len(outputs))
	}
}

// TestOver: a sweep about an experiment that is there decodes nothing, and reports what one of its own would.
func TestOver(t *testing.T) {
	ctx := t.Context()
	db, q := open(t, t.TempDir()), newQueue(t)
	go q.Serve(ctx)
	r := start(t, db, q, nil)
	c := config(t, func(c map[string]any) { c["refine"] = map[string]any{"rounds": 0}; c["system"] = "ab" })
	if _, err := r.Create(ctx, "ann", "w", c); err != nil {
		t.Fatal(err)
	}
	until(t, db, "w", sweep.Done)
	decoded, _ := q.Decoded()
	e, err := db.Experiment(ctx, "ann", "w")
	if err != nil {
		t.Fatal(err)
	}
	over, err := sweep.Over(&e.Setup, c.Lambda.Values, c.Samples)
	if err != nil {
		t.Fatal(err)
	}
	if over.Seed == c.Seed {
		t.Error("the experiment's seed is in the configuration")
	}
	over.Rewards, over.Objective, over.Seed = c.Rewards, c.Objective, c.Seed
	if _, err := r.CreateOver(ctx, "bob", "v", "w", &over); fault.KindOf(err) != fault.NotFound {
		t.Errorf("over somebody else's: %v", err)
	}
	other := over
	other.Sampling.MaxTokens++
	if _, err := r.CreateOver(ctx, "ann", "v", "w", &other); fault.Of(err).Field != "sampling" {
		t.Errorf("with another sampling: %v", err)
	}
	if _, err := r.CreateOver(ctx, "ann", "v", "w", &over); err != nil {
		t.Fatal(err)
	}
	w, v := until(t, db, "w", sweep.Done), until(t, db, "v", sweep.Done)
	if now, _ := q.Decoded(); now != decoded {
		t.Errorf("%d items are decoded for it", now-decoded)
	}
	if string(v.Report) != string(w.Report) {
		t.Errorf("the report is\n%s, want\n%s", v.Report, w.Report)
	}
}

// TestRewardsThatCannotBeOpened: a sweep whose rewards a restarted server refuses fails with the reason, and no other waits.
func TestRewardsThatCannotBeOpened(t *testing.T) {
	db, q := open(t, t.TempDir()), newQueue(t)
	r := start(t, db, q, nil)
	_, err := r.Create(t.Context(), "ann", "w", config(t, func(c map[string]any) {
		c["rewards"] = []any{map[string]any{"reward": "command", "parameters": map[string]any{"command": "true"}}}
	}))
	if err == nil {
		_, err = r.Create(t.Context(), "ann", "v", config(t, nil))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	go q.Serve(t.Context())
	start(t, db, q, func(c *runner.Config) { c.Rewards.Headless = false })
	if w := until(t, db, "w", sweep.Failed); w.Reason == "" || w.Report == nil {
		t.Errorf("it failed without a reason or a report: %+v", w)
	}
	until(t, db, "v", sweep.Done)
}

// An endpoint that takes long to answer to its trial question keeps no other sweep waiting.
func TestAddRewardsOfASlowEndpoint(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		select {
		case asked <- struct{}{}:
		case <-answer:
		}
		<-answer
		_, _ = io.WriteString(out, "1")
	}))
	defer endpoint.Close()
	ctx := t.Context()
	db, q := open(t, t.TempDir()), newQueue(t)
	go q.Serve(ctx)
	r := start(t, db, q, nil)
	if _, err := r.Create(ctx, "ann", "w", config(t, nil)); err != nil {
		t.Fatal(err)
	}
	until(t, db, "w", sweep.Done)
	added := make(chan error, 1)
	go func() {
		added <- r.AddRewards(ctx, "ann", "w", []sweep.Reward{{Reward: "http", Name: "slow", Parameters: json.RawMessage(`{"url":"` + endpoint.URL + `"}`)}})
	}()
	<-asked
	if _, err := r.Create(ctx, "ann", "v", config(t, nil)); err != nil { // would wait for ever
		t.Fatal(err)
	}
	if err := r.Pause(ctx, "ann", "v"); err != nil && fault.KindOf(err) != fault.Conflict {
		t.Error(err)
	}
	close(answer)
	if err := <-added; err != nil {
		t.Error(err)
	}
	if w := until(t, db, "w", sweep.Done); len(w.Setup.RewardInfos) != 3 {
		t.Errorf("the rewards are %+v", w.Setup.RewardInfos)
	}
}

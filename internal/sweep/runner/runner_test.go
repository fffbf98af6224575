package runner_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/experiment"
	"realign/internal/experiment/experimenttest"
	"realign/internal/fault"
	"realign/internal/store"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
	"realign/internal/sweep/runner"
)

// newQueue is a queue over the table.
func newQueue(t *testing.T) *experimenttest.Queue {
	engine := decode.NewEngine(decodetest.New(decodetest.Options{Seed: 3, EndLogit: -1}), decode.Config{})
	t.Cleanup(func() { engine.Close() })
	return experimenttest.New(experimenttest.Engine(engine))
}

// newCounted is a queue over the table that decodes as many pieces of work as are left.
func newCounted(t *testing.T) (q *experimenttest.Queue, left *atomic.Int64) {
	engine := decode.NewEngine(decodetest.New(decodetest.Options{Seed: 3, EndLogit: -1}), decode.Config{})
	t.Cleanup(func() { engine.Close() })
	left = &atomic.Int64{}
	left.Store(1e6)
	start := experimenttest.Engine(engine)
	return experimenttest.New(func(pair string, r decode.Request, sink func(decode.Event)) (<-chan struct{}, error) {
		if left.Add(-1) < 0 {
			return nil, fault.New(fault.Busy, "no more for now")
		}
		return start(pair, r, sink)
	}), left
}

// begun waits until a sweep has outputs.
func begun(t *testing.T, r *runner.Runner, id string) {
	t.Helper()
	for {
		p, changed, runs := r.Watch(id)
		if p.Outputs > 0 {
			return
		}
		if !runs {
			t.Fatal("the sweep has ended")
		}
		<-changed
	}
}

// pairs knows one pair.
type pairs struct{}

func (pairs) Trained(pair, aligned string) (string, float64, error) {
	if pair != "table" {
		return "", 0, fault.Field("pair", "there is no pair %q", pair)
	}
	if aligned == "" {
		aligned = "warm"
	}
	return aligned, 0.1, nil
}

func (pairs) CheckMix(_, _, mix string) error { return decode.CheckMix("mix", mix) }

func config(t *testing.T, change func(c map[string]any)) *sweep.Config {
	t.Helper()
	c := map[string]any{
		"pair": "table", "lambda": map[string]any{"from": 0, "to": 2, "points": 5}, "samples": 2, "seed": 12, "refine": map[string]any{"rounds": 2},
		"sampling": map[string]any{"max_tokens": 12, "temperature": 1},
		"rewards":  []any{map[string]any{"reward": "length", "parameters": map[string]any{"low": 5, "high": 7}}, "distinct"},
	}
	var prompts []string
	for i := range 12 {
		prompts = append(prompts, strings.Repeat("abcdef"[i%6:i%6+1], 1+i/6)+"a")
	}
	c["prompts"] = prompts
	if change != nil {
		change(c)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := sweep.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{Data: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// stored is the whole store of a runner and its generator.
type stored interface {
	runner.Store
	experiment.Store
}

func start(t *testing.T, db stored, q experiment.Queue, change func(*runner.Config)) *runner.Runner {
	t.Helper()
	return startAmong(t, db, q, nil, change)
}

// startAmong starts a runner beside others that share the store, which are reached by way of the last one.
func startAmong(t *testing.T, db stored, q experiment.Queue, others experiment.Elsewhere, change func(*runner.Config)) *runner.Runner {
	t.Helper()
	g := experiment.NewGenerator(experiment.Config{Store: db, Queue: q, Elsewhere: others, Retry: 10 * time.Millisecond, Window: 4})
	c := runner.Config{Store: db, Generator: g, Pairs: pairs{}, Rewards: reward.Environment{Headless: true}}
	if change != nil {
		change(&c)
	}
	r := runner.New(c)
	t.Cleanup(func() { r.Close(); g.Close() })
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// until waits for a sweep to be in a state.
func until(t *testing.T, db *store.Store, id string, state sweep.State) sweep.Sweep {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		w, err := db.Sweep(t.Context(), "ann", id)
		if err != nil {
			t.Fatal(err)
		}
		if w.State == state {
			return w
		}
	}
	t.Fatalf("the sweep did not become %s", state)
	panic("unreachable")
}

// whole does a sweep without interruption and returns what is known at its end.
func whole(t *testing.T, c *sweep.Config) (string, []sweep.Output) {
	t.Helper()
	db, d := open(t, t.TempDir()), newQueue(t)
	go d.Serve(t.Context())
	r := start(t, db, d, nil)
	w, err := r.Create(t.Context(), "ann", "w", c)
	if err != nil {
		t.Fatal(err)
	}
	w = until(t, db, w.ID, sweep.Done)
	outputs, err := db.Outputs(t.Context(), w.ID, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.Report), outputs
}

// TestSweep: every cell of the plan is decoded and judged once, and the report is that of the outputs.
func TestSweep(t *testing.T) {
	c := config(t, nil)
	text, outputs := whole(t, c)
	var report sweep.Report
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	if report.Outputs != len(outputs) || len(outputs) < 12*2*5+12*2 || report.Recommendation == nil || (report.Recommendation.Beta == nil) != (report.Recommendation.NoBest != "") {
		t.Errorf("the report is about %d outputs of %d, its ticket %+v", report.Outputs, len(outputs), report.Recommendation)
	}
	seen := map[sweep.Cell]bool{}
	for _, o := range outputs {
		if seen[o.Cell] {
			t.Errorf("%+v is there twice", o.Cell)
		}
		seen[o.Cell] = true
		if len(o.Rewards) != 2 || o.Failed() || len(o.LogQ) != len(c.Evaluate()) {
			t.Errorf("%+v is not complete: %+v", o.Cell, o)
		}
	}
	setup := sweep.Setup{Config: *c, Aligned: "warm"}
	if plan, err := sweep.Next(&setup, outputs); err != nil || !plan.Done {
		t.Errorf("the plan goes on: %+v, %v", plan, err)
	}
}

// TestInterrupted: closed again and again in the middle, with answers given twice, a sweep ends with the same outputs and
// the same report as without.
func TestInterrupted(t *testing.T) {
	c := config(t, nil)
	want, wanted := whole(t, c)
	dir, d := t.TempDir(), newQueue(t)
	d.Twice()
	go d.Serve(t.Context())
	db := open(t, dir)
	r := start(t, db, d, nil)
	if _, err := r.Create(t.Context(), "ann", "w", c); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		time.Sleep(time.Duration(i) * 7 * time.Millisecond)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = start(t, db, d, nil)
	}
	w := until(t, db, "w", sweep.Done)
	outputs, err := db.Outputs(t.Context(), "w", nil, true)
	if err != nil || !reflect.DeepEqual(outputs, wanted) {
		t.Errorf("%d outputs, %v, where %d others are there without interruption", len(outputs), err, len(wanted))
	}
	if string(w.Report) != want {
		t.Errorf("the report is %s, without interruption %s", w.Report, want)
	}
}

// TestPauseAndCancel: a sweep that rests begins nothing new and goes on to the same end; one that is cancelled keeps what
// it has.
func TestPauseAndCancel(t *testing.T) {
	c := config(t, nil)
	want, _ := whole(t, c)
	db := open(t, t.TempDir())
	d, left := newCounted(t)
	ctx := t.Context()
	r := start(t, db, d, nil)
	if _, err := r.Create(ctx, "ann", "w", c); err != nil {
		t.Fatal(err)
	}
	if err := r.Pause(ctx, "bob", "w"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("somebody else may pause it: %v", err)
	}
	for range 2 { // the second one does nothing
		if err := r.Pause(ctx, "ann", "w"); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Waiting(); n > 0 {
		t.Errorf("%d pieces of work are left of a sweep that rests", n)
	}
	if err := r.Delete(ctx, "ann", "w"); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a sweep that has not ended may be deleted: %v", err)
	}
	go d.Serve(ctx)
	if _, _, runs := r.Watch("w"); runs {
		t.Error("it runs while it rests")
	}
	if err := r.Resume(ctx, "ann", "w"); err != nil {
		t.Fatal(err)
	}
	if w := until(t, db, "w", sweep.Done); string(w.Report) != want {
		t.Error("the report is not that of a sweep that did not rest")
	}
	if err := r.Resume(ctx, "ann", "w"); fault.KindOf(err) != fault.Conflict {
		t.Errorf("resumed after its end: %v", err)
	}

	left.Store(1) // so that it has not ended when it is cancelled
	if _, err := r.Create(ctx, "ann", "v", c); err != nil {
		t.Fatal(err)
	}
	begun(t, r, "v")
	if err := r.Cancel(ctx, "ann", "v"); err != nil {
		t.Fatal(err)
	}
	w := until(t, db, "v", sweep.Cancelled)
	if w.Report == nil {
		t.Error("a cancelled sweep has no report of what it has")
	}
	if err := r.Delete(ctx, "ann", "v"); err != nil {
		t.Error(err)
	}
}

// TestMissing: a reward that fails leaves cells missing with the reason, and so does a prompt that cannot be decoded.
func TestMissing(t *testing.T) {
	c := config(t, func(c map[string]any) {
		c["prompts"] = append(c["prompts"].([]string), strings.Repeat("a", 600)) // longer than the table's context
		c["rewards"] = append(c["rewards"].([]any), map[string]any{"reward": "command", "parameters": map[string]any{"command": "exit 3"}})
		c["refine"] = map[string]any{"rounds": 0}
	})
	text, outputs := whole(t, c)
	var report sweep.Report
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	if report.Failed != 10 {
		t.Errorf("%d outputs failed, want the 10 of the long prompt", report.Failed)
	}
	broken := report.Reward("command")
	for _, p := range broken.Points {
		if p.Mean != nil || p.Values != 0 || p.Missing != 26 {
			t.Errorf("the failing reward has %d values at λ %v, %d missing", p.Values, p.Lambda, p.Missing)
		}
	}
	for _, o := range outputs {
		if o.Prompt == 12 && !o.Failed() {
			t.Errorf("%+v was decoded", o.Cell)
		}
	}
	if objective := report.Reward("length"); objective.Points[0].Mean == nil || objective.Points[0].Values != 24 {
		t.Errorf("the other reward suffers: %+v", objective.Points[0])
	}
}

// TestRefusals: what is wrong is refused by name and leaves nothing behind.
func TestRefusals(t *testing.T) {
	db, d := open(t, t.TempDir()), newQueue(t)
	r := start(t, db, d, func(c *runner.Config) { c.MaxOpen, c.Rewards.Headless = 1, false })
	for field, change := range map[string]func(c map[string]any){
		"pair":            func(c map[string]any) { c["pair"] = "nobody" },
		"budget":          func(c map[string]any) { c["budget"] = 3 },
		"rewards.rouge-l": func(c map[string]any) { c["rewards"] = []any{"rouge-l"} },
		"rewards.command": func(c map[string]any) {
			c["rewards"] = []any{map[string]any{"reward": "command", "parameters": map[string]any{"command": "true"}}}
		},
	} {
		_, err := r.Create(t.Context(), "ann", "w", config(t, change))
		if f := fault.Of(err); err == nil || f.Kind != fault.Invalid || f.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if list, _, err := db.Sweeps(t.Context(), "ann", "", 10); err != nil || len(list) > 0 {
		t.Errorf("refused sweeps are kept: %+v, %v", list, err)
	}
	if _, err := r.Create(t.Context(), "ann", "w", config(t, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(t.Context(), "ann", "v", config(t, nil)); fault.KindOf(err) != fault.Busy {
		t.Errorf("one too many: %v", err)
	}
}

// TestPromptsOfOpenSweepsAreBounded: they are all in memory.
func TestPromptsOfOpenSweepsAreBounded(t *testing.T) {
	db, d := open(t, t.TempDir()), newQueue(t)
	r := start(t, db, d, func(c *runner.Config) { c.MaxBytes = 5000 })
	long := func(c map[string]any) { c["prompts"] = []any{strings.Repeat("long ", 800)} }
	if _, err := r.Create(t.Context(), "ann", "one", config(t, long)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(t.Context(), "ann", "two", config(t, long)); fault.KindOf(err) != fault.Busy {
		t.Errorf("a second one: %v", err)
	}
	if err := r.Cancel(t.Context(), "ann", "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(t.Context(), "ann", "two", config(t, long)); err != nil {
		t.Errorf("once the first has ended: %v", err)
	}
}

// broken fails now and then.
type broken struct {
	*store.Store
	mu    sync.Mutex
	calls int
}

func (b *broken) fails() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls++; b.calls%5 == 0 {
		return fault.New(fault.Unavailable, "the disk is full")
	}
	return nil
}

func (b *broken) AddOutputs(ctx context.Context, id string, outputs []experiment.Output) (int, error) {
	if err := b.fails(); err != nil {
		return 0, err
	}
	return b.Store.AddOutputs(ctx, id, outputs)
}

func (b *broken) AddValues(ctx context.Context, id string, judged []sweep.Judged) error {
	if err := b.fails(); err != nil {
		return err
	}
	return b.Store.AddValues(ctx, id, judged)
}

func (b *broken) Outputs(ctx context.Context, id string, prompt *int, texts bool) ([]sweep.Output, error) {
	if err := b.fails(); err != nil {
		return nil, err
	}
	return b.Store.Outputs(ctx, id, prompt, texts)
}

func (b *broken) ExperimentOutputs(ctx context.Context, id string, prompt *int, texts bool) ([]experiment.Output, error) {
	if err := b.fails(); err != nil {
		return nil, err
	}
	return b.Store.ExperimentOutputs(ctx, id, prompt, texts)
}

// TestStoreFails: a store that fails now and then costs time, not results.
func TestStoreFails(t *testing.T) {
	c := config(t, nil)
	want, _ := whole(t, c)
	db, d := open(t, t.TempDir()), newQueue(t)
	go d.Serve(t.Context())
	r := start(t, &broken{Store: db}, d, nil)
	if _, err := r.Create(t.Context(), "ann", "w", c); err != nil {
		t.Fatal(err)
	}
	if w := until(t, db, "w", sweep.Done); string(w.Report) != want {
		t.Error("the report is not that of a sweep without failures")
	}
	if n, _ := d.Decoded(); n == 0 {
		t.Error("nothing was decoded")
	}
}

package experiment_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/experiment"
	"realign/internal/experiment/experimenttest"
	"realign/internal/fault"
)

// memory is a store of one experiment, which can be made to fail.
type memory struct {
	mu      sync.Mutex
	outputs map[experiment.Cell]experiment.Output
	fail    error
}

func (m *memory) AddOutputs(_ context.Context, _ string, outputs []experiment.Output) (added int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	for _, o := range outputs {
		if _, there := m.outputs[o.Cell]; !there {
			m.outputs[o.Cell] = o
			added++
		}
	}
	return added, nil
}

func (m *memory) ExperimentOutputs(_ context.Context, _ string, prompt *int, texts bool) (all []experiment.Output, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.outputs {
		if prompt == nil || *prompt == o.Prompt {
			if !texts {
				o.Text = ""
			}
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b experiment.Output) int { return a.Compare(b.Cell) })
	return all, m.fail
}

// client wants some cells, and counts how often it is handed each.
type client struct {
	wanted []experiment.Cell

	mu       sync.Mutex
	taken    map[experiment.Cell]string
	finished chan int // gets how many outputs there are at the end
}

func newClient(wanted []experiment.Cell) *client {
	return &client{wanted: wanted, taken: map[experiment.Cell]string{}, finished: make(chan int, 8)} // a job that is started again ends again
}

func (c *client) Plan(_ context.Context, outputs []experiment.Output) ([]experiment.Item, error) {
	return experiment.Missing(c.wanted, func(x experiment.Cell) bool {
		return slices.ContainsFunc(outputs, func(o experiment.Output) bool { return o.Cell == x })
	}), nil
}

func (c *client) Take(_ context.Context, outputs []experiment.Output) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range outputs {
		c.taken[o.Cell] = o.Text
	}
	return nil
}

func (c *client) Finish(_ context.Context, outputs []experiment.Output) error {
	c.finished <- len(outputs)
	return nil
}

func (c *client) wait(t *testing.T) int {
	t.Helper()
	select {
	case n := <-c.finished:
		return n
	case <-time.After(time.Minute):
		t.Fatal("the job does not end")
		return 0
	}
}

func table() *decode.Engine {
	return decode.NewEngine(decodetest.New(decodetest.Options{Seed: 3, EndLogit: -1}), decode.Config{})
}

// setup is an experiment on the table.
func setup(prompts int) *experiment.Setup {
	s := &experiment.Setup{
		Pair: "table", Aligned: "warm", Seed: 1<<64 - 3, Sampling: decode.Sampling{MaxTokens: 12, Temperature: 1, TopP: 1},
		Evaluate: experiment.EvaluationGrid([]float64{0, 0.7, 2}),
	}
	for i := range prompts {
		s.Prompts = append(s.Prompts, experiment.Prompt{Prompt: decode.Prompt{Text: "abcdef"[i%6:i%6+1] + "a"}})
	}
	return s
}

// grid are all cells of some prompts.
func grid(prompts int, lambdas []float64, samples int) (cells []experiment.Cell) {
	for p := range prompts {
		for _, l := range lambdas {
			for s := range samples {
				cells = append(cells, experiment.Cell{Prompt: p, Lambda: l, Sample: s})
			}
		}
	}
	return cells
}

// TestGenerator: interrupted again and again, with every answer given twice, each cell is stored and taken with the text
// that the engine says to it alone.
func TestGenerator(t *testing.T) {
	engine := table()
	defer engine.Close()
	q := experimenttest.New(experimenttest.Engine(engine))
	q.Twice()
	go q.Serve(t.Context())
	s, store := setup(8), &memory{outputs: map[experiment.Cell]experiment.Output{}}
	wanted := grid(8, []float64{0, 0.7, 2}, 3)
	c := newClient(wanted)
	for range 5 {
		g := experiment.NewGenerator(experiment.Config{Store: store, Queue: q, Window: 2, Retry: time.Millisecond})
		if err := g.Start(experiment.Job{ID: "j", Experiment: "e", Setup: s, Client: c}); err != nil {
			t.Fatal(err)
		}
		_, changed, _ := g.Watch("j")
		if changed != nil {
			<-changed
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if err := g.Start(experiment.Job{ID: "k"}); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("a closed generator starts a job: %v", err)
		}
	}
	g := experiment.NewGenerator(experiment.Config{Store: store, Queue: q, Window: 2, Retry: time.Millisecond})
	defer g.Close()
	select {
	case <-c.finished: // before the last interruption
	default:
		if err := g.Start(experiment.Job{ID: "j", Experiment: "e", Setup: s, Client: c}); err != nil {
			t.Fatal(err)
		}
		if n := c.wait(t); n != len(wanted) {
			t.Errorf("%d outputs, want %d", n, len(wanted))
		}
	}
	alone := table()
	defer alone.Close()
	for _, cell := range wanted {
		var gather decode.Gather
		r := s.Request(experiment.Item{Prompt: cell.Prompt, Lambdas: []float64{cell.Lambda}, Samples: []int{cell.Sample}}, "")
		j, err := alone.Start(r, gather.Add)
		if err != nil {
			t.Fatal(err)
		}
		<-j.Done()
		replies, _ := gather.Replies(r.Lanes)
		o := store.outputs[cell]
		if o.Text != replies[0].Text || o.Tokens != replies[0].Tokens || len(o.LogQ) != len(s.Evaluate) || o.LogpAligned != replies[0].Totals.Logp.Aligned[0] {
			t.Errorf("%+v is %+v, alone %+v", cell, o, replies[0])
		}
	}
}

// TestGeneratorWaits: while the store fails a job says why and loses nothing, and goes on when it works again.
func TestGeneratorWaits(t *testing.T) {
	engine := table()
	defer engine.Close()
	q := experimenttest.New(experimenttest.Engine(engine))
	go q.Serve(t.Context())
	store := &memory{outputs: map[experiment.Cell]experiment.Output{}, fail: fault.New(fault.Unavailable, "the disk is full")}
	g := experiment.NewGenerator(experiment.Config{Store: store, Queue: q, Retry: time.Millisecond})
	defer g.Close()
	c := newClient(grid(3, []float64{0, 1}, 1))
	if err := g.Start(experiment.Job{ID: "j", Experiment: "e", Setup: setup(3), Client: c}); err != nil {
		t.Fatal(err)
	}
	for {
		p, changed, _ := g.Watch("j")
		if p.Trouble == "the disk is full" {
			break
		}
		<-changed
	}
	store.mu.Lock()
	store.fail = nil
	store.mu.Unlock()
	if n := c.wait(t); n != 6 {
		t.Errorf("%d outputs, want 6", n)
	}
}

// enough is a client that has enough once it has an output, and then wants nothing more.
type enough struct{ *client }

func (c enough) Plan(ctx context.Context, outputs []experiment.Output) ([]experiment.Item, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.taken) > 0 {
		return nil, nil
	}
	return c.client.Plan(ctx, outputs)
}

func (c enough) Take(ctx context.Context, outputs []experiment.Output) error {
	if err := c.client.Take(ctx, outputs); err != nil {
		return err
	}
	return experiment.ErrEnough
}

// TestEnough: a client that says so is asked for a plan before everything that it had planned is decoded.
func TestEnough(t *testing.T) {
	engine := table()
	defer engine.Close()
	q := experimenttest.New(experimenttest.Engine(engine))
	go q.Serve(t.Context())
	g := experiment.NewGenerator(experiment.Config{Store: &memory{outputs: map[experiment.Cell]experiment.Output{}}, Queue: q, Window: 1, Retry: time.Millisecond})
	defer g.Close()
	c := enough{newClient(grid(100, []float64{0, 1}, 1))}
	if err := g.Start(experiment.Job{ID: "j", Experiment: "e", Setup: setup(100), Client: c}); err != nil {
		t.Fatal(err)
	}
	if n := c.wait(t); n == 0 || n > 20 {
		t.Errorf("%d outputs of 200 are there", n)
	}
}

// TestParts: what people know a prompt by makes the prompt, or it has no parts.
func TestParts(t *testing.T) {
	say := func(turns ...string) (m []decode.Message) {
		for i := 0; i < len(turns); i += 2 {
			m = append(m, decode.Message{Role: turns[i], Content: turns[i+1]})
		}
		return m
	}
	for _, p := range []decode.Prompt{
		{Text: "a text"}, {Messages: say("user", "u")}, {Messages: say("system", "s", "user", "u")}, {Messages: say("system", "s", "user", "u", "assistant", "a", "user", "v")},
	} {
		parts, ok := (&experiment.Prompt{Prompt: p}).Parts()
		again := decode.Prompt{Text: parts.Asked}
		if !parts.Plain {
			again = decode.Prompt{}
			if parts.System != "" {
				again.Messages = say("system", parts.System)
			}
			again.Messages = append(append(again.Messages, parts.History...), say("user", parts.Asked)...)
		}
		if made := (experiment.Prompt{Prompt: again}); !ok || !made.Same(&experiment.Prompt{Prompt: p}) {
			t.Errorf("%+v comes apart to %+v, %v", p, parts, ok)
		}
	}
	for _, p := range []decode.Prompt{
		{}, {Tokens: []decode.Token{1}}, {Text: "a", Bare: true}, {Messages: say("system", "s")}, {Messages: say("user", "u", "assistant", "a")},
		{Messages: say("assistant", "a")}, {Messages: say("user", "u", "system", "s", "user", "v")},
	} {
		if parts, ok := (&experiment.Prompt{Prompt: p}).Parts(); ok {
			t.Errorf("%+v comes apart to %+v", p, parts)
		}
	}
}

// TestPause: a job that is paused leaves nothing in the queue, and what is refused is an output that failed.
func TestPause(t *testing.T) {
	engine := table()
	defer engine.Close()
	q := experimenttest.New(experimenttest.Engine(engine))
	store := &memory{outputs: map[experiment.Cell]experiment.Output{}}
	g := experiment.NewGenerator(experiment.Config{Store: store, Queue: q, Retry: time.Millisecond})
	defer g.Close()
	s := setup(3)
	s.Prompts[1].Text = "a text that the context of the table is too short for: " + string(make([]byte, 600))
	job := experiment.Job{ID: "j", Experiment: "e", Setup: s, Client: newClient(grid(3, []float64{0, 1}, 1))}
	if err := g.Start(job); err != nil {
		t.Fatal(err)
	}
	if err := g.Pause(t.Context(), "j"); err != nil {
		t.Fatal(err)
	}
	if _, _, runs := g.Watch("j"); runs || q.Waiting() > 0 {
		t.Errorf("it runs: %v, and %d pieces of work wait", runs, q.Waiting())
	}
	go q.Serve(t.Context())
	c := newClient(grid(3, []float64{0, 1}, 1))
	job.Client = c
	if err := g.Start(job); err != nil {
		t.Fatal(err)
	}
	c.wait(t)
	for cell, o := range store.outputs {
		if o.Failed() != (cell.Prompt == 1) || o.Failed() != (o.Finish == decode.EndError) {
			t.Errorf("%+v", o)
		}
	}
}

// TestMissing: items decode what is wanted and not there, each cell once, on no more lanes than there may be.
func TestMissing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		lambdas := []float64{0, 0.25, 0.5, 1, 1.5, 2}[:1+random.IntN(6)]
		wanted := grid(1+random.IntN(4), lambdas, 1+random.IntN(40))
		there := map[experiment.Cell]bool{}
		for _, c := range wanted {
			there[c] = random.IntN(3) == 0
		}
		left := map[experiment.Cell]bool{}
		for _, c := range wanted {
			if !there[c] {
				left[c] = true
			}
		}
		for _, item := range experiment.Missing(wanted, func(c experiment.Cell) bool { return there[c] }) {
			cells := item.Cells()
			if len(cells) > decode.MaxLanes {
				t.Fatalf("%d lanes", len(cells))
			}
			for _, c := range cells {
				if !left[c] {
					t.Fatalf("%+v is there, not wanted or decoded twice", c)
				}
				delete(left, c)
			}
		}
		if len(left) > 0 {
			t.Fatalf("%d cells are not decoded", len(left))
		}
	}
	if n := len(experiment.Missing(grid(5, []float64{0, 1, 2}, 4), func(experiment.Cell) bool { return false })); n != 5 {
		t.Errorf("%d items for 5 prompts whose cells fit into one each", n)
	}
}

// TestWeights: with λ in the weights an item asks for no sums of two models, and its outputs are texts of which nothing else is
// known; without a text they have failed.
func TestWeights(t *testing.T) {
	s := setup(1)
	s.Mix = decode.MixWeights
	item := experiment.Item{Lambdas: []float64{0, 0.7}, Samples: []int{0}}
	r := s.Request(item, "run")
	if r.Mix != decode.MixWeights || r.Totals || r.Evaluate != nil {
		t.Errorf("request %+v", r)
	}
	if err := r.Validate(1); err != nil {
		t.Error(err)
	}
	o := s.Outputs(item, &decode.Answer{Replies: []decode.Reply{
		{Text: "aba", Tokens: 3, Reason: decode.EndStop}, {Reason: decode.EndError, Error: &decode.Error{Message: "broken"}},
	}})
	if o[0].Failed() || !o[0].Untraced || o[0].Text != "aba" || o[0].Tokens != 3 || o[0].LogQ != nil {
		t.Errorf("%+v", o[0])
	}
	if !o[1].Failed() || o[1].Error != "broken" {
		t.Errorf("%+v", o[1])
	}
}

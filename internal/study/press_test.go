package study

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
	"realign/internal/session"
)

// memory keeps one study's outputs.
type memory struct {
	mu      sync.Mutex
	study   Study
	prompts []Prompt
	outputs []Output
	items   []Item
	saves   []int         // sizes of what was saved at once
	ready   chan struct{} // closed when the study is
}

func (m *memory) StudiesDecoding(context.Context, string) ([]Study, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.study.Status != Decoding {
		return nil, nil
	}
	return []Study{m.study}, nil
}

func (m *memory) Study(context.Context, string, string) (Study, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.study, nil
}

func (m *memory) StudyPrompts(context.Context, string) ([]Prompt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.prompts), nil
}

func (m *memory) StudyOutputs(context.Context, string) ([]Output, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.outputs), nil
}

func (m *memory) SaveStudyOutputs(_ context.Context, _ string, outputs []Output) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves = append(m.saves, len(outputs))
	for _, o := range outputs {
		i := slices.IndexFunc(m.outputs, func(p Output) bool { return p.ID == o.ID })
		if m.outputs[i].Done {
			panic("decoded twice")
		}
		m.outputs[i] = o
	}
	return nil
}

func (m *memory) SetPromptProblem(_ context.Context, _ string, place int, problem string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prompts[place-1].Problem = problem
	return nil
}

func (m *memory) FinishStudy(_ context.Context, _, _ string, _ []Output, items []Item, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items, m.study.Status = items, Ready
	close(m.ready)
	return nil
}

// decoder is a table that can be made to refuse, and notes when it works.
type decoder struct {
	engine *decode.Engine
	refuse func(r decode.Request) error

	mu      sync.Mutex
	asked   int
	most    int // lanes of a request
	working time.Duration
}

func (d *decoder) Decode(_ context.Context, _ string, r decode.Request, sink func(decode.Event)) (session.Job, error) {
	d.mu.Lock()
	d.asked++
	d.most = max(d.most, len(r.Lanes))
	d.mu.Unlock()
	if err := d.refuse(r); err != nil {
		return nil, err
	}
	began := time.Now()
	job, err := d.engine.Start(r, sink)
	if err == nil {
		go func() {
			<-job.Done()
			d.mu.Lock()
			d.working += time.Since(began)
			d.mu.Unlock()
		}()
	}
	return job, err
}

func press(t *testing.T, prompts int, delay time.Duration, refuse func(r decode.Request) error, change func(*PressConfig)) (*Press, *memory, *decoder) {
	t.Helper()
	s := newSetup()
	s.Mode, s.SameEvery, s.BrokenEvery = session.Plain, 0, 0
	s.Grid = []float64{0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.8}
	s.Sampling.MaxTokens = 8
	m := &memory{study: Study{ID: "s", Owner: "ann", Setup: s, Status: Decoding}, prompts: newPrompts(prompts), ready: make(chan struct{})}
	for i := range m.prompts {
		m.prompts[i].Text = "abc"
	}
	m.outputs = s.Outputs(m.prompts)
	d := &decoder{refuse: refuse, engine: decode.NewEngine(decodetest.New(decodetest.Options{Delay: delay, EndLogit: -30}), decode.Config{})}
	t.Cleanup(func() { _ = d.engine.Close() })
	c := PressConfig{Store: m, Decoder: d, Now: time.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Wait: 10 * time.Millisecond}
	if change != nil {
		change(&c)
	}
	p := NewPress(c)
	p.Start()
	t.Cleanup(func() { _ = p.Close(); _ = p.Close() })
	return p, m, d
}

func (m *memory) wait(t *testing.T) {
	t.Helper()
	select {
	case <-m.ready:
	case <-time.After(30 * time.Second):
		t.Fatal("the study does not get ready")
	}
}

func TestPressWaitsForADecoderThatIsBusy(t *testing.T) {
	var mu sync.Mutex
	busy := true
	p, m, d := press(t, 3, 0, func(decode.Request) error {
		mu.Lock()
		defer mu.Unlock()
		if busy {
			return fault.New(fault.Busy, "the queue is full")
		}
		return nil
	}, nil)
	for deadline := time.Now().Add(10 * time.Second); p.Trouble("s") == "" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if p.Trouble("s") != "the queue is full" {
		t.Errorf("trouble %q", p.Trouble("s"))
	}
	mu.Lock()
	busy = false
	mu.Unlock()
	m.wait(t)
	if p.Trouble("s") != "" || d.most != 8 || len(m.saves) != 6 || len(m.items) == 0 {
		t.Errorf("trouble %q, %d lanes at once, saved %v, %d items", p.Trouble("s"), d.most, m.saves, len(m.items))
	}
}

func TestPressLeavesOutWhatCannotBeDecoded(t *testing.T) {
	tries, setup := 0, newSetup()
	_, m, _ := press(t, 4, 0, func(r decode.Request) error {
		switch r.Seed {
		case setup.PromptSeed(2):
			return fault.Field("prompt", "9000 tokens, at most 511 fit the context of 512")
		case setup.PromptSeed(3):
			tries++
			return fmt.Errorf("the model broke")
		}
		return nil
	}, nil)
	m.wait(t)
	if m.prompts[1].Problem != "9000 tokens, at most 511 fit the context of 512" || m.prompts[2].Problem == "" || m.prompts[0].Problem+m.prompts[3].Problem != "" || tries != 3 {
		t.Errorf("%+v after %d tries", m.prompts, tries)
	}
	for _, it := range m.items {
		if it.Prompt == 2 || it.Prompt == 3 {
			t.Errorf("item %+v is about a prompt that failed", it)
		}
	}
}

// While others decode, the press works a quarter of the time.
func TestPressYields(t *testing.T) {
	began := time.Now()
	_, m, d := press(t, 6, 2*time.Millisecond, func(decode.Request) error { return nil }, func(c *PressConfig) { c.Others = func() int { return 1 } })
	m.wait(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	if share := d.working.Seconds() / time.Since(began).Seconds(); share > 0.3 {
		t.Errorf("it worked %.0f%% of the time", 100*share)
	}
}

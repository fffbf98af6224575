package llamacpp

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/speculate"
	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gpu"
)

// golden is what transformers says of the tiny models in testdata, and SentencePiece of their vocabulary: python -m training.t5.parity --fixtures.
type golden struct {
	Texts []struct {
		Text   string
		Tokens []decode.Token
	}
	Models map[string][]struct {
		Source, Text []decode.Token
		Logits       []float64
	}
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "t5.json"))
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	if err != nil || len(g.Models) == 0 || len(g.Texts) == 0 {
		t.Fatalf("%d models, %d texts: %v", len(g.Models), len(g.Texts), err)
	}
	return g
}

func t5(name string) string { return filepath.Join("testdata", name+".gguf") }

// exactly are options under which llama.cpp computes as transformers does.
var exactly = Options{Cells: 512, Batch: 64, Sequences: 8, Float32Cache: true}

func openT5(t testing.TB, reference, aligned string, o Options) *Pair {
	t.Helper()
	p, err := Open(Spec{Reference: t5(reference), Aligned: []Aligned{{Name: "tuned", Path: t5(aligned)}}, Options: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// said is what an encoder–decoder model says after a source and a text, on a sequence of a source's number.
func said(t testing.TB, m decode.Model, source int, seq decode.Seq, tokens, text []decode.Token) []float32 {
	t.Helper()
	if err := m.(decode.Encoder).Encode(source, tokens); err != nil {
		t.Fatal(err)
	}
	m.Trim(seq, 0)
	all := rows(seq, 0, append([]decode.Token{m.Limits().Start}, text...)...)
	for i := range all {
		all[i].Source = source
	}
	return forward(t, m, all)
}

// Logits of T5 1.0 (whose factor d^−½ llama.cpp leaves out), T5 1.1 and UMT5 are those of transformers.
func TestEncoderDecoderLogits(t *testing.T) {
	for name, cases := range readGolden(t).Models {
		m := openT5(t, name, name, exactly).Reference()
		for i, c := range cases {
			got := said(t, m, i%maxSources, decode.Seq(i), c.Source, c.Text)
			largest, worst := 0.0, 0.0
			for v, want := range c.Logits {
				largest, worst = max(largest, math.Abs(want)), max(worst, math.Abs(float64(got[v])-want))
			}
			if len(got) != len(c.Logits) || worst > 1e-3*largest {
				t.Errorf("%s, source of %d tokens, text of %d: %d logits, wrong by %.2g, the largest is %.2g", name, len(c.Source), len(c.Text), len(got), worst, largest)
			}
		}
	}
}

// A file's own factor goes before what is concluded from its tensors.
func TestLogitScale(t *testing.T) {
	for name, want := range map[string]float64{"t5-v1.0": 1 / math.Sqrt(32), "t5-v1.1": 1, "umt5": 1} {
		head, err := gguf.Open(t5(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, stated := range []any{head.Metadata["t5.logit_scale"], nil, float32(3)} {
			delete(head.Metadata, "t5.logit_scale")
			expected := want
			if stated != nil {
				head.Metadata["t5.logit_scale"] = stated
				expected = float64(stated.(float32))
			}
			if got, err := logitScale(head); err != nil || math.Abs(float64(got)-expected) > 1e-6 {
				t.Errorf("%s, stated %v: %v, %v, want %v", name, stated, got, err, expected)
			}
		}
	}
}

// A prompt is SentencePiece's tokens and </s>; a conversation without a template is one message.
func TestEncoderDecoderTokens(t *testing.T) {
	v := openT5(t, "t5-v1.1", "t5-v1.1", exactly).vocabulary
	for _, c := range readGolden(t).Texts {
		if got, err := v.EncodePlain(c.Text); err != nil || !slices.Equal(got, c.Tokens) {
			t.Errorf("%q: %v, %v, want %v", c.Text, got, err, c.Tokens)
		}
	}
	one := []decode.Message{{Role: "user", Content: "What is it?"}}
	plain, _ := v.EncodePlain("What is it?")
	if got, err := v.EncodeChat(one); err != nil || !slices.Equal(got, plain) {
		t.Errorf("a message: %v, %v, want %v", got, err, plain)
	}
	if _, err := v.EncodeChat(append(one, one...)); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "one message") {
		t.Errorf("two messages: %v", err)
	}
	if again := v.EndPrompt(slices.Clone(plain)); !slices.Equal(again, plain) {
		t.Errorf("a prompt that ends is ended again: %v", again)
	}
	if notes, err := v.CheckChat(); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "encoder") {
		t.Errorf("notes %q, %v", notes, err)
	}
}

// Sequences of several sources live beside each other, forks keep their source, and a pass of rows of all is that of each alone.
func TestSeveralSources(t *testing.T) {
	m := openT5(t, "t5-v1.1", "t5-v1.1", exactly).Reference()
	sources := [][]decode.Token{{5, 6, 7, 1}, {9, 1}, {20, 21, 22, 23, 24, 1}}
	var want [][]float32
	for _, s := range sources {
		want = append(want, said(t, m, 0, 0, s, []decode.Token{30, 31}))
	}
	e := m.(decode.Encoder)
	var all []decode.Row
	for i, s := range sources {
		if err := e.Encode(i, s); err != nil {
			t.Fatal(err)
		}
		m.Trim(decode.Seq(i), 0)
		for p, token := range []decode.Token{m.Limits().Start, 30} {
			all = append(all, decode.Row{Token: token, Pos: p, Seq: decode.Seq(i), Source: i})
		}
	}
	forward(t, m, all)
	var next []decode.Row
	for i := range sources {
		fork := decode.Seq(5 - i)
		if n := m.Copy(fork, decode.Seq(i), 2); n != 2 {
			t.Fatalf("a copy of %d positions", n)
		}
		next = append(next, decode.Row{Token: 31, Pos: 2, Seq: fork, Source: i, Want: true})
	}
	if err := m.Forward(next); err != nil {
		t.Fatal(err)
	}
	for i := range sources {
		if d := gap(t, m.Logits(i), want[i]); d > 1e-4 {
			t.Errorf("source %d: wrong by %v", i, d)
		}
	}
	for _, bad := range [][]decode.Row{{{Source: 3}}, {{Source: -1}}, {{Source: 4}}, {{Token: 999}}, {{Seq: 6, Pos: 4}}} {
		if err := m.Forward(bad); err == nil {
			t.Errorf("%+v is read", bad)
		}
	}
	if err := e.Encode(4, sources[0]); fault.KindOf(err) != fault.Internal {
		t.Errorf("source 4: %v", err)
	}
	if err := e.Encode(0, slices.Repeat([]decode.Token{5}, 65)); fault.KindOf(err) != fault.Internal {
		t.Errorf("65 tokens: %v", err)
	}
}

// decodeT5 decodes a request on a pair of tiny models.
func decodeT5(t *testing.T, e *decode.Engine, req decode.Request) (tokens map[int][]decode.Token, end map[int]decode.Event) {
	t.Helper()
	tokens, end = map[int][]decode.Token{}, map[int]decode.Event{}
	j, err := e.Start(req, func(ev decode.Event) {
		switch ev.Type {
		case decode.EventToken:
			tokens[ev.Lane] = append(tokens[ev.Lane], ev.ID)
		case decode.EventEnd:
			end[ev.Lane] = ev
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	return tokens, end
}

func t5Request(lambdas ...float64) decode.Request {
	r := decode.Request{
		Aligned: []string{"tuned"}, Prompt: decode.Prompt{Text: "The quick brown fox"}, Seed: 3,
		Sampling: decode.Sampling{MaxTokens: 24, Temperature: 1, TopP: 1},
	}
	for i, l := range lambdas {
		r.Lanes = append(r.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{l}})
	}
	return r
}

// Lanes of an encoder–decoder pair are what they are alone and plain; with particles, too, and whatever scheme of drafts is asked for.
func TestEncoderDecoderLanesEqualPlain(t *testing.T) {
	for _, exact := range []int{0, 4} {
		p := openT5(t, "t5-v1.0", "t5-v1.1", Options{Cells: 4096, Batch: 64, Sequences: 64, Float32Cache: true})
		e := decode.NewEngine(p, decode.Config{Speculation: speculate.Alternating})
		req := t5Request(0, 0.3, 0.5, 1, 1.5)
		req.Sampling.Exact = exact
		together, ends := decodeT5(t, e, req)
		for _, lane := range req.Lanes {
			alone := req
			alone.Plain, alone.Lanes = true, []decode.Lane{lane}
			want, end := decodeT5(t, e, alone)
			if !slices.Equal(together[lane.Index], want[lane.Index]) || len(want[lane.Index]) == 0 || ends[lane.Index].Error != nil || end[lane.Index].Error != nil {
				t.Errorf("exact %d, λ = %v: %v, alone %v (%v)", exact, lane.Lambda, together[lane.Index], want[lane.Index], ends[lane.Index].Error)
			}
		}
		e.Close()
	}
}

// A λ-map says what lanes say.
func TestEncoderDecoderMap(t *testing.T) {
	p := openT5(t, "t5-v1.1", "umt5", Options{Cells: 4096, Batch: 64, Sequences: 64, Float32Cache: true})
	e := decode.NewEngine(p, decode.Config{})
	defer e.Close()
	req := t5Request()
	req.Map = &decode.Map{From: 0, To: 2, Branches: 40}
	req.Sampling.MaxTokens = 8
	var m decode.LambdaMap
	j, err := e.Start(req, func(ev decode.Event) { m.Add(ev) })
	if err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	for _, b := range m.Branches {
		lane := t5Request((b.From + b.To) / 2)
		lane.Sampling = req.Sampling
		got, _ := decodeT5(t, e, lane)
		if len(b.Tokens) > len(got[0]) || !slices.Equal(got[0][:len(b.Tokens)], b.Tokens) {
			t.Errorf("λ in [%v, %v]: %v, the lane %v", b.From, b.To, b.Tokens, got[0])
		}
	}
	if len(m.Branches) < 3 {
		t.Errorf("%d branches show too little", len(m.Branches))
	}
}

// Several runs at once, of other prompts, are what they are one after another.
func TestEncoderDecoderRunsAtOnce(t *testing.T) {
	p := openT5(t, "t5-v1.0", "t5-v1.1", Options{Cells: 4096, Batch: 64, Sequences: 64, Float32Cache: true})
	e := decode.NewEngine(p, decode.Config{})
	defer e.Close()
	requests := make([]decode.Request, 7)
	var jobs []*decode.Job
	got := make([][]decode.Token, len(requests))
	for i := range requests {
		requests[i] = t5Request(0.5)
		requests[i].Prompt.Text = strings.Repeat("fox ", i+1)
		j, err := e.Start(requests[i], func(ev decode.Event) {
			if ev.Type == decode.EventToken {
				got[i] = append(got[i], ev.ID)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	for i, j := range jobs {
		<-j.Done()
		if want, _ := decodeT5(t, e, requests[i]); !slices.Equal(got[i], want[0]) {
			t.Errorf("run %d: %v, alone %v", i, got[i], want[0])
		}
	}
}

// A pair of an encoder–decoder model and another kind is refused, and so is what such pairs cannot do.
func TestEncoderDecoderRefused(t *testing.T) {
	decoder := Spec{Reference: "../../../models/demo/reference-q8_0.gguf", Aligned: []Aligned{{Name: "tuned", Path: t5("t5-v1.1")}}, Options: exactly}
	if _, err := Open(decoder); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "encoder") {
		t.Errorf("a decoder with a T5: %v", err)
	}
	p := openT5(t, "t5-v1.1", "umt5", exactly)
	if _, err := p.Blend([]string{"tuned"}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("λ in the weights: %v", err)
	}
}

// Planning counts a context for each source, and the layers of both halves.
func TestEncoderDecoderNeeds(t *testing.T) {
	p := openT5(t, "t5-v1.0", "t5-v1.0", exactly)
	need := p.needs()[0]
	if need.Contexts != maxSources || len(need.Layers) != 3 {
		t.Fatalf("%d contexts, %d layers", need.Contexts, len(need.Layers))
	}
	weights := int64(0)
	for _, l := range need.Layers {
		weights += l.Weights
	}
	total := int64(0)
	for _, x := range p.head.Tensors {
		if !strings.Contains(x.Name, "output_norm") {
			total += int64(x.Bytes)
		}
	}
	if weights != total {
		t.Errorf("layers hold %d bytes, the file %d", weights, total)
	}
	if plan, err := Plan(p.spec, nil); err != nil || fmt.Sprint(plan.Models[0].Devices) != fmt.Sprint([]gpu.Device(nil)) {
		t.Errorf("%+v, %v", plan, err)
	}
}

package llamacpp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/fault"
	"realign/internal/pair"
)

// strongly is the demo pair with its default adapter made so strong in the file itself: its context holds one strength.
func strongly(t *testing.T, lambda float64) *llamacpp.Pair {
	t.Helper()
	demo, err := pair.Load(filepath.Join("..", "..", "..", "models", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	files := demo.Files()
	data, err := os.ReadFile(files[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("adapter.lora.alpha")
	at := bytes.Index(data, key) + len(key)
	const float32Type = 6
	if at < len(key) || binary.LittleEndian.Uint32(data[at:]) != float32Type {
		t.Fatal("the adapter's alpha is not where it should be")
	}
	alpha := math.Float32frombits(binary.LittleEndian.Uint32(data[at+4:]))
	binary.LittleEndian.PutUint32(data[at+4:], math.Float32bits(float32(lambda)*alpha))
	path := filepath.Join(t.TempDir(), "adapter.gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := llamacpp.Open(llamacpp.Spec{
		Reference: files[0].Path, Aligned: []llamacpp.Aligned{{Name: files[1].Role, Path: path}},
		Options: llamacpp.Options{Cells: 2048, OnePass: llamacpp.OnePassOff},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// With λ in the weights, eight strengths decoded together say what contexts of one strength each say, and what the lanes say
// with --plain; at λ = 0 and 1 it is what the reference and the aligned model say. One row a token is read for each.
func TestWeightsEqualContextsOfOneStrength(t *testing.T) {
	lambdas := []float64{-0.5, 0, 0.3, 0.5, 0.8, 1, 1.5, 2}
	for _, mode := range []llamacpp.OnePass{llamacpp.OnePassOff, llamacpp.OnePassOn} {
		p := openDemoWith(t, llamacpp.Options{OnePass: mode})
		e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
		defer e.Close()
		var want []map[int][]decode.Token
		requests := []decode.Request{}
		for i, prompt := range prompts(t)[:4] {
			r := chat(prompt, uint64(i), []float64{0, 0.7}[i%2], lambdas...)
			r.Mix = decode.MixWeights
			requests = append(requests, r)
			want = append(want, map[int][]decode.Token{})
		}
		for lane, lambda := range lambdas {
			one := strongly(t, lambda)
			m, err := one.Aligned(one.AlignedNames()[0])
			if err != nil {
				t.Fatal(err)
			}
			if lambda == 0 { // llama.cpp takes an alpha of 0 for none
				m = one.Reference()
			}
			for i, r := range requests {
				want[i][lane] = alone(t, m, one.Vocabulary(), r)
			}
		}
		parted := map[string]bool{}
		for i, r := range requests {
			together, stats := decoded(t, e, r)
			tokens := 0
			for lane, lambda := range lambdas {
				got := ids(together[lane])
				tokens += len(got)
				if !slices.Equal(got, want[i][lane]) {
					t.Errorf("prompt %d, λ = %v: together %v, in a context of that strength %v", i, lambda, got, want[i][lane])
				}
				single := r
				single.Plain, single.Lanes = true, r.Lanes[lane:lane+1]
				plain, _ := decoded(t, e, single)
				if !slices.Equal(got, ids(plain[lane])) {
					t.Errorf("prompt %d, λ = %v: together %v, alone %v", i, lambda, got, ids(plain[lane]))
				}
				if event := together[lane][0]; event.Logp == nil || event.Logp.Mixture >= 0 || event.KLReference != nil {
					t.Errorf("prompt %d, λ = %v: trace %+v", i, lambda, event)
				}
				parted[string(bytes.Join(pieces(p, got), nil))] = true
			}
			if read := stats.Rows["weights"]; read < int64(tokens) || read > int64(tokens+len(lambdas)*stats.PromptTokens) || stats.Rows["reference"] != 0 {
				t.Errorf("prompt %d: rows %v for %d tokens", i, stats.Rows, tokens)
			}
		}
		if len(parted) < 8 {
			t.Errorf("%d different texts: λ is of no consequence", len(parted))
		}
	}
}

func pieces(p *llamacpp.Pair, tokens []decode.Token) (list [][]byte) {
	for _, token := range tokens {
		list = append(list, p.Vocabulary().Piece(token))
	}
	return list
}

// Two adapters at once, in more than one pass where one graph cannot hold all that are in use: lanes equal themselves alone,
// unless two tokens are as close as logits move when the cells of a request that has ended are used again.
func TestWeightsOfSeveralAdapters(t *testing.T) {
	p := openDemoWith(t, llamacpp.Options{})
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e.Close()
	names := p.AlignedNames()
	type answer struct {
		got  map[int][]decode.Token
		want []decode.Token
	}
	answers := make([]answer, 4)
	var jobs []*decode.Job
	var requests []decode.Request
	for i := range answers { // eight adapters, two in each request
		r := chat(prompts(t)[i], uint64(i), 0.7)
		r.Aligned, r.Mix = names[2*i:2*i+2], decode.MixWeights
		r.Lanes = []decode.Lane{{Lambda: decode.Vector{0.7, 0.6}}}
		requests = append(requests, r)
		lanes, _ := decoded(t, e, r)
		answers[i] = answer{map[int][]decode.Token{}, ids(lanes[0])}
	}
	for i, r := range requests {
		job, err := e.Start(r, func(ev decode.Event) {
			if ev.Type == decode.EventToken {
				answers[i].got[0] = append(answers[i].got[0], ev.ID)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job)
	}
	var others []int
	for i, job := range jobs {
		<-job.Done()
		if !slices.Equal(answers[i].got[0], answers[i].want) {
			others = append(others, i)
		}
	}
	for _, i := range others {
		r, got, want := requests[i], answers[i].got[0], answers[i].want
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		if at == min(len(got), len(want)) {
			t.Errorf("adapters %v beside others: %v, alone %v", r.Aligned, got, want)
			continue
		}
		history, err := p.Vocabulary().EncodeChat(r.Prompt.Messages)
		if err != nil {
			t.Fatal(err)
		}
		fresh := openDemoWith(t, llamacpp.Options{})
		m, err := fresh.Blend(r.Aligned)
		if err != nil {
			t.Fatal(err)
		}
		history = append(history, want[:at]...)
		z, move := saidBy(t, m, history, r.Aligned, 0.7, 0.6), 0.0
		for last := 1; last <= at; last++ {
			for k, x := range saidInHoles(t, m, history, last, r.Aligned, 0.7, 0.6) {
				move = max(move, math.Abs(float64(x-z[k])))
			}
		}
		fresh.Close()
		T := r.Sampling.Temperature
		gap := math.Abs(float64(z[got[at]]-z[want[at]])/T + decode.Gumbel(r.Seed, 0, at, got[at]) - decode.Gumbel(r.Seed, 0, at, want[at]))
		t.Logf("adapters %v, token %d: gap of the top two %.2g; the order of cells moves logits by %.2g", r.Aligned, at, gap, move)
		if !(gap <= 2*move/T) {
			t.Errorf("adapters %v, token %d: gap %v, but the order of cells moves scores by %v at most", r.Aligned, at, gap, 2*move/T)
		}
	}
}

// saidInHoles is saidBy where the last tokens are in the cells that another sequence had before, so that attention sums them first.
func saidInHoles(t *testing.T, m decode.Model, tokens []decode.Token, last int, names []string, strengths ...float64) []float32 {
	t.Helper()
	for seq := range decode.Seq(2) {
		m.Trim(seq, 0)
		m.(decode.Blend).SetStrengths(seq, names, strengths)
	}
	forward := func(seq decode.Seq, from int, tokens ...decode.Token) {
		var rows []decode.Row
		for i, token := range tokens {
			rows = append(rows, decode.Row{Token: token, Pos: from + i, Seq: seq, Want: i == len(tokens)-1})
		}
		if err := m.Forward(rows); err != nil {
			t.Fatal(err)
		}
	}
	at := len(tokens) - last
	forward(1, 0, tokens...)
	forward(0, 0, tokens[:at]...)
	m.Trim(1, 0)
	for i, token := range tokens[at:] {
		forward(0, at+i, token)
	}
	return slices.Clone(m.Logits(0))
}

// saidBy is what a blend says of some tokens, with adapters of such strengths.
func saidBy(t *testing.T, m decode.Model, tokens []decode.Token, names []string, strengths ...float64) []float32 {
	t.Helper()
	m.Trim(0, 0)
	m.(decode.Blend).SetStrengths(0, names, strengths)
	var rows []decode.Row
	for i, token := range tokens {
		rows = append(rows, decode.Row{Token: token, Pos: i, Want: i == len(tokens)-1})
	}
	if err := m.Forward(rows); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(m.Logits(len(rows) - 1))
}

// What several adapters add is summed in the order of the manifest, whichever of them a context used before.
func TestWeightsSumInOneOrder(t *testing.T) {
	var want []float32
	for seed := range uint64(20) {
		p := openDemoWith(t, llamacpp.Options{OnePass: llamacpp.OnePassOff})
		names := slices.Clone(p.AlignedNames())
		two := []string{names[0], names[5]}
		tokens, err := p.Vocabulary().EncodePlain("Once upon a time there was")
		if err != nil {
			t.Fatal(err)
		}
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
		for i, name := range names { // those beside each other, then some of two at a time
			m, err := p.Blend(names[max(0, i-1) : i+1])
			if err != nil {
				t.Fatal(err)
			}
			saidBy(t, m, tokens, []string{name}, 1)
		}
		m, err := p.Blend(two)
		if err != nil {
			t.Fatal(err)
		}
		got := saidBy(t, m, tokens, two, 0.7, 0.6)
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("adapters used in order %v: other logits", names)
		}
		p.Close()
	}
}

// An adapter's scale counts where λ is in the weights, too.
func TestWeightsOfScaledAdapter(t *testing.T) {
	demo, err := pair.Load(filepath.Join("..", "..", "..", "models", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	files := demo.Files()
	said := map[float64][]float32{}
	for _, scale := range []float64{1, 0.5} {
		p, err := llamacpp.Open(llamacpp.Spec{Reference: files[0].Path, Aligned: []llamacpp.Aligned{{Name: "a", Path: files[1].Path, Scale: scale}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		m, err := p.Blend([]string{"a"})
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := p.Vocabulary().EncodePlain("Once upon a time there was")
		if err != nil {
			t.Fatal(err)
		}
		said[scale] = saidBy(t, m, tokens, []string{"a"}, 0.5/scale)
	}
	if !slices.Equal(said[1], said[0.5]) {
		t.Error("strength 1 at scale 0.5 is not strength 0.5")
	}
}

// The reference with another prompt has no weights of its own.
func TestWeightsRefuseContrast(t *testing.T) {
	demo, err := pair.Load(filepath.Join("..", "..", "..", "models", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := llamacpp.Open(llamacpp.Spec{
		Reference: demo.Files()[0].Path, Aligned: []llamacpp.Aligned{{Name: "polite"}},
		Contrasts: map[string]decode.Contrast{"polite": {System: "Be polite."}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Blend([]string{"polite"}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("error %v", err)
	}
}

func TestWeightsRefuse(t *testing.T) {
	p := openDemoWith(t, llamacpp.Options{OnePass: llamacpp.OnePassOff})
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e.Close()
	for field, change := range map[string]func(*decode.Request){
		"mix":     func(r *decode.Request) { r.Mix = "models" },
		"totals":  func(r *decode.Request) { r.Totals = true },
		"changes": func(r *decode.Request) { r.Lanes[0].Changes = []decode.Change{{At: 1, Lambda: decode.Vector{1}}} },
		"map":     func(r *decode.Request) { r.Map, r.Lanes = &decode.Map{To: 1, Branches: 2}, nil },
	} {
		r := chat("Hello", 1, 0.7, 0.5)
		r.Mix = decode.MixWeights
		change(&r)
		_, err := e.Start(r, func(decode.Event) {})
		var refused *fault.Error
		if !errors.As(err, &refused) || refused.Field != field {
			t.Errorf("%s: error %v", field, err)
		}
	}
	r := chat("Hello", 1, 0.7, 0.5)
	r.Mix = decode.MixWeights
	job, err := e.Start(r, func(decode.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := job.SetLambda(0, decode.Vector{1}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("moving λ: %v", err)
	}
	<-job.Done()
}

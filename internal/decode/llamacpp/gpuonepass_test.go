package llamacpp_test

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/gpu"
)

// TestGPUOnePass puts the reference and its adapters in one context on a device: what each says there is what it says in a
// context of its own on that device, alone and in one pass, and so is what lanes say, λ in the logits and in the weights.
// REALIGN_SEEDS is the number of seeds, from REALIGN_FIRST_SEED on, each with lanes at λ = −0.5, 0, 0.3, 1 and 1.5 and at λ = 0 and 1 against the model alone.
func TestGPUOnePass(t *testing.T) {
	device := gpuDevices(t)[0]
	n := sizeOf(device)
	choice, err := gpu.ParseChoice("all", device.Name)
	if err != nil {
		t.Fatal(err)
	}
	one := openDemoWith(t, llamacpp.Options{Offload: choice, OnePass: llamacpp.OnePassOn})
	two := openDemoWith(t, llamacpp.Options{Offload: choice, OnePass: llamacpp.OnePassOff})
	single := openDemoWith(t, llamacpp.Options{Offload: choice, OnePass: llamacpp.OnePassOff}) // no engine's
	t.Cleanup(func() { one.Close(); two.Close(); single.Close() })
	for _, at := range one.Placements() {
		if at.Offloaded() != at.Layers {
			t.Fatalf("not all layers of %s are on %s: %s", at.Model, device.Name, at.Where())
		}
	}
	shared, apart := both(t, one), both(t, two)
	if !joinable(shared[0], shared[1]) {
		t.Fatal("the models have contexts of their own")
	}
	shape := shapeMoveOver(t, two, 2, n.tokens)
	limit := max(2*shape, 1e-3)
	history, err := one.Vocabulary().EncodeChat([]decode.Message{{Role: "user", Content: prompts(t)[0]}})
	if err != nil {
		t.Fatal(err)
	}
	var rows []decode.Row
	for i, token := range history {
		rows = append(rows, decode.Row{Token: token, Pos: i, Want: i >= len(history)-2})
	}
	if err := shared[0].(decode.Joint).ForwardJoint(shared[:], [][]decode.Row{rows, rows}); err != nil {
		t.Fatal(err)
	}
	between := 0.0 // how far the two models are from each other
	for i, m := range apart {
		want := read(t, m, 0, history)
		for id, z := range shared[i].Logits(len(rows) - 1) {
			if d := math.Abs(float64(z) - float64(want[id])); !(d <= limit) {
				t.Fatalf("model %d, logit %d: %v in one pass, %v in its own, where shapes of passes differ by %v", i, id, z, want[id], shape)
			}
			between = max(between, math.Abs(float64(z)-float64(shared[1-i].Logits(len(rows) - 1)[id])))
		}
		m.Trim(0, 0)
	}
	if between < 10*limit {
		t.Errorf("the two models differ by %v only", between)
	}
	for _, m := range shared {
		m.Trim(0, 0)
	}
	e1, e2 := engine(t, one, decode.Config{}), engine(t, two, decode.Config{})
	compared, exceptions := 0, 0
	all := prompts(t)
	first, seeds := number(t, "REALIGN_FIRST_SEED", "0"), seedCount(t, strconv.Itoa((n.prompts+1)/2))
	for i := first; i < first+seeds; i++ {
		request := chat(all[i%len(all)], uint64(i), []float64{0, 0.7}[i%2], -0.5, 0, 0.3, 1, 1.5)
		request.Sampling.MaxTokens = n.tokens
		together, _ := decoded(t, e1, request)
		other, _ := decoded(t, e2, request)
		check := func(lane int, got, want []decode.Token) {
			t.Helper()
			if compared++; !slices.Equal(got, want) {
				exceptions++
				move := max(shape, promptMove(t, both(t, single), single.Vocabulary(), request.Prompt.Messages))
				checkException(t, two, request, request.Lanes[lane].Lambda[0], got, want, move)
			}
		}
		for lane := range request.Lanes {
			check(lane, ids(together[lane]), ids(other[lane]))
		}
		models := both(t, single)
		for lane, m := range map[int]decode.Model{1: models[0], 3: models[1]} { // λ = 0 and 1
			check(lane, ids(together[lane]), alone(t, m, two.Vocabulary(), request))
		}
		if i%10 == 9 {
			t.Logf("%d seeds: %d lanes compared, %d exceptions", i+1, compared, exceptions)
		}
	}
	t.Logf("%d lanes compared, %d exceptions", compared, exceptions)
	request := chat(prompts(t)[0], 1, 0, 0, 1)
	request.Sampling.MaxTokens = n.tokens
	mixed, _ := decoded(t, e1, request)
	request.Mix = decode.MixWeights
	inWeights, _ := decoded(t, e1, request)
	for lane, lambda := range []float64{0, 1} { // where both ways to mix are one model
		if got, want := ids(inWeights[lane]), ids(mixed[lane]); !slices.Equal(got, want) {
			checkException(t, two, request, lambda, got, want, shape)
		}
	}
}

// promptMove is how far logits move when a prompt is read in two passes, or beside another sequence, instead of in one pass alone:
// a device has other kernels for passes of many rows.
func promptMove(t *testing.T, models [2]decode.Model, v decode.Vocabulary, prompt []decode.Message) (largest float64) {
	t.Helper()
	history, err := v.EncodeChat(prompt)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(seq decode.Seq, from, to int) (list []decode.Row) {
		for i, token := range history[from:to] {
			list = append(list, decode.Row{Token: token, Pos: from + i, Seq: seq, Want: from+i == len(history)-1})
		}
		return list
	}
	n := len(history)
	for _, m := range models {
		var alone []float32
		for _, passes := range [][][]decode.Row{
			{rows(0, 0, n)}, {rows(0, 0, n/2), rows(0, n/2, n)}, {append(rows(1, 0, n), rows(0, 0, n)...)}, {append(rows(1, 0, n/2), rows(0, 0, n)...)},
		} {
			for _, pass := range passes {
				if err := m.Forward(pass); err != nil {
					t.Fatal(err)
				}
			}
			z := slices.Clone(m.Logits(len(passes[len(passes)-1]) - 1))
			m.Trim(0, 0)
			m.Trim(1, 0)
			if alone == nil {
				alone = z
			}
			for i := range z {
				largest = max(largest, math.Abs(float64(z[i])-float64(alone[i])))
			}
		}
	}
	t.Logf("how %q is read moves logits by at most %.2g", prompt[0].Content, largest)
	return largest
}

// A pass of more than 32 rows says the same each time. On Mesa's device it does with one thread (LP_NUM_THREADS=1): with several an
// adapter's rows move by up to 2.8, in a context of its own as in one pass, which is between llama.cpp and Mesa.
func TestGPUReadsAlike(t *testing.T) {
	device := gpuDevices(t)[0]
	if strings.Contains(device.Description, "llvmpipe") && os.Getenv("LP_NUM_THREADS") != "1" {
		t.Skip("Mesa's device in software with several threads")
	}
	choice, err := gpu.ParseChoice("all", device.Name)
	if err != nil {
		t.Fatal(err)
	}
	p := openDemoWith(t, llamacpp.Options{Offload: choice, OnePass: llamacpp.OnePassOff})
	t.Cleanup(func() { p.Close() })
	history, err := p.Vocabulary().EncodeChat([]decode.Message{{Role: "user", Content: strings.Join(prompts(t)[:4], " ")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(history) <= 32 {
		t.Fatalf("%d tokens", len(history))
	}
	for i, m := range both(t, p) {
		want := read(t, m, 0, history)
		for range 3 {
			m.Trim(0, 0)
			if got := read(t, m, 0, history); !slices.Equal(got, want) {
				t.Errorf("model %d says something else when it reads the same again", i)
			}
		}
	}
}

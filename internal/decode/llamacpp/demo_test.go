package llamacpp_test

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/decode/speculate"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// openDemo loads the pair that the repository ships, on the CPU.
func openDemo(t testing.TB) *llamacpp.Pair { return openDemoOn(t, gpu.Choice{}) }

func openDemoOn(t testing.TB, on gpu.Choice) *llamacpp.Pair {
	t.Helper()
	demo, err := pair.Load(filepath.Join("..", "..", "..", "models", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	files := demo.Files()
	spec := llamacpp.Spec{Reference: files[0].Path, Options: llamacpp.Options{Offload: on, OnePass: llamacpp.OnePassOff}}
	for _, f := range files[1:] {
		spec.Aligned = append(spec.Aligned, llamacpp.Aligned{Name: f.Role, Path: f.Path})
	}
	p, err := llamacpp.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func prompts(t testing.TB) (list []string) {
	t.Helper()
	f, err := os.Open("testdata/prompts.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		list = append(list, s.Text())
	}
	if len(list) != 50 {
		t.Fatalf("%d prompts", len(list))
	}
	return list
}

func chat(prompt string, seed uint64, temperature float64, lambdas ...float64) decode.Request {
	r := decode.Request{
		Prompt:   decode.Prompt{Messages: []decode.Message{{Role: "user", Content: prompt}}},
		Sampling: decode.Sampling{MaxTokens: 40, Temperature: temperature, TopP: 1},
		Seed:     seed,
		Trace:    decode.Trace{Alternatives: decode.MaxAlternatives},
	}
	for i, l := range lambdas {
		r.Lanes = append(r.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{l}})
	}
	return r
}

// decoded is the token events of each lane of a request, and its cost.
func decoded(t testing.TB, e *decode.Engine, r decode.Request) (map[int][]decode.Event, decode.Stats) {
	t.Helper()
	lanes := map[int][]decode.Event{}
	var stats decode.Stats
	j, err := e.Start(r, func(ev decode.Event) {
		switch ev.Type {
		case decode.EventToken:
			lanes[ev.Lane] = append(lanes[ev.Lane], ev)
		case decode.EventEnd:
			if ev.Error != nil {
				t.Errorf("lane %d: %s", ev.Lane, ev.Error.Message)
			}
		case decode.EventStats:
			stats = *ev.Stats
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	return lanes, stats
}

func ids(events []decode.Event) []decode.Token {
	tokens := make([]decode.Token, len(events))
	for i, e := range events {
		tokens[i] = e.ID
	}
	return tokens
}

// alone decodes one model by a loop of its own: one row a pass, the definition of coupled sampling, no
// engine.
func alone(t testing.TB, m decode.Model, v decode.Vocabulary, r decode.Request) (tokens []decode.Token) {
	t.Helper()
	prompt, err := v.EncodeChat(r.Prompt.Messages)
	if err != nil {
		t.Fatal(err)
	}
	pass := make([]decode.Row, len(prompt))
	for i, id := range prompt {
		pass[i] = decode.Row{Token: id, Pos: i, Want: i == len(prompt)-1}
	}
	defer m.Trim(0, 0)
	for len(tokens) < r.Sampling.MaxTokens {
		if err := m.Forward(pass); err != nil {
			t.Fatal(err)
		}
		best, score := decode.Token(0), math.Inf(-1)
		for i, z := range m.Logits(len(pass) - 1) {
			x := float64(z)
			if r.Sampling.Temperature > 0 {
				x = x/r.Sampling.Temperature + decode.Gumbel(r.Seed, 0, len(tokens), decode.Token(i))
			}
			if x > score {
				best, score = decode.Token(i), x
			}
		}
		tokens = append(tokens, best)
		if v.End(best) {
			break
		}
		pass = []decode.Row{{Token: best, Pos: len(prompt) + len(tokens) - 1, Want: true}}
	}
	return tokens
}

// λ = 0 is the reference model and λ = 1 the aligned one, token for token, greedy and sampled.
func TestEndsAreTheModels(t *testing.T) {
	p := openDemo(t)
	name := p.AlignedNames()[0]
	aligned, err := p.Aligned(name)
	if err != nil {
		t.Fatal(err)
	}
	models := []decode.Model{p.Reference(), aligned}
	var requests []decode.Request
	var want [][2][]decode.Token
	for i, prompt := range prompts(t) {
		for _, temperature := range []float64{0, 0.7} {
			r := chat(prompt, uint64(i), temperature, 0, 1)
			r.Aligned = []string{name}
			requests = append(requests, r)
			want = append(want, [2][]decode.Token{
				alone(t, models[0], p.Vocabulary(), r), alone(t, models[1], p.Vocabulary(), r),
			})
		}
	}
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e.Close()
	for i, r := range requests {
		// One lane at a time: passes of the same shapes, so not a bit may differ.
		for lane := range 2 {
			one := r
			one.Lanes = r.Lanes[lane : lane+1]
			got, _ := decoded(t, e, one)
			if !slices.Equal(ids(got[lane]), want[i][lane]) {
				t.Errorf("%q at temperature %v, λ = %d:\n got %v\nwant %v",
					r.Prompt.Messages[0].Content, r.Sampling.Temperature, lane, ids(got[lane]), want[i][lane])
			}
		}
	}
}

// Every lane of a run of eight is the lane alone with --plain, and the run itself replays. Passes of
// another shape sum in another order, which moves logits a little: where two candidates are closer than
// that, a lane may differ. Such exceptions are listed with the gap, and bounded by the measured move.
func TestEightLanesEqualEachAlone(t *testing.T) {
	p := openDemo(t)
	move := shapeMove(t, p)
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e.Close()
	lambdas := []float64{-0.5, 0, 0.25, 0.5, 0.75, 1, 1.5, 2}
	compared, exceptions := 0, 0
	for i, prompt := range prompts(t) {
		temperature := []float64{0, 0.7}[i%2]
		r := chat(prompt, uint64(i), temperature, lambdas...)
		together, _ := decoded(t, e, r)
		again, _ := decoded(t, e, r)
		for lane, lambda := range lambdas {
			if !slices.Equal(ids(together[lane]), ids(again[lane])) {
				t.Errorf("%q, λ = %v: the same run twice differs", prompt, lambda)
			}
			single := r
			single.Plain, single.Lanes = true, r.Lanes[lane:lane+1]
			plain, _ := decoded(t, e, single)
			compared++
			got, want := ids(together[lane]), ids(plain[lane])
			if slices.Equal(got, want) {
				continue
			}
			exceptions++
			checkException(t, p, r, lambda, got, want, move)
		}
	}
	t.Logf("%d lanes compared, %d exceptions", compared, exceptions)
}

// checkException lists where two decodings of a request at a λ part, and fails unless the two candidates there are as
// close as passes of another shape, which move logits by `move`, can explain. The engine that owns the models is idle.
func checkException(t *testing.T, p *llamacpp.Pair, r decode.Request, lambda float64, got, want []decode.Token, move float64) {
	t.Helper()
	prompt, temperature := r.Prompt.Messages[0].Content, r.Sampling.Temperature
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	if at == len(got) || at == len(want) {
		t.Errorf("%q, λ = %v: %d and %d equal tokens", prompt, lambda, len(got), len(want))
		return
	}
	history, err := p.Vocabulary().EncodeChat(r.Prompt.Messages)
	if err != nil {
		t.Fatal(err)
	}
	gap := gapOf(t, p, r, lambda, append(history, want[:at]...), at, got[at], want[at])
	scale := math.Abs(1-lambda) + math.Abs(lambda)
	if temperature > 0 {
		scale /= temperature
	}
	t.Logf("exception: %q, λ = %v, token %d, gap of the top two %.2g", prompt, lambda, at, gap)
	if !(gap <= 2*move*scale) {
		t.Errorf("%q, λ = %v, token %d: gap %v, but passes move scores by %v at most", prompt, lambda, at, gap, 2*move*scale)
	}
}

// gapOf is how far apart the scores of two tokens are after a history, with both models read afresh. The
// engine that owns the models is idle.
func gapOf(t *testing.T, p *llamacpp.Pair, r decode.Request, lambda float64, history []decode.Token, position int, a, b decode.Token) float64 {
	t.Helper()
	aligned, err := p.Aligned(p.AlignedNames()[0])
	if err != nil {
		t.Fatal(err)
	}
	var gap float64
	for i, m := range []decode.Model{p.Reference(), aligned} {
		z := read(t, m, 0, history)
		m.Trim(0, 0)
		gap += []float64{1 - lambda, lambda}[i] * (float64(z[a]) - float64(z[b]))
	}
	if T := r.Sampling.Temperature; T > 0 {
		gap = gap/T + decode.Gumbel(r.Seed, 0, position, a) - decode.Gumbel(r.Seed, 0, position, b)
	}
	return math.Abs(gap)
}

// read decodes a history in one pass and returns the logits after it.
func read(t *testing.T, m decode.Model, seq decode.Seq, history []decode.Token) []float32 {
	t.Helper()
	var rows []decode.Row
	for pos, id := range history {
		rows = append(rows, decode.Row{Token: id, Pos: pos, Seq: seq, Want: pos == len(history)-1})
	}
	if err := m.Forward(rows); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(m.Logits(len(rows) - 1))
}

// shapeMove is the largest difference that the shape of passes and the layout of the cache alone make to a
// logit: two to eight continuations of a prompt, decoded as that many rows a pass in sequences forked from
// one, and each for itself in an empty cache, one row a pass.
func shapeMove(t *testing.T, p *llamacpp.Pair) (largest float64) {
	t.Helper()
	return shapeMoveOver(t, p, 14, 40)
}

// shapeMoveOver is shapeMove over so many prompts and tokens of each continuation.
func shapeMoveOver(t *testing.T, p *llamacpp.Pair, count, length int) (largest float64) {
	t.Helper()
	aligned, err := p.Aligned(p.AlignedNames()[0])
	if err != nil {
		t.Fatal(err)
	}
	reference, moved := moveOf(t, p.Reference(), p.Vocabulary(), count, length), moveOf(t, aligned, p.Vocabulary(), count, length)
	t.Logf("the shape of passes moves the reference's logits by at most %.2g, the aligned model's by %.2g", reference, moved)
	return max(reference, moved)
}

func moveOf(t *testing.T, m decode.Model, v decode.Vocabulary, count, length int) (largest float64) {
	t.Helper()
	for i, prompt := range prompts(t)[:count] {
		forks := 2 + i%7
		history, err := v.EncodeChat([]decode.Message{{Role: "user", Content: prompt}})
		if err != nil {
			t.Fatal(err)
		}
		token := func(fork, i int) decode.Token { return decode.Token(300 + (fork*length+i)*37%1500) }
		read(t, m, 0, history)
		for fork := range decode.Seq(forks) {
			if fork > 0 {
				m.Copy(fork, 0, len(history))
			}
		}
		together := make([][][]float32, forks)
		for i := range length {
			var rows []decode.Row
			for fork := range forks {
				rows = append(rows, decode.Row{Token: token(fork, i), Pos: len(history) + i, Seq: decode.Seq(fork), Want: true})
			}
			if err := m.Forward(rows); err != nil {
				t.Fatal(err)
			}
			for fork := range forks {
				together[fork] = append(together[fork], slices.Clone(m.Logits(fork)))
			}
		}
		for fork := range decode.Seq(forks) {
			m.Trim(fork, 0)
		}
		for fork := range 2 {
			read(t, m, 0, history)
			for i := range length {
				if err := m.Forward([]decode.Row{{Token: token(fork, i), Pos: len(history) + i, Want: true}}); err != nil {
					t.Fatal(err)
				}
				for id, z := range m.Logits(0) {
					largest = max(largest, math.Abs(float64(z)-float64(together[fork][i][id])))
				}
			}
			m.Trim(0, 0)
		}
	}
	return largest
}

// Eight lanes with equal λ and one sample decode exactly the rows of one.
func TestEqualLanesDecodeTheRowsOfOne(t *testing.T) {
	p := openDemo(t)
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e.Close()
	_, one := decoded(t, e, chat("What did you think of the film?", 7, 0.7, 0.5))
	_, eight := decoded(t, e, chat("What did you think of the film?", 7, 0.7, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5))
	if fmt.Sprint(one.Rows) != fmt.Sprint(eight.Rows) || one.Rows["reference"] == 0 {
		t.Errorf("one lane decoded %v rows, eight equal ones %v", one.Rows, eight.Rows)
	}
}

// At 200 random λ the map's text is that of a lane at that λ, alone, with --plain; exceptions as above.
func TestMapEqualsLanes(t *testing.T) {
	p := openDemo(t)
	move := shapeMove(t, p)
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e.Close()
	random := rand.New(rand.NewPCG(7, 8))
	compared, exceptions, branches := 0, 0, 0
	for i, prompt := range prompts(t)[:20] {
		r := chat(prompt, uint64(i), []float64{0, 0.7}[i%2])
		if i%4 == 3 {
			r.Sampling.MinP = 0.05
		}
		r.Map = &decode.Map{From: 0, To: 2, Branches: 64}
		var m decode.LambdaMap
		j, err := e.Start(r, m.Add)
		if err != nil {
			t.Fatal(err)
		}
		<-j.Done()
		if m.Covered() != 1 {
			t.Errorf("%q: the map covers %v", prompt, m.Covered())
		}
		branches += len(m.Branches)
		for range 10 {
			lambda := 2 * random.Float64()
			single := r
			single.Map, single.Plain = nil, true
			single.Lanes = []decode.Lane{{Lambda: decode.Vector{lambda}}}
			plain, _ := decoded(t, e, single)
			compared++
			if got, want := m.At(lambda).Tokens, ids(plain[0]); !slices.Equal(got, want) {
				exceptions++
				checkException(t, p, r, lambda, got, want, move)
			}
		}
	}
	t.Logf("%d λ on 20 maps of %d branches in all compared, %d exceptions", compared, branches, exceptions)
}

// A turn that follows what its owner asked before reads only what is new, and says what it says, alone, with --plain;
// exceptions as above.
func TestFollowUpEqualsPlain(t *testing.T) {
	p := openDemo(t)
	move := shapeMove(t, p)
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e.Close()
	list := prompts(t)
	compared, exceptions, cached, total := 0, 0, 0, 0
	for i := range 12 {
		r := chat(list[i], uint64(i), 0.7, 0, 0.5, 1.5)
		r.Owner = fmt.Sprint("owner ", i%3)
		for turn := range 3 {
			lanes, stats := decoded(t, e, r)
			if turn > 0 && stats.Cached < stats.PromptTokens/3 {
				t.Errorf("turn %d of %d tokens found %d", turn, stats.PromptTokens, stats.Cached)
			}
			cached, total = cached+stats.Cached, total+stats.PromptTokens
			for lane := range r.Lanes {
				single := r
				single.Plain, single.Lanes = true, r.Lanes[lane:lane+1]
				plain, _ := decoded(t, e, single)
				compared++
				if got, want := ids(lanes[lane]), ids(plain[lane]); !slices.Equal(got, want) {
					exceptions++
					checkException(t, p, r, r.Lanes[lane].Lambda[0], got, want, move)
				}
			}
			var answer strings.Builder
			for _, token := range lanes[turn] {
				answer.WriteString(token.Text)
			}
			r.Prompt.Messages = append(slices.Clone(r.Prompt.Messages),
				decode.Message{Role: "assistant", Content: answer.String()}, decode.Message{Role: "user", Content: list[20+i+turn]})
		}
	}
	t.Logf("%d lanes compared, %d exceptions; %d of %d prompt tokens were found", compared, exceptions, cached, total)
}

// With guesses every lane says what it says, alone, with --plain; exceptions as above. REALIGN_SEEDS is the number of
// seeds, at seven λ each, for each scheme.
func TestSpeculationEqualsPlain(t *testing.T) {
	seeds, err := strconv.Atoi(cmp.Or(os.Getenv("REALIGN_SEEDS"), "15"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("alternating", func(t *testing.T) { testSpeculation(t, speculate.Alternating, seeds) })
	t.Run("drafting", func(t *testing.T) { testSpeculation(t, speculate.Drafting, seeds) })
}

func testSpeculation(t *testing.T, scheme func() decode.Speculator, seeds int) {
	p := openDemo(t)
	move := shapeMove(t, p)
	e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}, Speculation: scheme})
	defer e.Close()
	compared, exceptions, tokens, accepted := 0, 0, 0, int64(0)
	all := prompts(t)
	for i := range seeds {
		prompt := all[i%len(all)]
		r := chat(prompt, uint64(i), []float64{0, 0.7}[i%2], -0.5, 0, 0.3, 0.5, 0.8, 1, 1.5)
		if i%3 == 0 { // lanes that share the run, and guesses
			together, _ := decoded(t, e, r)
			for lane := range r.Lanes {
				single := r
				single.Plain, single.Lanes = true, r.Lanes[lane:lane+1]
				plain, _ := decoded(t, e, single)
				compared++
				if got, want := ids(together[lane]), ids(plain[lane]); !slices.Equal(got, want) {
					exceptions++
					checkException(t, p, r, r.Lanes[lane].Lambda[0], got, want, move)
				}
			}
			continue
		}
		for lane := range r.Lanes {
			single := r
			single.Lanes = r.Lanes[lane : lane+1]
			guessed, stats := decoded(t, e, single)
			single.Plain = true
			plain, _ := decoded(t, e, single)
			compared++
			tokens, accepted = tokens+stats.Tokens, accepted+stats.Accepted
			if got, want := ids(guessed[lane]), ids(plain[lane]); !slices.Equal(got, want) {
				exceptions++
				checkException(t, p, r, r.Lanes[lane].Lambda[0], got, want, move)
			}
		}
	}
	if accepted == 0 {
		t.Error("no guess was right")
	}
	t.Logf("%d lanes compared, %d exceptions; of %d tokens of lanes alone %d were guessed", compared, exceptions, tokens, accepted)
}

package llamacpp_test

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/llamacpp"
	"realign/internal/decode/speculate"
	"realign/internal/pair"
)

// openDemoWith loads the demo pair on the CPU with some options.
func openDemoWith(t testing.TB, o llamacpp.Options) *llamacpp.Pair {
	t.Helper()
	demo, err := pair.Load(filepath.Join("..", "..", "..", "models", "demo"))
	if err != nil {
		t.Fatal(err)
	}
	files := demo.Files()
	spec := llamacpp.Spec{Reference: files[0].Path, Options: o}
	for _, f := range files[1:] {
		spec.Aligned = append(spec.Aligned, llamacpp.Aligned{Name: f.Role, Path: f.Path})
	}
	p, err := llamacpp.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// openBothWays is the demo pair in one pass and in two contexts.
func openBothWays(t testing.TB) (one, two *llamacpp.Pair) {
	t.Helper()
	return openDemoWith(t, llamacpp.Options{OnePass: llamacpp.OnePassOn}), openDemoWith(t, llamacpp.Options{OnePass: llamacpp.OnePassOff})
}

// joinable reports whether two models can be read in one pass.
func joinable(a, b decode.Model) bool {
	x, ok := a.(decode.Joint)
	y, ok2 := b.(decode.Joint)
	return ok && ok2 && x.Context() == y.Context()
}

// seedCount is how many seeds a test uses: REALIGN_SEEDS, or so many.
func seedCount(t *testing.T, otherwise string) int { return number(t, "REALIGN_SEEDS", otherwise) }

// number is that of an environment variable, or the other one.
func number(t *testing.T, variable, otherwise string) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(variable), otherwise))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// twins are models of the demo pair that share a context, and the same models in contexts of their own.
type twins struct {
	shared, apart []decode.Model
	at            int // positions that all of them hold
}

// read gives the same rows to some of the models, in one pass and apart, and compares what those say that are wanted.
func (w *twins) read(t *testing.T, which []int, tokens []decode.Token, wanted func(i int) bool) {
	t.Helper()
	var rows []decode.Row
	for i, token := range tokens {
		rows = append(rows, decode.Row{Token: token, Pos: w.at + i, Want: wanted(i)})
	}
	var models []decode.Model
	var all [][]decode.Row
	for _, m := range which {
		models, all = append(models, w.shared[m]), append(all, rows)
		if err := w.apart[m].Forward(rows); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if len(models) == 1 {
		err = models[0].Forward(rows)
	} else {
		err = models[0].(decode.Joint).ForwardJoint(models, all)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		for _, m := range which {
			got, want := w.shared[m].Logits(i), w.apart[m].Logits(i)
			if (got != nil) != wanted(i) {
				t.Fatalf("model %d, row %d: %d logits", m, i, len(got))
			}
			if !slices.Equal(got, want) {
				t.Errorf("models %v, model %d, row %d of %d at %d: logits differ", which, m, i, len(rows), w.at)
			}
		}
	}
}

// Rows of the reference and of adapters in one pass say what these models say in contexts of their own: to the last bit, as
// products of eight-bit weights do not depend on the number of rows. That holds for passes with rows that are not wanted, for
// passes of one of the models, and with adapters that join later.
func TestOnePassLogits(t *testing.T) {
	one, two := openBothWays(t)
	defer one.Close()
	defer two.Close()
	history, err := one.Vocabulary().EncodeChat([]decode.Message{{Role: "user", Content: prompts(t)[0]}})
	if err != nil {
		t.Fatal(err)
	}
	w := twins{shared: []decode.Model{one.Reference()}, apart: []decode.Model{two.Reference()}}
	last := func(i int) bool { return i == len(history)-1 }
	every := func(int) bool { return true }
	w.read(t, []int{0}, history, last)
	for i, name := range one.AlignedNames()[:4] {
		a, err := one.Aligned(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := two.Aligned(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := joinable(one.Reference(), a), i < 3; got != want {
			t.Fatalf("adapter %d is in the reference's context: %v", i, got)
		}
		if i == 3 { // it has a context of its own
			break
		}
		w.shared, w.apart = append(w.shared, a), append(w.apart, b)
		w.at = 0
		w.read(t, []int{i + 1}, history, last)
		w.at = len(history)
		both := []int{0, i + 1}
		w.read(t, both, []decode.Token{300, 301, 302}, func(i int) bool { return i != 1 })
		for _, m := range slices.Concat(w.shared, w.apart) {
			m.Trim(0, w.at)
		}
	}
	w.read(t, []int{0, 1, 2, 3}, []decode.Token{300}, every)
	w.at++
	w.read(t, []int{0}, []decode.Token{301}, every) // without adapters, though they are still computed
	w.read(t, []int{3, 1}, []decode.Token{301}, every)
	w.at++
	w.read(t, []int{1, 0}, []decode.Token{302, 303}, every)
}

// In one pass lanes say what they say in two contexts: lanes together, lanes alone, with guesses, with --plain, and λ-maps. At
// λ = 0 and 1 it is what each model says alone. Exceptions by the gap of the two candidates, as of passes of another shape.
// REALIGN_SEEDS is the number of seeds.
func TestOnePassEqualsTwoContexts(t *testing.T) {
	seeds := seedCount(t, "12")
	one, two := openBothWays(t)
	move := shapeMove(t, two)
	alone1 := openDemoWith(t, llamacpp.Options{OnePass: llamacpp.OnePassOff})
	defer alone1.Close()
	aligned, err := alone1.Aligned(alone1.AlignedNames()[0])
	if err != nil {
		t.Fatal(err)
	}
	models := map[float64]decode.Model{0: alone1.Reference(), 1: aligned}
	e1 := decode.NewEngine(one, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e1.Close()
	e2 := decode.NewEngine(two, decode.Config{Kernel: llamacpp.Kernel{}})
	defer e2.Close()
	all := prompts(t)
	compared, exceptions := 0, 0
	check := func(r decode.Request, lane int, got, want []decode.Token) {
		t.Helper()
		if compared++; !slices.Equal(got, want) {
			exceptions++
			checkException(t, two, r, r.Lanes[lane].Lambda[0], got, want, move)
		}
	}
	for i := range seeds {
		r := chat(all[i%len(all)], uint64(i), []float64{0, 0.7}[i%2], -0.5, 0, 0.3, 1, 1.5)
		together, _ := decoded(t, e1, r)
		other, _ := decoded(t, e2, r)
		for lane := range r.Lanes {
			check(r, lane, ids(together[lane]), ids(other[lane]))
			single := r
			single.Plain, single.Lanes = true, r.Lanes[lane:lane+1]
			plain, _ := decoded(t, e1, single)
			check(r, lane, ids(together[lane]), ids(plain[lane]))
			if m := models[r.Lanes[lane].Lambda[0]]; m != nil {
				check(r, lane, ids(plain[lane]), alone(t, m, one.Vocabulary(), r))
			}
		}
	}
	t.Logf("%d lanes compared, %d exceptions", compared, exceptions)
}

// Guesses change no token in one pass, either.
func TestOnePassSpeculates(t *testing.T) {
	for _, scheme := range []func() decode.Speculator{speculate.Alternating, speculate.Drafting} {
		one := openDemoWith(t, llamacpp.Options{OnePass: llamacpp.OnePassOn})
		move := shapeMove(t, one)
		e := decode.NewEngine(one, decode.Config{Kernel: llamacpp.Kernel{}, Speculation: scheme})
		accepted, compared := int64(0), 0
		for i, prompt := range prompts(t)[:seedCount(t, "6")%50] {
			for _, lambda := range []float64{0.3, 1.5} {
				r := chat(prompt, uint64(i), []float64{0, 0.7}[i%2], lambda)
				guessed, stats := decoded(t, e, r)
				r.Plain = true
				plain, _ := decoded(t, e, r)
				accepted += stats.Accepted
				compared++
				if got, want := ids(guessed[0]), ids(plain[0]); !slices.Equal(got, want) {
					checkException(t, one, r, lambda, got, want, move)
				}
			}
		}
		if accepted == 0 {
			t.Error("no guess was right")
		}
		e.Close()
		t.Logf("%d lanes compared", compared)
	}
}

// A λ-map in one pass is the map of two contexts, and a follow-up turn finds its prefix in the cache.
func TestOnePassMapsAndPrefixes(t *testing.T) {
	one, two := openBothWays(t)
	var maps [2][]decode.Branch
	var cached [2]int
	for k, p := range []*llamacpp.Pair{one, two} {
		e := decode.NewEngine(p, decode.Config{Kernel: llamacpp.Kernel{}})
		r := chat(prompts(t)[1], 3, 0.7)
		r.Owner = "somebody"
		r.Map = &decode.Map{From: 0, To: 2, Branches: 32}
		job, err := e.Start(r, func(ev decode.Event) {
			if ev.Branch != nil {
				maps[k] = append(maps[k], *ev.Branch)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-job.Done()
		again := chat(prompts(t)[1], 3, 0.7, 0.5)
		again.Owner = "somebody"
		_, stats := decoded(t, e, again)
		cached[k] = stats.Cached
		e.Close()
	}
	if len(maps[0]) != len(maps[1]) || len(maps[0]) < 2 {
		t.Fatalf("%d branches in one pass, %d in two contexts", len(maps[0]), len(maps[1]))
	}
	for i := range maps[0] {
		a, b := maps[0][i], maps[1][i]
		if !slices.Equal(a.Tokens, b.Tokens) || a.From != b.From || a.To != b.To {
			t.Errorf("branch %d: %v to %v, %v to %v", i, a.From, a.To, b.From, b.To)
		}
	}
	if cached[0] == 0 || cached[0] != cached[1] {
		t.Errorf("%d tokens of a repeated prompt were in the cache, %d in two contexts", cached[0], cached[1])
	}
}

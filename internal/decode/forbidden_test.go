package decode_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

// forbidding is a pair whose models give −∞ to a third of the tokens, each to others.
func forbidding(seed uint64) (*decodetest.Pair, *decodetest.Model, *decodetest.Model) {
	pair := decodetest.New(decodetest.Options{Seed: seed, EndLogit: -2, Forbidden: 0.35, Sequences: 256, Cells: 1 << 14})
	warm, err := pair.Aligned("warm")
	if err != nil {
		panic(err)
	}
	return pair, pair.Table(), warm.(*decodetest.Model)
}

// mixture is the definition: what a model of weight ≠ 0 forbids is forbidden, and the rest is mixed.
func mixture(lambda float64, r, a []float32) []float64 {
	z := make([]float64, len(r))
	for v := range z {
		for _, one := range []struct{ w, x float64 }{{1 - lambda, float64(r[v])}, {lambda, float64(a[v])}} {
			switch {
			case one.w == 0:
			case math.IsInf(one.x, -1):
				z[v] = math.Inf(-1)
			case !math.IsInf(z[v], -1):
				z[v] += one.w * one.x
			}
		}
	}
	return z
}

func probabilities(z []float64) []float64 {
	top, sum := slices.Max(z), 0.0
	p := make([]float64, len(z))
	for v, x := range z {
		p[v] = math.Exp(x - top)
		sum += p[v]
	}
	for v := range p {
		p[v] /= sum
	}
	return p
}

func wide(row []float32) []float64 {
	z := make([]float64, len(row))
	for v, x := range row {
		z[v] = float64(x)
	}
	return z
}

// kl is Σ p·log(p/q), infinite where q forbids what p says.
func kl(p, q []float64) (sum float64) {
	for v := range p {
		if p[v] > 0 {
			sum += p[v] * math.Log(p[v]/q[v])
		}
	}
	return sum
}

// Models that forbid tokens: at every λ, with drafts and without, the tokens are those of brute force, and so are KL and log Z.
func TestForbiddenTokens(t *testing.T) {
	infinite := 0
	for i := range 16 {
		pair, reference, warm := forbidding(uint64(i))
		e := decode.NewEngine(pair, decode.Config{Speculation: speculation(i)})
		defer e.Close()
		req := request(-1, -0.5, 0, 0.5, 1, 2)
		req.Seed, req.Plain = uint64(i), i%5 == 0
		req.Sampling.Temperature = []float64{0, 0.8, 1.2}[i%3]
		if i%2 == 1 {
			req.Sampling.TopK, req.Sampling.TopP, req.Sampling.MinP = 11, 0.999999, 1e-9 // more than are allowed: they leave out nothing that could be chosen
		}
		got := run(t, e, req)
		prompt := got.all[0].Prompt.Tokens
		for _, lane := range req.Lanes {
			if end := got.end(lane.Index); end.Error != nil {
				t.Fatalf("case %d, λ = %v: %v", i, lane.Lambda, end.Error)
			}
			history := slices.Clone(prompt)
			for _, event := range got.all {
				if event.Type != decode.EventToken || event.Lane != lane.Index {
					continue
				}
				a, b := history[len(history)-2], history[len(history)-1]
				r, w := reference.Next(a, b), warm.Next(a, b)
				z := mixture(lane.Lambda[0], r, w)
				best, top := 0, math.Inf(-1)
				for v, x := range z {
					if s := req.Sampling.Temperature; s > 0 {
						x = x/s + decode.Gumbel(req.Seed, 0, event.Index, decode.Token(v))
					}
					if x > top {
						best, top = v, x
					}
				}
				if event.ID != decode.Token(best) {
					t.Fatalf("case %d, λ = %v, token %d: %v, want %v", i, lane.Lambda, event.Index, event.ID, best)
				}
				p, pr, pw := probabilities(z), probabilities(wide(r)), probabilities(wide(w))
				sum := 0.0 // Z over the tokens that all models of weight ≠ 0 allow
				for v := range p {
					if p[v] > 0 {
						term := 1.0
						if lane.Lambda[0] != 1 {
							term *= math.Pow(pr[v], 1-lane.Lambda[0])
						}
						if lane.Lambda[0] != 0 {
							term *= math.Pow(pw[v], lane.Lambda[0])
						}
						sum += term
					}
				}
				for name, one := range map[string]struct{ got, want float64 }{
					"KL to the reference": {*event.KLReference, kl(p, pr)}, "KL to the aligned model": {event.KLAligned[0], kl(p, pw)}, "log Z": {*event.LogZ, math.Log(sum)},
				} {
					if math.IsInf(one.want, 1) {
						infinite++
						one.want = math.MaxFloat64 // what JSON can hold
					}
					if !(math.Abs(one.got-one.want) <= 1e-6*(1+math.Abs(one.want))) {
						t.Fatalf("case %d, λ = %v, token %d: %s is %v, want %v", i, lane.Lambda, event.Index, name, one.got, one.want)
					}
				}
				history = append(history, event.ID)
			}
		}
	}
	if infinite == 0 {
		t.Error("no model of weight 0 forbade anything")
	}
}

// A λ-map over models that forbid tokens says what lanes say, but for λ = 0 and 1 themselves, where one model has no weight.
func TestForbiddenTokensInMaps(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	for i := range 20 {
		pair, _, _ := forbidding(uint64(i))
		e := decode.NewEngine(pair, decode.Config{})
		defer e.Close()
		ends := [][2]float64{{-1, 2}, {0, 1}, {0, 2}, {-0.5, 1}, {0.25, 0.75}}[i%5]
		req := mapRequest(ends[0], ends[1])
		req.Seed = uint64(i)
		req.Sampling.Temperature = []float64{0, 0.8}[i%2]
		req.Sampling.MinP = []float64{0, 0, 0.05}[i%3]
		m, _ := mapped(t, e, req)
		lanes := req
		lanes.Map, lanes.Plain = nil, true
		for n := range 24 {
			lanes.Lanes = append(lanes.Lanes, decode.Lane{Index: n, Lambda: decode.Vector{ends[0] + random.Float64()*(ends[1]-ends[0])}})
		}
		want := run(t, e, lanes)
		for _, l := range lanes.Lanes {
			if b := m.At(l.Lambda[0]); !slices.Equal(b.Tokens, want.tokens(l.Index)) {
				t.Fatalf("case %d, λ = %v: %v, a lane says %v", i, l.Lambda, b.Tokens, want.tokens(l.Index))
			}
		}
	}
}

// The log-probability of a lane's tokens at another λ is that of the definition: −∞, as far as JSON can hold it, where they are forbidden.
func TestForbiddenTokensEvaluated(t *testing.T) {
	impossible := 0
	for i := range 8 {
		pair, reference, warm := forbidding(uint64(i))
		e := decode.NewEngine(pair, decode.Config{})
		defer e.Close()
		req := request(-1, 0, 0.5, 1, 2)
		req.Seed, req.Sampling.MaxTokens = uint64(i), 4
		req.Totals, req.Evaluate = true, []float64{-1, -0.5, 0, 0.5, 1, 2}
		got := run(t, e, req)
		for _, lane := range req.Lanes {
			want := make([]float64, len(req.Evaluate))
			history := slices.Clone(got.all[0].Prompt.Tokens)
			for _, id := range got.tokens(lane.Index) {
				a, b := history[len(history)-2], history[len(history)-1]
				for k, l := range req.Evaluate {
					want[k] += logSoftmax(mixture(l, reference.Next(a, b), warm.Next(a, b)), id, req.Sampling.Temperature)
				}
				history = append(history, id)
			}
			for k, x := range got.end(lane.Index).Totals.Evaluated {
				if math.IsInf(want[k], -1) {
					impossible++
					want[k] = -math.MaxFloat64
				}
				if !(math.Abs(x-want[k]) <= 1e-9*(1+math.Abs(want[k]))) {
					t.Errorf("case %d, lane at %v: log-probability at λ = %v is %v, want %v", i, lane.Lambda, req.Evaluate[k], x, want[k])
				}
			}
		}
	}
	if impossible == 0 {
		t.Error("every lane was possible at every λ")
	}
}

// A NaN or +∞ of a model ends the lane with an error at every λ at which that model is read, and so does a prefix after which
// nothing is left.
func TestLogitsThatCannotBeMixed(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		for _, lambda := range []float64{-1, -0.5, 0, 0.5, 1, 2} {
			for m, w := range []float64{1 - lambda, lambda} {
				if w == 0 {
					continue // it is read for the trace only
				}
				pair, reference, warm := forbidding(1)
				model := []*decodetest.Model{reference, warm}[m]
				for a := range pair.Size() {
					for b := range pair.Size() {
						model.Next(decode.Token(a), decode.Token(b))[decodetest.Letters] = float32(bad)
					}
				}
				e := decode.NewEngine(pair, decode.Config{})
				req := request(lambda)
				req.Trace.Off = true
				if end := run(t, e, req).end(0); end.Reason != decode.EndError || end.Error == nil {
					t.Errorf("a logit %v of model %d at λ = %v: the lane ends with %q", bad, m, lambda, end.Reason)
				}
				e.Close()
			}
		}
	}
	pair, reference, warm := forbidding(1)
	for a := range pair.Size() {
		for b := range pair.Size() {
			r, w := reference.Next(decode.Token(a), decode.Token(b)), warm.Next(decode.Token(a), decode.Token(b))
			for v := range r {
				if v%2 == 0 {
					r[v] = float32(math.Inf(-1))
				} else {
					w[v] = float32(math.Inf(-1))
				}
			}
		}
	}
	e := decode.NewEngine(pair, decode.Config{})
	defer e.Close()
	if end := run(t, e, request(0.5)).end(0); end.Reason != decode.EndError || end.Error.Message != "no token is left: each is forbidden (−∞) by one of the models that are mixed" {
		t.Errorf("%+v", end)
	}
	if end := run(t, e, request(0)).end(0); end.Error != nil {
		t.Errorf("the reference alone: %+v", end.Error)
	}
}

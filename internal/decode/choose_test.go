package decode

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// plainChoose is choose by its definition: sort, keep, add noise to everything kept.
func plainChoose(z []float64, s *Sampling, g Noise) int {
	if s.Temperature == 0 {
		best := 0
		for v := range z {
			if z[v] > z[best] {
				best = v
			}
		}
		return best
	}
	scaled := make([]float64, len(z))
	for v := range z {
		scaled[v] = z[v] / s.Temperature
	}
	order := make([]int, len(z))
	for v := range order {
		order[v] = v
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case z[a] > z[b]:
			return -1
		case z[a] < z[b]:
			return 1
		}
		return 0
	})
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	if s.TopP < 1 {
		kept := make([]float64, len(order))
		for i, v := range order {
			kept[i] = scaled[v]
		}
		p, sum := softmax(kept), 0.0
		for i := range p {
			if sum += p[i]; sum >= s.TopP {
				order = order[:i+1]
				break
			}
		}
	}
	if s.MinP > 0 {
		least := scaled[order[0]] + math.Log(s.MinP)
		order = slices.DeleteFunc(order, func(v int) bool { return scaled[v] < least })
	}
	best, score := -1, math.Inf(-1)
	for _, v := range order {
		if x := scaled[v] + gumbel(g.bits(v)); x > score || x == score && v < best {
			best, score = v, x
		}
	}
	return best
}

func TestChooseEqualsItsDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	var c chooser
	for i := range 4000 {
		z := make([]float64, 2+random.IntN(700))
		spread := 6 * random.Float64()
		for v := range z {
			z[v] = spread * random.NormFloat64()
		}
		s := Sampling{Temperature: 0.1 + 2*random.Float64(), TopP: 1}
		if i%10 == 0 {
			s.Temperature = 0
		}
		if random.IntN(2) == 0 {
			s.TopK = 1 + random.IntN(len(z)+5)
		}
		if random.IntN(2) == 0 {
			s.TopP = 0.01 + 0.98*random.Float64()
		}
		if random.IntN(3) == 0 {
			s.MinP = 0.3 * random.Float64()
		}
		g := NewNoise(uint64(i), i%3, i)
		at, top := maximum(z)
		if got, want := c.choose(Plain{}, z, at, top, &s, g), plainChoose(z, &s, g); got != want {
			t.Fatalf("case %d, %d tokens, %+v: chose %d, want %d", i, len(z), s, got, want)
		}
	}
}

func TestSelectLargest(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 9))
	for range 300 {
		z := make([]float64, 600+random.IntN(600))
		for v := range z {
			z[v] = float64(random.IntN(400)) // many ties
		}
		sorted := slices.Clone(z)
		slices.Sort(sorted)
		k := 1 + random.IntN(len(z))
		var c chooser
		if got, want := c.kthLargest(z, k), sorted[len(z)-k]; got != want {
			t.Fatalf("%d-th largest of %d is %v, want %v", k, len(z), got, want)
		}
	}
}

// The frequencies of coupled sampling are those of the softmax (chi-square at 0.1%).
func TestCoupledSamplingFollowsTheDistribution(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	z := make([]float64, 12)
	for v := range z {
		z[v] = 1.3 * random.NormFloat64()
	}
	s := Sampling{Temperature: 0.8, TopP: 1}
	scaled := make([]float64, len(z))
	for v := range z {
		scaled[v] = z[v] / s.Temperature
	}
	p := softmax(scaled)
	at, top := maximum(z)
	const n = 200_000
	counts := make([]float64, len(z))
	var c chooser
	for i := range n {
		counts[c.choose(Plain{}, z, at, top, &s, NewNoise(99, i%7, i/7))]++
	}
	statistic := 0.0
	for v := range z {
		expected := n * p[v]
		statistic += (counts[v] - expected) * (counts[v] - expected) / expected
	}
	limit := distuv.ChiSquared{K: float64(len(z) - 1)}.Quantile(0.999)
	if statistic > limit {
		t.Errorf("chi-square %.1f exceeds %.1f: %v against %v", statistic, limit, counts, p)
	}
}

func TestGumbelBound(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	for i := range 100_000 {
		b := random.Uint64() >> (i % 64)
		if g, bound := gumbel(b), gumbelBound(b); g > bound || math.IsNaN(g) || math.IsInf(g, 0) {
			t.Fatalf("bits %#x: noise %v, bound %v", b, g, bound)
		}
	}
}

func TestPenaltiesAreTakenBack(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 16))
	z := make([]float64, 40)
	for v := range z {
		z[v] = random.NormFloat64()
	}
	before := slices.Clone(z)
	var p penalties
	s := Sampling{RepeatPenalty: 1.3, PresencePenalty: 0.5, FrequencyPenalty: 0.2, Bias: map[Token]float64{3: 2, 39: -1}}
	p.apply(z, math.Log(Plain{}.Expect(nil, z, 0, nil)), []Token{3, 4, 4, 5}, &s)
	if want := before[39] - 1; z[39] != want {
		t.Errorf("biased logit %v, want %v", z[39], want)
	}
	if z[4] >= before[4]-0.9+1e-9 {
		t.Errorf("token seen twice: %v after %v", z[4], before[4])
	}
	p.undo(z)
	if !slices.Equal(z, before) {
		t.Error("undo did not restore the logits")
	}
}

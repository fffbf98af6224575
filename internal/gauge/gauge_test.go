package gauge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/gauge"
)

// place is the replies to a prompt at one λ: their log weights under token-wise decoding, and the true distance.
type place struct {
	logWeights, cumulated []float64
	distance, size        float64 // size: effective share, (E w)²/E w²
}

// newPlace enumerates the replies of a table.
func newPlace(options decodetest.Options, lambda float64, length int) (p place) {
	pair := decodetest.New(options)
	model, err := pair.Aligned("warm")
	if err != nil {
		panic(err)
	}
	warm := model.(*decodetest.Model)
	var qs []float64
	var grow func(a, b decode.Token, n int, q, logW float64)
	grow = func(a, b decode.Token, n int, q, logW float64) {
		if n == length || n > 0 && b == decodetest.End {
			p.logWeights, qs = append(p.logWeights, logW), append(qs, q)
			return
		}
		r, w := pair.Table().Next(a, b), warm.Next(a, b)
		mix := make([]float64, len(r))
		for v := range r {
			mix[v] = (1-lambda)*float64(r[v]) + lambda*float64(w[v])
		}
		sum := logSum(mix)
		logZ := sum - (1-lambda)*logSum(r) - lambda*logSum(w)
		for v := range mix {
			if x := mix[v] - sum; x > -20 {
				grow(b, decode.Token(v), n+1, q*math.Exp(x), logW+logZ)
			}
		}
	}
	grow(decodetest.Letters, decodetest.Turn, 0, 1, 0)
	total, z, squares := 0.0, 0.0, 0.0
	for i, q := range qs {
		total += q
		p.cumulated = append(p.cumulated, total)
		w := math.Exp(p.logWeights[i])
		z += q * w
		squares += q * w * w
	}
	for i, q := range qs {
		p.distance += q * math.Abs(math.Exp(p.logWeights[i])/z-1) / 2
	}
	p.size = z * z / squares
	return p
}

func logSum[F float32 | float64](row []F) float64 {
	top := float64(slices.Max(row))
	sum := 0.0
	for _, x := range row {
		sum += math.Exp(float64(x) - top)
	}
	return top + math.Log(sum)
}

// draw are the log weights of n samples.
func (p *place) draw(n int, random *rand.Rand) []float64 {
	sample := make([]float64, n)
	for i := range sample {
		at := sort.SearchFloat64s(p.cumulated, random.Float64()*p.cumulated[len(p.cumulated)-1])
		sample[i] = p.logWeights[min(at, len(p.logWeights)-1)]
	}
	return sample
}

// places are tables of all degrees of disagreement, at λ within and beyond [0, 1].
func places(tables int) (all []place) {
	for i := range tables {
		for _, lambda := range []float64{0.25, 0.5, 0.75, 1.5, 2} {
			all = append(all, newPlace(decodetest.Options{Seed: uint64(i), Letters: 2, Spread: 0.1 + 0.1*float64(i%12), EndLogit: -1}, lambda, 5))
		}
	}
	return all
}

// TestLimitHolds: the upper limit of the distance holds about as often as it says, and what is said in words is rarely worse than the
// truth: log weights of short replies are not quite normal. -v prints the table of docs/exact.md.
func TestLimitHolds(t *testing.T) {
	tables, repeats := 24, 20
	if os.Getenv("REALIGN_SIMULATIONS") != "" {
		tables, repeats = 120, 100
	}
	random := rand.New(rand.NewPCG(1, 2))
	all := places(tables)
	for _, n := range []int{2, 4, 8, 16, 64} {
		held, runs := 0, 0
		said := map[gauge.Level]map[gauge.Level]int{}
		bias, spread := 0.0, 0.0
		for i := range all {
			p := &all[i]
			for range repeats {
				g := gauge.Of(p.draw(n, random))
				runs++
				if g.High >= p.distance {
					held++
				}
				level := g.Level()
				if said[level] == nil {
					said[level] = map[gauge.Level]int{}
				}
				said[level][gauge.LevelOf(p.distance)]++
				bias += g.Distance - p.distance
				spread += (g.Distance - p.distance) * (g.Distance - p.distance)
			}
		}
		share := float64(held) / float64(runs)
		line := fmt.Sprintf("%2d samples: limit held %.3f; estimate off by %+.3f, root mean square %.3f;", n, share, bias/float64(runs), math.Sqrt(spread/float64(runs)))
		for _, level := range []gauge.Level{gauge.Close, gauge.Off, gauge.Far, gauge.Unknown} {
			is := said[level]
			line += fmt.Sprintf(" said %s %d: %d %d %d;", level, is[gauge.Close]+is[gauge.Off]+is[gauge.Far], is[gauge.Close], is[gauge.Off], is[gauge.Far])
		}
		t.Log(line)
		if share < 0.87 {
			t.Errorf("%d samples: the limit held in %.3f of %d", n, share, runs)
		}
		if near := said[gauge.Close]; near[gauge.Far] > (near[gauge.Close]+near[gauge.Off])/35 {
			t.Errorf("%d samples: %v were said to be close", n, near)
		}
	}
}

// The distance of a reply's law is the formula's where log weights are normal, and what is said grows with it.
func TestDistance(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, sd := range []float64{0.1, 0.5, 1.5} {
		sum, off := 0.0, 0.0
		const n = 200_000
		w := make([]float64, n)
		for i := range w {
			w[i] = math.Exp(sd*random.NormFloat64() - sd*sd/2)
			sum += w[i]
		}
		for _, x := range w {
			off += math.Abs(x*n/sum-1) / 2 / n
		}
		if d := gauge.Distance(sd * sd); math.Abs(d-off) > 0.01 {
			t.Errorf("standard deviation %v: %v, by sampling %v", sd, d, off)
		}
	}
	for _, c := range []struct {
		logWeights []float64
		level      gauge.Level
		word       string
	}{
		{nil, gauge.Unknown, "One sample"},
		{[]float64{-3}, gauge.Unknown, "One sample"},
		{[]float64{-3, -3.1}, gauge.Unknown, "too few"},
		{[]float64{-3, -3.01, -3, -3.02, -2.99, -3, -3, -3.01}, gauge.Close, "is close"},
		{[]float64{-3, -3.5, -3, -2.5, -3, -3.6, -2.9, -3}, gauge.Off, "Exact λ corrects"},
		{[]float64{0, 0, 0, 0, 0, 0, 0, 0}, gauge.Close, "0%"},
		{[]float64{-3, -6, -1, -9}, gauge.Far, "far off"},
	} {
		g := gauge.Of(c.logWeights)
		if g.Level() != c.level || !strings.Contains(g.Words(), c.word) {
			t.Errorf("%v: %+v, %s: %s", c.logWeights, g, g.Level(), g.Words())
		}
	}
}

package decodetest

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"realign/internal/decode"
)

// TestKernel checks that a kernel computes what the interface says: the mixture bit for bit, sums to a relative
// 1e-12 of their definitions.
func TestKernel(t *testing.T, k decode.Kernel) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 4, 5, 7, 64, 1023, 1024, 1025, 4096} {
		rows := make([][]float32, 3)
		for i := range rows {
			rows[i] = make([]float32, n)
			for v := range rows[i] {
				rows[i][v] = float32(4 * random.NormFloat64())
				if v > 1 && random.IntN(50) == 0 {
					rows[i][v] = float32(math.Inf(-1))
				}
			}
		}
		for _, w := range [][]float64{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0.3, 0.7, 0}, {-1.25, 0.1, 2.15}} {
			t.Run(fmt.Sprint(n, w), func(t *testing.T) { testKernel(t, k, w, rows) })
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			row := slices.Clone(rows[1])
			row[random.IntN(n)] = float32(bad)
			if top, _ := k.Sum(row); !math.IsNaN(top) {
				t.Errorf("the largest of %d logits with a %v is %v, want NaN", n, bad, top)
			}
			for _, w := range [][]float64{{0.5, 0.5}, {1.5, -0.5}, {-1, 2}} {
				for _, pair := range [][][]float32{{rows[2], row}, {row, rows[2]}} {
					if _, top := k.Mix(make([]float64, n), w, pair); !math.IsNaN(top) {
						t.Errorf("the largest of %d logits mixed by %v with a %v is %v, want NaN", n, w, bad, top)
					}
				}
			}
		}
	}
	silent := slices.Repeat([]float32{float32(math.Inf(-1))}, 9)
	if top, _ := k.Sum(silent); !math.IsInf(top, -1) {
		t.Errorf("the largest of nothing but −Inf is %v", top)
	}
	if at, top := k.Mix(make([]float64, 4), []float64{1, 0}, [][]float32{{1, 3, 2, 3}, nil}); at != 1 || top != 3 {
		t.Errorf("the first largest is number %d, %v", at, top)
	}
}

// testKernel checks one mixture: rows [K][n] with a weight each, of which a weight of 0 comes without its row.
func testKernel(t *testing.T, k decode.Kernel, w []float64, rows [][]float32) {
	n := len(rows[0])
	used := slices.Clone(rows)
	want := make([]float64, n)
	for i, row := range rows {
		if w[i] == 0 {
			used[i] = nil
			continue
		}
		for v, x := range row {
			product := w[i] * float64(x)
			if want[v] += product; math.IsInf(float64(x), -1) {
				want[v] = math.Inf(-1)
			}
		}
	}
	for v := range want { // forbidden by one of them, whatever the others say
		for i, row := range rows {
			if w[i] != 0 && math.IsInf(float64(row[v]), -1) {
				want[v] = math.Inf(-1)
			}
		}
	}
	z := slices.Repeat([]float64{99}, n)
	at, top := k.Mix(z, w, used)
	for v := range z {
		if z[v] != want[v] {
			t.Fatalf("entry %d is %v, want %v", v, z[v], want[v])
		}
	}
	if top != slices.Max(want) || at != slices.Index(want, top) {
		t.Errorf("the largest is %v at %d, want %v at %d", top, at, slices.Max(want), slices.Index(want, slices.Max(want)))
	}
	testCandidates(t, k, z, top)
	testTop(t, k, z, rows[0])
	var total float64
	means := make([]float64, 2)
	for v, x := range z {
		p := math.Exp(x - top)
		if total += p; p > 0 {
			for i := range means {
				means[i] += p * (float64(rows[i+1][v]) - float64(rows[0][v]))
			}
		}
	}
	got := make([]float64, 2)
	if sum := k.Expect(got, z, top, rows); !near(sum, total) || k.Expect(nil, z, top, nil) != sum {
		t.Errorf("Σ e^(z − top) = %v, want %v", sum, total)
	}
	for i := range means {
		if !near(got[i], means[i]) {
			t.Errorf("mean difference %d is %v, want %v", i, got[i], means[i])
		}
	}
	for i, row := range rows {
		top, sum := float64(slices.Max(row)), 0.0
		for _, x := range row {
			sum += math.Exp(float64(x) - top)
		}
		if gotTop, logSum := k.Sum(row); gotTop != top || !near(logSum, top+math.Log(sum)) {
			t.Errorf("row %d: largest %v, log sum %v, want %v, %v", i, gotTop, logSum, top, top+math.Log(sum))
		}
	}
}

// testCandidates checks that no token whose score reaches another is passed over, nor many kept that do not.
func testCandidates(t *testing.T, k decode.Kernel, z []float64, top float64) {
	const seed, inverse = 7, 1 / 0.7
	kept, reached := 0, 0
	for position := range 40 {
		for _, cutoff := range []float64{math.Inf(-1), top - 3} {
			score := float64(position%8) - 3
			dst := k.Candidates([]decode.Token{99}, z, cutoff, top, inverse, score, decode.NewNoise(seed, 0, position))
			if dst[0] != 99 {
				t.Fatal("what was there is overwritten")
			}
			list := dst[1:]
			for v, x := range z {
				reaches := (x-top)*inverse+decode.Gumbel(seed, 0, position, decode.Token(v)) >= score
				got := len(list) > 0 && int(list[0]) == v
				switch {
				case got && x < cutoff:
					t.Fatalf("token %d is below the cutoff", v)
				case !got && reaches && x >= cutoff:
					t.Fatalf("position %d: token %d of %d is passed over, though it reaches %v", position, v, len(z), score)
				case got:
					list = list[1:]
					kept++
					if reaches {
						reached++
					}
				}
			}
			if len(list) > 0 {
				t.Fatalf("%v left: tokens are out of order", list)
			}
		}
	}
	if kept > 4*reached+100 {
		t.Errorf("%d tokens are kept, %d of which reach the score", kept, reached)
	}
}

// testTop checks the largest entries of a mixture and of a row against a stable sort of all.
func testTop(t *testing.T, k decode.Kernel, z []float64, row []float32) {
	wide := make([]float64, len(row))
	for v, x := range row {
		wide[v] = float64(x)
	}
	for _, n := range []int{0, 1, 2, 10, len(z)} {
		n = min(n, len(z))
		best := make([]decode.Token, n)
		k.Top(best, z)
		if want := sorted(z)[:n]; !slices.Equal(best, want) {
			t.Errorf("the %d largest of %d entries are %v, want %v", n, len(z), best, want)
		}
		k.TopOfRow(best, row)
		if want := sorted(wide)[:n]; !slices.Equal(best, want) {
			t.Errorf("the %d largest of a row of %d are %v, want %v", n, len(z), best, want)
		}
	}
}

// sorted are all tokens, that of the largest entry first, those alike in their order.
func sorted(z []float64) []decode.Token {
	all := make([]decode.Token, len(z))
	for v := range all {
		all[v] = decode.Token(v)
	}
	slices.SortStableFunc(all, func(a, b decode.Token) int { return cmp.Compare(z[b], z[a]) })
	return all
}

// near reports whether two numbers agree to 1e-12 of their size or of 1. Infinities and NaN agree with their like.
func near(x, y float64) bool {
	return x == y || math.IsNaN(x) && math.IsNaN(y) || math.Abs(x-y) <= 1e-12*max(1, math.Abs(y))
}

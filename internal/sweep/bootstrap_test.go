package sweep

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// TestSumOver: however the work is divided, every resample is the sum of its rows in their order, to the last bit.
func TestSumOver(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, block - 1, block, 3*block + 5, 5000} {
		rows := make([][]float64, n)
		for i := range rows {
			rows[i] = []float64{1, random.NormFloat64(), random.ExpFloat64() * 1e9}
		}
		table := newTable(&Setup{Config: Config{Seed: 7}}, nil)
		got := table.sumOver(rows)
		if len(got.draws) != resamples(n) {
			t.Fatalf("%d resamples of %d rows, want %d", len(got.draws), n, resamples(n))
		}
		for d, times := range table.resample(n) {
			want := make([]float64, 3)
			for i, row := range rows {
				for k, x := range row {
					if times[i] > 0 {
						want[k] += float64(times[i]) * x
					}
				}
			}
			if want[0] != float64(n) || !slices.Equal(got.draws[d], want) {
				t.Fatalf("%d rows, resample %d: %v, want %v", n, d, got.draws[d], want)
			}
		}
		before := runtime.GOMAXPROCS(1)
		alone := table.sumOver(rows)
		runtime.GOMAXPROCS(before)
		if !slices.Equal(alone.total, got.total) || !slices.EqualFunc(alone.draws, got.draws, slices.Equal[[]float64]) {
			t.Errorf("%d rows: the sums depend on the number of processors", n)
		}
	}
}

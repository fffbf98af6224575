package sweep

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"realign/internal/stat"
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

// TestNoIntervalFromOne: one prompt has estimates and no interval, and an end that is not known is null in JSON.
func TestNoIntervalFromOne(t *testing.T) {
	i, ok := newTable(&Setup{}, nil).sumOver([][]float64{{3, 1}}).interval(reach{0, 5}, func(total []float64) float64 { return total[0] / total[1] })
	text, err := json.Marshal(i)
	if !ok || err != nil || i.Estimate != 3 || i.Known() || i.Clear() || string(text) != `{"estimate":3,"low":null,"high":null}` {
		t.Errorf("%v %s %v", i, text, err)
	}
	var back stat.Interval
	if err := json.Unmarshal(text, &back); err != nil || back != i {
		t.Errorf("%v (%v), want %v", back, err, i)
	}
}

// TestFewPromptsWiden: the interval of a mean of normal values holds the truth in about 95% of cases, however few they are.
func TestFewPromptsWiden(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{2, 3, 5, 8, 20} {
		held, all := 0, 600
		for seed := range all {
			rows := make([][]float64, n)
			for p := range rows {
				rows[p] = []float64{1 + random.NormFloat64(), 1}
			}
			sums := newTable(&Setup{Config: Config{Seed: uint64(seed)}}, nil).sumOver(rows)
			if i, ok := sums.interval(nowhere(), func(total []float64) float64 { return total[0] / total[1] }); ok && i.Holds(1) {
				held++
			}
		}
		if share := float64(held) / float64(all); share < 0.92 || share > 0.99 {
			t.Errorf("%d prompts: %.1f%% of intervals hold the mean", n, 100*share)
		}
	}
}

// TestAgreementIsNotKnowledge: where all prompts say the same the interval still reaches to what a prompt that was missed may
// say, and less far the more prompts there are.
func TestAgreementIsNotKnowledge(t *testing.T) {
	width := math.Inf(1)
	for _, n := range []int{2, 12, 100} {
		rows := make([][]float64, n)
		for p := range rows {
			rows[p] = []float64{1, 1}
		}
		sums := newTable(&Setup{}, nil).sumOver(rows)
		i, ok := sums.interval(reach{0, 1}, func(total []float64) float64 { return total[0] / total[1] })
		if !ok || i.Estimate != 1 || i.High != 1 || math.Abs(i.Low-math.Pow(0.025, 1/float64(n))) > 1e-12 || i.Width() >= width {
			t.Errorf("%d prompts: %v", n, i)
		}
		width = i.Width()
		if i, _ := sums.interval(reach{1, 1}, func(total []float64) float64 { return total[0] / total[1] }); i.Known() {
			t.Errorf("%d prompts, and nothing that differs anywhere: %v", n, i)
		}
	}
}

package preference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// detect simulates trials of annotators who see a difference δ half of the time and guess at rate γ.
func detect(r *rand.Rand, delta, gamma float64, trials int) []Pairwise {
	var answers []Pairwise
	for k := range trials {
		gap := []float64{0, 0.1, 0.2, 0.4, 0.8}[k%5]
		a := Pairwise{Item: fmt.Sprint(k), A: Side{Lambda: 1}, B: Side{Lambda: 1 + gap}, Choice: Tie}
		if gap == 0 {
			a.Catch = SameLambda
		}
		if r.Float64() < gamma+(1-gamma)*(1-math.Exp2(-math.Pow(gap/delta, 2))) {
			a.Choice = PreferA
		}
		answers = append(answers, a)
	}
	return answers
}

func TestNoticeableDifferenceIsCovered(t *testing.T) {
	covered, width := 0, 0.0
	for n := range 100 {
		r := rand.New(rand.NewPCG(uint64(n), 79))
		delta := 0.15 + 0.35*r.Float64()
		j, err := NoticeableDifference(detect(r, delta, 0.2, 300))
		if err != nil || !j.Defined {
			t.Fatal(j, err)
		}
		if j.Difference.Low <= delta && delta <= j.Difference.High {
			covered++
		}
		width += j.Difference.Width() / 100
	}
	t.Logf("covered in %d of 100 studies; mean width %.2f", covered, width)
	if covered < 90 {
		t.Errorf("the 95%% interval covered the difference in %d of 100 studies", covered)
	}
	if width > 0.3 {
		t.Errorf("the intervals are %.2f wide", width)
	}
}

func TestNoticeableDifferenceExplainsItself(t *testing.T) {
	all := detect(rand.New(rand.NewPCG(1, 1)), 0.3, 0.2, 100)
	var same, apart []Pairwise
	for _, a := range all {
		if a.Catch == SameLambda {
			same = append(same, a)
		} else {
			apart = append(apart, a)
		}
	}
	for name, answers := range map[string][]Pairwise{"none": nil, "same λ only": same, "no same λ": apart} {
		j, err := NoticeableDifference(answers)
		if err != nil || j.Defined || j.Reason == "" {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
	}
	blind, err := NoticeableDifference(detect(rand.New(rand.NewPCG(2, 2)), 50, 0.2, 300))
	if err != nil || !blind.Defined || !blind.Beyond || blind.Reason == "" {
		t.Errorf("nobody sees a difference, but %+v, %v", blind, err)
	}
}

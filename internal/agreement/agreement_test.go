package agreement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"realign/internal/preference"
	"realign/internal/stat"
	"realign/internal/sweep"
)

func pair(prompt, annotator, category, a, b string, choice preference.Choice) preference.Pairwise {
	return preference.Pairwise{Item: prompt + a + b, Prompt: prompt, Annotator: annotator, Category: category,
		A: preference.Side{Output: a}, B: preference.Side{Output: b}, Choice: choice}
}

func ratings() preference.Answers {
	catch := pair("p1", "x", "k", "o1", "o2", preference.PreferA)
	catch.Catch = preference.BrokenB
	return preference.Answers{
		Pairwise: []preference.Pairwise{
			pair("p1", "x", "k", "o1", "o2", preference.PreferB), // the better reward
			pair("p1", "y", "k", "o2", "o1", preference.PreferA), // the same, shown the other way round
			pair("p1", "z", "k", "o2", "o1", preference.PreferB), // the other one
			pair("p1", "x", "k", "o1", "o3", preference.PreferA), // equal rewards
			pair("p1", "y", "k", "o1", "o3", preference.Tie),
			pair("p2", "x", "l", "o4", "o5", preference.PreferA), // o5 is not judged
			pair("p2", "y", "l", "o4", "o6", preference.PreferB), // the better reward
			pair("p2", "z", "l", "o4", "o6", preference.BothBad),
			catch,
		},
		Rankings: []preference.Ranking{{Item: "i", Prompt: "p2", Annotator: "x", Category: "l", Rank: []int{3, 1, 2},
			Sides: []preference.Side{{Output: "o4"}, {Output: "o6"}, {Output: "o7"}}}},
	}
}

func reward(direction sweep.Direction, sign float64) Reward {
	values := map[string]float64{"o1": 1, "o2": 2, "o3": 1, "o4": 0, "o6": 3, "o7": 1}
	for id := range values {
		values[id] *= sign
	}
	r := sweep.RewardReport{RewardInfo: sweep.RewardInfo{Name: "r", Title: "R", Direction: direction}}
	for i, v := range []float64{0, 1, 3, 2} {
		r.Curve = append(r.Curve, sweep.CurvePoint{Lambda: float64(i), Value: &stat.Interval{Estimate: sign * v}})
	}
	r.Curve = append(r.Curve, sweep.CurvePoint{Lambda: 4}) // a gap
	return Reward{Sweep: "w", Report: &r, Values: values}
}

func TestCompare(t *testing.T) {
	results := &preference.Results{Overall: preference.Part{Curve: &preference.Curve{
		Lambda: []float64{0, 0.5, 1, 2, 3, 4}, Mean: []float64{0, 0.5, 1, 3, 2, 9}, Low: make([]float64, 6), High: make([]float64, 6),
	}}}
	in := Input{Answers: ratings(), Results: results, Rewards: []Reward{reward(sweep.Higher, 1), reward(sweep.Lower, -1), reward(sweep.Higher, -1)}}
	r := Compare(in)
	// Told apart: 6 pairs and the 3 of the ranking, which weigh ⅔ each.
	if p := r.People; p.Pairs != 9 || p.Ties != 2 || p.Prompts != 2 || p.Annotators != 3 || p.PeerPairs != 4 || *p.Peers != 0.5 || len(p.Curve) != 6 {
		t.Errorf("people %+v, peers %v of %d", p, *p.Peers, p.PeerPairs)
	}
	first := r.Rewards[0]
	want := (1 + 1 + 0 + 0.5 + 1 + 3*2.0/3) / (5 + 3*2.0/3)
	if o := first.Overall; o.Pairs != 8 || o.RewardTies != 1 || o.Unjudged != 1 || o.Prompts != 2 || o.Annotators != 3 || math.Abs(o.Share.Estimate-want) > 1e-12 || math.Abs(o.Weight-7) > 1e-12 {
		t.Errorf("overall %+v, share %+v, want %v", o, o.Share, want)
	}
	if o := first.Overall.Share; !(o.Low < o.Estimate && o.Estimate < o.High && o.Low >= 0 && o.High <= 1) {
		t.Errorf("interval %+v", o)
	}
	if len(first.Parts) != 2 || first.Parts[0].Category != "k" || first.Parts[0].Share.Estimate != 2.5/4 || first.Parts[1].Share.Estimate != 1 {
		t.Errorf("by category %+v", first.Parts)
	}
	if i := first.Parts[1].Share; i.Low > 0.9 || i.High != 1 {
		t.Errorf("where all of one prompt agree the interval is %+v", i)
	}
	// At λ 0 to 3 both curves are 0, 0.5, 1, 3, 2; at 4 the reward has a gap.
	if c := first.Correlation; c == nil || math.Abs(*c-1) > 1e-12 || len(first.Curve) != 4 {
		t.Errorf("correlation %v over %v", c, first.Curve)
	}
	// A reward of which less is better, with the signs turned, says the same; one that is turned and no more the opposite.
	if !reflect.DeepEqual(r.Rewards[1].Overall, first.Overall) || math.Abs(*r.Rewards[1].Correlation-1) > 1e-12 {
		t.Errorf("less is better: %+v", r.Rewards[1].Overall)
	}
	if last := r.Rewards[2]; math.Abs(last.Overall.Share.Estimate-(1-want)) > 1e-12 || math.Abs(*last.Correlation+1) > 1e-12 {
		t.Errorf("the opposite: %+v", last.Overall.Share)
	}
	shuffled := in
	shuffled.Answers.Pairwise = slices.Clone(in.Answers.Pairwise)
	slices.Reverse(shuffled.Answers.Pairwise)
	if !reflect.DeepEqual(Compare(shuffled), r) {
		t.Error("it depends on the order of the answers")
	}
	empty := Compare(Input{Rewards: []Reward{reward(sweep.Higher, 1)}})
	if w := empty.Rewards[0]; w.Overall.Share != nil || w.Correlation != nil || w.Parts != nil || empty.People.Peers != nil {
		t.Errorf("without answers %+v", w)
	}
}

// TestShareCovered: the interval of a share holds the true one in 95% of studies, when prompts and annotators differ, and
// is no wider than it must be. REALIGN_SIMULATIONS says how many studies there are of each size.
func TestShareCovered(t *testing.T) {
	n := 150
	if text := os.Getenv("REALIGN_SIMULATIONS"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	logistic := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	random := rand.New(rand.NewPCG(7, 8))
	for _, size := range []struct {
		prompts, annotators int
		logit               float64
	}{{10, 3, 0.8}, {40, 6, 0}, {40, 6, 0.8}, {20, 12, 2}, {60, 20, 0.8}} {
		// The true share is over all prompts and annotators: of 100,000 of each.
		truth := 0.0
		for range 100_000 {
			truth += logistic(size.logit+random.NormFloat64()+0.5*random.NormFloat64()) / 100_000
		}
		held, width := 0, 0.0
		for range n {
			var all []judged
			tastes := make([]float64, size.annotators)
			for a := range tastes {
				tastes[a] = 0.5 * random.NormFloat64()
			}
			for p := range size.prompts {
				prompt := random.NormFloat64()
				for a := range tastes {
					if random.IntN(2) == 0 { // each annotator rates half of the prompts
						continue
					}
					one := judged{prompt: fmt.Sprint(p), annotator: fmt.Sprint(a), weight: 1}
					if random.Float64() < logistic(size.logit+prompt+tastes[a]) {
						one.score = 1
					}
					all = append(all, one)
				}
			}
			i := share(all)
			if i.Low <= truth && truth <= i.High {
				held++
			}
			width += i.High - i.Low
		}
		t.Logf("%d prompts, %d annotators, share %.2f: held in %.1f%%, mean width %.2f", size.prompts, size.annotators, truth, 100*float64(held)/float64(n), width/float64(n))
		if share := float64(held) / float64(n); share < 0.92 {
			t.Errorf("%+v: held in %.1f%% of %d studies", size, 100*share, n)
		}
	}
}

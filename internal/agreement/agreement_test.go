package agreement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
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

// TestShareCovered: the interval of a share holds the true one in 95% of studies, when prompts and annotators differ, also
// where there are few of them, some rewards are equal, and nothing tells answers apart. There, where the share is one half, it
// is what a false claim is counted by. REALIGN_SIMULATIONS says how many studies there are of each size.
func TestShareCovered(t *testing.T) {
	n := 150
	if text := os.Getenv("REALIGN_SIMULATIONS"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	for _, size := range []simulated{
		{10, 3, 0.8, 0, 0.5}, {40, 6, 0, 0, 0.5}, {40, 6, 0.8, 0, 0.5}, {20, 12, 2, 0, 0.5}, {60, 20, 0.8, 0, 0.5},
		{3, 2, 0, 0, 0.5}, {3, 2, 0.8, 0, 0.5}, {5, 3, 0, 0, 0.5}, {5, 3, 0.8, 0.3, 0.5}, {10, 2, 0, 0.3, 0.5}, {20, 2, 2, 0, 0.5}, {3, 12, 0, 0, 0.5}, {3, 12, 0.8, 0, 0.5}, {2, 2, 0, 0, 0.5},
		{12, 1, 0, 0, 0.5}, {12, 1, 0.8, 0.3, 0.5}, {4, 1, 0.8, 0, 0.5}, {1, 6, 0, 0, 0.5},
		{40, 6, 0, 0, 1.5}, {40, 6, 0.8, 0, 1.5}, {10, 3, 0, 0, 2}, {20, 12, 0, 0.2, 1.5}, {60, 20, 0.8, 0, 1.5}, {100, 6, 0, 0, 0}, {100, 6, 0.8, 0, 0},
	} {
		random := rand.New(rand.NewPCG(7, uint64(size.prompts*100+size.annotators)))
		held, claims, width := 0, 0, 0.0
		for range n {
			all, truth := size.draw(random)
			i := shareInterval(all)
			if i == nil { // nobody was asked
				held++
				continue
			}
			if i.Low <= truth && truth <= i.High {
				held++
			}
			if i.Low > 0.5 || i.High < 0.5 {
				claims++
			}
			width += i.High - i.Low
		}
		percent := func(k int) float64 { return 100 * float64(k) / float64(n) }
		t.Logf("%2d prompts, %2d annotators, logit %.1f, tastes %.1f, %2.0f%% ties: held in %.1f%%, mean width %.2f, clear of ½ in %.1f%%",
			size.prompts, size.annotators, size.logit, size.tastes, 100*size.ties, percent(held), width/float64(n), percent(claims))
		if percent(held) < 92 {
			t.Errorf("%+v: held in %.1f%% of %d studies", size, percent(held), n)
		}
		if size.logit == 0 && size.annotators > 1 && percent(claims) > 6 {
			t.Errorf("%+v: clear of ½, where it is ½, in %.1f%% of %d studies", size, percent(claims), n)
		}
	}
}

// simulated is a study in which annotators and prompts differ in how often the better reward is preferred.
type simulated struct {
	prompts, annotators int
	logit               float64 // of that, where both are as usual
	ties                float64 // share of pairs with equal rewards
	tastes              float64 // standard deviation of the logit over annotators
}

// promptSpread is the standard deviation of the logit over prompts.
const promptSpread = 1.0

// draw is one study, each annotator rating half of the prompts, with the true share: over all prompts and annotators, or over all
// prompts of the one annotator.
func (s *simulated) draw(random *rand.Rand) (all []compared, truth float64) {
	tastes := make([]float64, s.annotators)
	for a := range tastes {
		tastes[a] = s.tastes * random.NormFloat64()
	}
	truth = meanLogistic(s.logit, math.Hypot(promptSpread, s.tastes))
	if s.annotators == 1 {
		truth = meanLogistic(s.logit+tastes[0], promptSpread)
	}
	truth = s.ties/2 + (1-s.ties)*truth
	for p := range s.prompts {
		prompt := promptSpread * random.NormFloat64()
		for a := range tastes {
			if s.annotators > 1 && random.IntN(2) == 0 {
				continue
			}
			one := compared{prompt: fmt.Sprint(p), annotator: fmt.Sprint(a), weight: 1}
			switch {
			case random.Float64() < s.ties:
				one.score = 0.5
			case random.Float64() < logistic(s.logit+prompt+tastes[a]):
				one.score = 1
			}
			all = append(all, one)
		}
	}
	return all, truth
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// meanLogistic is the mean of logistic over a normal distribution.
func meanLogistic(mean, deviation float64) (sum float64) {
	var weights float64
	for k := -400; k <= 400; k++ {
		z := float64(k) / 50
		w := math.Exp(-z * z / 2)
		sum, weights = sum+w*logistic(mean+deviation*z), weights+w
	}
	return sum / weights
}

// The table has a row for each reward and category; a name that a spreadsheet would compute is made inert.
func TestWriteTable(t *testing.T) {
	correlation := 0.5
	r := &Report{Rewards: []RewardAgreement{{Sweep: "w1", Name: "=1+1", Overall: Part{Pairs: 3, Share: &stat.Interval{Estimate: 0.6, Low: 0.5, High: 0.7}},
		Correlation: &correlation, Parts: []Part{{Category: "odd, even", Pairs: 1}}}}}
	var out strings.Builder
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	want := "\ufeffsweep,reward,category,pairs,weight,reward_ties,unjudged,prompts,annotators,share,low,high,correlation\n" +
		"w1,'=1+1,,3,0,0,0,0,0,0.6,0.5,0.7,0.5\nw1,'=1+1,\"odd, even\",1,0,0,0,0,0,,,,\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}
}

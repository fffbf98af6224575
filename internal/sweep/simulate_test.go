package sweep

import (
	"math"
	"math/rand/v2"
	"strings"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

// world is the table model with everything about it enumerated: what a lane at a λ decodes, and what a reward is
// worth on average at each λ over all prompts of two letters, exactly.
type world struct {
	pair      *decodetest.Pair
	reference *decodetest.Model
	aligned   *decodetest.Model
	tokens    int
	reward    func(counts int, length int) float64
	counted   decode.Token // of which the reward counts the occurrences
	logits    map[float64][][]float64
	judge     func(o *Output) float64 // instead of reward, where it is set
}

func newWorld(seed uint64, tokens int, reward func(counts, length int) float64) *world {
	pair := decodetest.New(decodetest.Options{Seed: seed, Letters: 5, Spread: 1.2, EndLogit: -1})
	aligned, err := pair.Aligned("warm")
	if err != nil {
		panic(err)
	}
	return &world{
		pair: pair, reference: pair.Table(), aligned: aligned.(*decodetest.Model), tokens: tokens, reward: reward,
		counted: decodetest.Letters, logits: map[float64][][]float64{},
	}
}

// logp is the log-probability of every token after every two tokens, at a λ.
func (w *world) logp(lambda float64) [][]float64 {
	if rows, ok := w.logits[lambda]; ok {
		return rows
	}
	n := w.pair.Size()
	rows := make([][]float64, n*n)
	for state := range rows {
		r := w.reference.Next(decode.Token(state/n), decode.Token(state%n))
		a := w.aligned.Next(decode.Token(state/n), decode.Token(state%n))
		z := make([]float64, n)
		for v := range z {
			z[v] = (1-lambda)*float64(r[v]) + lambda*float64(a[v])
		}
		total := math.Inf(-1)
		for _, x := range z {
			total = logAdd(total, x)
		}
		for v := range z {
			z[v] -= total
		}
		rows[state] = z
	}
	w.logits[lambda] = rows
	return rows
}

// prompts are all prompts of two letters.
func (w *world) prompts() []string {
	var all []string
	for a := range 5 {
		for b := range 5 {
			all = append(all, string([]byte{'a' + byte(a), 'a' + byte(b)}))
		}
	}
	return all
}

// state is where a prompt leaves the model: the chat template puts Turn after it.
func (w *world) state(prompt string) int {
	last := decodetest.Letters + decode.Token(prompt[1]-'a')
	return int(last)*w.pair.Size() + int(decodetest.Turn)
}

// truth is the mean reward at a λ over all prompts, exactly: the distribution of (state, count) is carried forward.
func (w *world) truth(lambda float64) float64 {
	rows := w.logp(lambda)
	n := w.pair.Size()
	all := w.prompts()
	width := w.tokens + 1 // counts
	mass, next := make([]float64, n*n*width), make([]float64, n*n*width)
	for _, p := range all {
		mass[w.state(p)*width] += 1 / float64(len(all))
	}
	mean := 0.0
	for length := 1; length <= w.tokens; length++ {
		clear(next)
		for at, p := range mass {
			if p == 0 {
				continue
			}
			state, count := at/width, at%width
			for v, lp := range rows[state] {
				q, count := p*math.Exp(lp), count
				if decode.Token(v) == w.counted {
					count++
				}
				if decode.Token(v) == decodetest.End || length == w.tokens {
					mean += q * w.reward(count, length)
				} else {
					next[(state%n*n+v)*width+count] += q
				}
			}
		}
		mass, next = next, mass
	}
	return mean
}

// whole is the mean reward at a λ over all prompts of whole replies drawn from π_ref^{1−λ}·π_al^λ, exactly: what truth
// carries forward without the normalisers of tokens, and divided by its sum for each prompt.
func (w *world) whole(lambda float64) float64 {
	reference, aligned := w.logp(0), w.logp(1)
	n, all, width, mean := w.pair.Size(), w.prompts(), w.tokens+1, 0.0
	mass, next := make([]float64, n*n*width), make([]float64, n*n*width)
	known := map[int]float64{} // by state: prompts that leave the model in one state are one
	for _, p := range all {
		first := w.state(p)
		if _, ok := known[first]; !ok {
			clear(mass)
			mass[first*width] = 1
			total, sum := 0.0, 0.0
			for length := 1; length <= w.tokens; length++ {
				clear(next)
				for at, p := range mass {
					if p == 0 {
						continue
					}
					state, count := at/width, at%width
					for v := range reference[state] {
						q, count := p*math.Exp((1-lambda)*reference[state][v]+lambda*aligned[state][v]), count
						if decode.Token(v) == w.counted {
							count++
						}
						if decode.Token(v) == decodetest.End || length == w.tokens {
							sum += q * w.reward(count, length)
							total += q
						} else {
							next[(state%n*n+v)*width+count] += q
						}
					}
				}
				mass, next = next, mass
			}
			known[first] = sum / total
		}
		mean += known[first] / float64(len(all))
	}
	return mean
}

// best is the λ in the range with the highest true reward, to a thousandth: a coarse look and then a fine one.
func (w *world) best(low, high float64) float64 {
	look := func(low, high float64, steps int) (best float64) {
		most := math.Inf(-1)
		for i := range steps + 1 {
			l := low + (high-low)*float64(i)/float64(steps)
			if y := w.truth(l); y > most {
				best, most = l, y
			}
		}
		return best
	}
	step := (high - low) / 40
	near := look(low, high, 40)
	return look(max(low, near-step), min(high, near+step), int(2*step/0.001))
}

// decode is what the engine does with an item: coupled sampling at every λ with the noise of the prompt's seed.
func (w *world) decode(c *Config, item Item) []Output {
	n := w.pair.Size()
	var fine []float64
	if c.Reweights() {
		fine = c.Evaluate()
	}
	seed := c.PromptSeed(item.Prompt)
	var outputs []Output
	reference, aligned := w.logp(0), w.logp(1)
	var evaluate [][][]float64
	for _, l := range fine {
		evaluate = append(evaluate, w.logp(l))
	}
	for _, cell := range item.Cells() {
		rows := w.logp(cell.Lambda)
		state := w.state(c.Prompts.Rows[item.Prompt].Text)
		o := Output{Cell: cell, Finish: decode.EndLength, LogQ: make([]float64, len(fine))}
		var text strings.Builder
		count := 0
		for o.Tokens < w.tokens {
			best, score := 0, math.Inf(-1)
			for v, lp := range rows[state] {
				if x := lp + decode.Gumbel(seed, cell.Sample, o.Tokens, decode.Token(v)); x > score {
					best, score = v, x
				}
			}
			o.Tokens++
			for i := range fine {
				o.LogQ[i] += evaluate[i][state][best]
			}
			for v, lp := range rows[state] {
				o.KL += math.Exp(lp) * (lp - reference[state][v])
			}
			o.LogpReference += reference[state][best]
			o.LogpAligned += aligned[state][best]
			o.LogZ += (1-cell.Lambda)*reference[state][best] + cell.Lambda*aligned[state][best] - rows[state][best]
			if decode.Token(best) == w.counted {
				count++
			}
			if decode.Token(best) == decodetest.End {
				o.Finish = decode.EndStop
				break
			}
			text.Write(w.pair.Piece(decode.Token(best)))
			state = state%n*n + best
		}
		o.Text = text.String()
		if w.judge != nil {
			o.Rewards = map[string]Value{"toy": Of(w.judge(&o))}
		} else {
			o.Rewards = map[string]Value{"toy": Of(w.reward(count, o.Tokens))}
		}
		outputs = append(outputs, o)
	}
	return outputs
}

// setup is a sweep of random prompts of the world.
func (w *world) setup(seed uint64, prompts int, lambdas []float64, samples, rounds int) *Setup {
	random := rand.New(rand.NewPCG(seed, 9))
	all := w.prompts()
	c := Default()
	c.Pair, c.Seed, c.Samples, c.Refine.Rounds = "table", seed, samples, rounds
	c.Sampling.MaxTokens = w.tokens
	c.Lambda.Values = lambdas
	c.Rewards, c.Objective = []Reward{{Reward: "toy", Name: "toy"}}, "toy"
	for range prompts {
		c.Prompts.Rows = append(c.Prompts.Rows, Row{Text: all[random.IntN(len(all))]})
	}
	return &Setup{Config: c, Aligned: "warm", Beta: 0.1, RewardInfos: []RewardInfo{{Name: "toy", Direction: Higher}}}
}

// run does a sweep to its end.
func (w *world) run(s *Setup) ([]Output, Plan) {
	var outputs []Output
	for {
		plan, err := Next(s, outputs)
		if err != nil {
			panic(err)
		}
		if plan.Done {
			return outputs, plan
		}
		for _, item := range plan.Items {
			outputs = append(outputs, w.decode(&s.Config, item)...)
		}
	}
}

// logAdd is log(eᵃ + eᵇ).
func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

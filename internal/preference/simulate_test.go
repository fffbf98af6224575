package preference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// world is a simulated public: what it truly likes and how it answers.
type world struct {
	grid       []float64
	u          func(lambda float64) float64
	best       float64 // where u is highest on the range of the grid
	annotators int
	random     int     // of the annotators answer at random
	nu         float64 // of Davidson's model
	overlap    int     // answers per item
	item       float64 // standard deviation of what an item's texts add to d, shared by its answers
	prompts    int     // that items are about, at random; 0: each about one of its own

	// What annotators and prompts add to u, by number; nil: nothing.
	own, ofPrompt []func(lambda float64) float64
	first         float64 // order effect: what standing first adds to d
	lowFirst      bool    // the lower λ stands first, always
}

// narrow is λ from 0 to 2, and wide twice as far, most of it beyond the tops of peaked worlds.
func narrow() []float64 { return []float64{0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2} }

func wide() (grid []float64) {
	for k := range 13 {
		grid = append(grid, float64(k)/3)
	}
	return grid
}

func newWorld(u func(float64) float64, best float64) world {
	return world{grid: narrow(), u: u, best: best, annotators: 20, nu: 0.5, overlap: 1}
}

// over asks about another range. A best at the end of the range moves with it.
func (w world) over(grid []float64) world {
	if w.best == w.grid[len(w.grid)-1] {
		w.best = grid[len(grid)-1]
	}
	w.grid = grid
	return w
}

// peaked has its top at a random place between 0.3 and 1.7, in one of three shapes: a parabola, a bump on
// level ground, and a rise that is steeper than the fall.
func peaked(r *rand.Rand) world {
	best, height := 0.3+1.4*r.Float64(), 1.5+1.5*r.Float64()
	wide := 0.4 + 0.4*r.Float64()
	return newWorld([]func(float64) float64{
		func(x float64) float64 { return -height * (x - best) * (x - best) },
		func(x float64) float64 { return height * math.Exp(-(x-best)*(x-best)/(2*wide*wide)) },
		func(x float64) float64 {
			if x < best {
				return -1.5 * height * (x - best) * (x - best)
			}
			return -0.7 * height * (x - best) * (x - best)
		},
	}[r.IntN(3)], best)
}

// monotone rises to the end of the range, less and less.
func monotone(r *rand.Rand) world {
	height, bend := 1.5+1.5*r.Float64(), 0.5+r.Float64()
	return newWorld(func(x float64) float64 { return height * (1 - math.Exp(-bend*x)) }, 2)
}

func flat(*rand.Rand) world {
	return newWorld(func(float64) float64 { return 0 }, math.NaN())
}

// noisy makes a fifth of the annotators answer at random.
func (w world) noisy() world {
	w.random = w.annotators / 5
	return w
}

// answer is what an annotator says about a pair, shown in random order.
func (w world) answer(r *rand.Rand, annotator, prompt int, item string, p Pair, texts float64) Pairwise {
	a := Pairwise{Item: item, Annotator: fmt.Sprint(annotator), A: Side{Lambda: p.Low}, B: Side{Lambda: p.High}}
	d := w.u(p.Low) - w.u(p.High) + texts
	if w.own != nil {
		d += w.own[annotator](p.Low) - w.own[annotator](p.High)
	}
	if w.prompts > 0 {
		a.Prompt = fmt.Sprint(prompt)
	}
	if w.ofPrompt != nil {
		d += w.ofPrompt[prompt](p.Low) - w.ofPrompt[prompt](p.High)
	}
	if r.IntN(2) == 0 && !w.lowFirst {
		a.A, a.B, d = a.B, a.A, -d
	}
	d += w.first
	first, second, _, _ := outcome(d, math.Log(w.nu))
	if annotator < w.random {
		first, second = 1./3, 1./3
	}
	switch x := r.Float64(); {
	case x < first:
		a.Choice = PreferA
	case x < first+second:
		a.Choice = PreferB
	default:
		a.Choice = Tie
	}
	return a
}

// ask asks about each pair once per overlap, annotators in random turns.
func (w world) ask(r *rand.Rand, pairs []Pair, from int) []Pairwise {
	var answers []Pairwise
	for k, p := range pairs {
		texts := w.item * r.NormFloat64()
		prompt := 0
		if w.prompts > 0 {
			prompt = r.IntN(w.prompts)
		}
		for _, annotator := range r.Perm(w.annotators)[:w.overlap] {
			answers = append(answers, w.answer(r, annotator, prompt, fmt.Sprint(from+k), p, texts))
		}
	}
	return answers
}

// actively goes on asking until there are n answers, as active choice does: one answer for each item.
func (w world) actively(t *testing.T, r *rand.Rand, answers []Pairwise, n int) []Pairwise {
	for len(answers) < n {
		pairs, err := WantedPairs(answers, w.grid, uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		more := min(RefitAfter(len(answers)), n-len(answers))
		answers = append(answers, w.ask(r, pairs[:more], len(answers))...)
	}
	return answers
}

// study asks n items, balanced over pairs.
func (w world) study(r *rand.Rand, n int) []Pairwise {
	return w.ask(r, Balanced(Pairs(w.grid), nil, n, r.Uint64()), 0)
}

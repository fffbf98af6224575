package preference

import (
	"slices"

	"realign/internal/stat"
)

// comparisons is what pairwise answers say about each pair of λ, whatever the order they were shown in.
// It is made by newComparisons and does not change.
type comparisons struct {
	lambdas []float64 // distinct, ascending
	cells   []cell    // of pairs that were compared, by (i, j)
	votes   []vote    // the answers themselves
	weight  float64   // sum of all weights

	annotators, prompts int // that the votes are of
}

// cell counts the answers about one pair of λ; i < j are indices into lambdas.
type cell struct {
	i, j                int     // indices into lambdas
	first, second, ties float64 // sums of weights of the answers for λᵢ, for λⱼ, for neither
}

// vote is one answer: y is 1 when λᵢ was preferred, −1 when λⱼ was, 0 for neither.
type vote struct {
	i, j      int // indices into lambdas
	y         float64
	first     float64 // 1 when λᵢ was shown first, −1 when λⱼ was
	weight    float64 // how many answers it stands for
	cluster   int     // number of the cluster, from 0
	annotator int     // number of the annotator, from 0
	prompt    int     // and of the prompt, or of the item where no prompt is named
}

// newComparisons counts answers that compare two different λ; catch trials are left out. The λ of grid are
// levels even when nobody rated them. An answer that Check refuses is an error.
func newComparisons(answers []Pairwise, grid []float64, by Cluster) (*comparisons, error) {
	if err := by.check(); err != nil {
		return nil, err
	}
	t := &comparisons{lambdas: slices.Clone(grid)}
	for _, lambda := range grid {
		if err := (Side{Lambda: lambda}).check("lambda"); err != nil {
			return nil, err
		}
	}
	for _, r := range answers {
		if err := r.Check(); err != nil {
			return nil, err
		}
		if r.counts() {
			t.lambdas = append(t.lambdas, r.A.Lambda, r.B.Lambda)
		}
	}
	// Places among the λ are known only once all answers were seen.
	slices.Sort(t.lambdas)
	t.lambdas = slices.Compact(t.lambdas)
	cells := map[[2]int]*cell{}
	clusters, annotators, prompts := numbers{}, numbers{}, numbers{}
	for _, r := range answers {
		if !r.counts() {
			continue
		}
		i, _ := slices.BinarySearch(t.lambdas, r.A.Lambda)
		j, _ := slices.BinarySearch(t.lambdas, r.B.Lambda)
		v := vote{i: i, j: j, weight: r.weight(), first: 1}
		switch r.Choice {
		case PreferA:
			v.y = 1
		case PreferB:
			v.y = -1
		}
		// Cells and votes are of i < j: an answer that was shown the other way round is turned.
		if i > j {
			v.i, v.j, v.y, v.first = j, i, -v.y, -1
		}
		v.cluster = clusters.of(by.key(r.Item, r.Prompt, r.Annotator))
		v.annotator = annotators.of(r.Annotator)
		v.prompt = prompts.of(ByPrompt.key(r.Item, r.Prompt, r.Annotator))
		t.votes = append(t.votes, v)
		t.weight += v.weight
		c := cells[[2]int{v.i, v.j}]
		if c == nil {
			c = &cell{i: v.i, j: v.j}
			cells[[2]int{v.i, v.j}] = c
		}
		switch v.y {
		case 1:
			c.first += v.weight
		case -1:
			c.second += v.weight
		default:
			c.ties += v.weight
		}
	}
	t.annotators, t.prompts = len(annotators), len(prompts)
	for _, c := range cells {
		t.cells = append(t.cells, *c)
	}
	slices.SortFunc(t.cells, func(a, b cell) int {
		if a.i != b.i {
			return a.i - b.i
		}
		return a.j - b.j
	})
	return t, nil
}

// numbers are given to names in the order in which they come.
type numbers map[string]int

// of is a name's number, from 0; a new name gets the next one.
func (n numbers) of(name string) int {
	if _, ok := n[name]; !ok {
		n[name] = len(n)
	}
	return n[name]
}

// counts reports whether an answer says something about two λ.
func (r Pairwise) counts() bool { return r.Catch == NoCatch && r.A.Lambda != r.B.Lambda }

// clusters is how many clusters the votes are of.
func (t *comparisons) clusters() (n int) {
	for i := range t.votes {
		n = max(n, t.votes[i].cluster+1)
	}
	return n
}

// decisive is the total weight of answers that prefer a side.
func (t *comparisons) decisive() (sum float64) {
	for _, c := range t.cells {
		sum += c.first + c.second
	}
	return sum
}

// tied is the total weight of answers that prefer neither side.
func (t *comparisons) tied() (sum float64) {
	for _, c := range t.cells {
		sum += c.ties
	}
	return sum
}

// WinRate is how answers about one pair of λ came out.
type WinRate struct {
	Low        float64       `json:"low"` // the two λ, Low < High
	High       float64       `json:"high"`
	LowWins    float64       `json:"low_wins"`            // answers for the lower λ (weights, when rankings are among them)
	HighWins   float64       `json:"high_wins"`           // for the higher
	Ties       float64       `json:"ties"`                // for neither, "both bad" among them
	Rate       stat.Interval `json:"rate"`                // share of HighWins in the answers that prefer one, in [0, 1]
	Undecided  bool          `json:"undecided,omitempty"` // no answer preferred one: Rate says nothing and is (½, 0, 1)
	Comparable float64       `json:"comparable"`          // LowWins + HighWins

	// DesignEffect: each answer counts 1/DesignEffect in the interval, because answers of an annotator and about a prompt
	// agree with themselves.
	DesignEffect float64 `json:"design_effect"`
}

// WinRates is the share of answers that prefer the higher λ, for each pair of λ that was compared,
// ascending, with Wilson's 95% score interval (Wilson 1927; Brown, Cai & DasGupta 2001, eq. 4). Ties
// are counted beside it, not split: an interval for half wins has no binomial behind it. Answers are
// taken as independent: see Curve.WinRates. No answers give an empty list; an answer that Check refuses is an error.
func WinRates(answers []Pairwise) ([]WinRate, error) {
	t, err := newComparisons(answers, nil, ByItem)
	if err != nil {
		return nil, err
	}
	return t.winRates(), nil
}

// winRates are the shares for each pair that was compared, as if answers were independent.
func (t *comparisons) winRates() []WinRate {
	rates := make([]WinRate, len(t.cells))
	for k, c := range t.cells {
		n := c.first + c.second
		rates[k] = WinRate{
			Low: t.lambdas[c.i], High: t.lambdas[c.j], LowWins: c.first, HighWins: c.second, Ties: c.ties,
			Rate: stat.Wilson(c.second, n), Undecided: n == 0, Comparable: n, DesignEffect: 1,
		}
	}
	return rates
}

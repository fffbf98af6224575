package experiment

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"realign/internal/decode"
)

// Cell is the place of one decoded sample in an experiment.
type Cell struct {
	Prompt int     `json:"prompt"` // index of the prompt
	Lambda float64 `json:"lambda"`
	Sample int     `json:"sample"` // samples have independent noise
}

// Compare orders cells by prompt, then λ, then sample.
func (c Cell) Compare(d Cell) int {
	return cmp.Or(cmp.Compare(c.Prompt, d.Prompt), cmp.Compare(c.Lambda, d.Lambda), cmp.Compare(c.Sample, d.Sample))
}

// Item is the unit of work: one prompt on a set of λ and of sample indexes, decoded as the lanes of one run
// with common random numbers. Its cells are all combinations of the two, at most decode.MaxLanes.
type Item struct {
	Prompt  int       `json:"prompt"`  // index of the prompt
	Lambdas []float64 `json:"lambdas"` // of each sample
	Samples []int     `json:"samples"` // sample indexes, at each λ
	Stage   int       `json:"stage"`   // of a sweep's plan
}

// ID names the item by what is decoded, so that one that is delivered twice is known again.
func (i Item) ID() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", i.Prompt)
	for _, l := range i.Lambdas {
		b.WriteByte('_')
		b.WriteString(strconv.FormatFloat(l, 'g', -1, 64))
	}
	for _, s := range i.Samples {
		fmt.Fprintf(&b, "-%d", s)
	}
	return b.String()
}

// Cells are the cells of the item, by λ and then by sample: the order of the lanes.
func (i Item) Cells() []Cell {
	cells := make([]Cell, 0, len(i.Lambdas)*len(i.Samples))
	for _, l := range i.Lambdas {
		for _, s := range i.Samples {
			cells = append(cells, Cell{i.Prompt, l, s})
		}
	}
	return cells
}

// Items are the fewest items that decode one prompt at all of some λ, with the samples from first up to last.
func Items(prompt int, lambdas []float64, first, last, stage int) []Item {
	together := max(1, decode.MaxLanes/len(lambdas))
	var items []Item
	for ; first < last; first += together {
		item := Item{Prompt: prompt, Lambdas: lambdas, Stage: stage}
		for s := first; s < min(first+together, last); s++ {
			item.Samples = append(item.Samples, s)
		}
		items = append(items, item)
	}
	return items
}

// Missing are items that decode what is wanted and not there yet, and nothing else: of each prompt, samples that lack the
// same λ together. The cells that are wanted are sorted.
func Missing(wanted []Cell, there func(Cell) bool) []Item {
	lacks := map[[2]int][]float64{} // λ by prompt and sample
	var order [][2]int
	for _, c := range wanted {
		if there(c) {
			continue
		}
		key := [2]int{c.Prompt, c.Sample}
		if lacks[key] == nil {
			order = append(order, key)
		}
		lacks[key] = append(lacks[key], c.Lambda)
	}
	slices.SortFunc(order, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	var items []Item
	for _, key := range order {
		lambdas := lacks[key]
		if n := len(items) - 1; n >= 0 && items[n].Prompt == key[0] && slices.Equal(items[n].Lambdas, lambdas) &&
			(len(items[n].Samples)+1)*len(lambdas) <= decode.MaxLanes {
			items[n].Samples = append(items[n].Samples, key[1])
			continue
		}
		items = append(items, Item{Prompt: key[0], Lambdas: lambdas, Samples: []int{key[1]}})
	}
	return items
}

// Output is one decoded sample. The log-probabilities are natural logarithms, sums over its tokens, end token included.
type Output struct {
	Cell
	Text   string
	Tokens int    // decoded, end token included
	Finish string // decode.EndStop and its like; decode.EndError when Error says why there is no text
	Error  string // why it could not be decoded; "" where it was

	// Untraced says that nothing of what follows was kept: of outputs that were imported, decoded with λ in the weights, or
	// decoded by a Realign that kept only texts for studies.
	Untraced bool

	KL            float64 // Σ KL(π_λ ‖ π_ref), exact at every prefix; with Exact one draw of log π/π_ref of whole replies
	LogZ          float64 // Σ log Z(λ) over its tokens, the local normalisers
	LogpReference float64 // under the reference, before temperature and truncation
	LogpAligned   float64 // the same, under the aligned model

	// LogQ is the log-probability of the tokens under the distribution that was sampled from, temperature
	// included, at each λ of Setup.Evaluate. Nil where that has none.
	LogQ []float64

	// Exact is what the particles tell that the output was kept of; nil where there were none.
	Exact *decode.Exact
}

// Failed reports whether the cell could not be decoded.
func (o *Output) Failed() bool { return o.Error != "" }

// Outputs are the answer to an item's request, in the order of its cells. Work that was refused as a whole makes
// outputs that failed.
func (s *Setup) Outputs(item Item, answer *decode.Answer) []Output {
	cells := item.Cells()
	outputs := make([]Output, len(cells))
	for i, cell := range cells {
		o := &outputs[i]
		o.Cell, o.Finish = cell, decode.EndError
		switch {
		case answer.Fault != nil:
			o.Error = answer.Fault.Outside()
		case i >= len(answer.Replies):
			o.Error = "the worker did not answer for this sample"
		default:
			s.fill(o, &answer.Replies[i])
		}
	}
	return outputs
}

// fill takes over what a worker replied.
func (s *Setup) fill(o *Output, r *decode.Reply) {
	o.Finish, o.Tokens = r.Reason, r.Tokens
	switch {
	case r.Error != nil:
		o.Error = r.Error.Message
	case decode.InWeights(s.Mix) && r.Reason != decode.EndError:
		o.Text, o.Untraced = r.Text, true
	case r.Reason == decode.EndError || r.Totals == nil || len(r.Totals.Logp.Aligned) != 1:
		o.Finish, o.Error = decode.EndError, "the worker's answer is not complete"
	default:
		t := r.Totals
		o.Text = r.Text
		o.KL, o.LogZ, o.LogpReference, o.LogpAligned = t.KLReference, t.LogZ, t.Logp.Reference, t.Logp.Aligned[0]
		if x := r.Exact; x != nil {
			// log π(y)/π_ref(y) of π = π_ref^{1−λ} π_al^λ / Z: its mean over replies is their KL divergence.
			o.Exact, o.KL = x, o.Lambda*(o.LogpAligned-o.LogpReference)-x.LogZ
		}
		if len(s.Evaluate) > 0 {
			o.LogQ = t.Evaluated
		}
	}
}

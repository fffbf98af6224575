package mtbench

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Mean is a mean score with its 95% interval, by resampling questions. The interval is NaN with fewer than two questions,
// all of it without any.
type Mean struct {
	Estimate float64 `json:"estimate"` // over all scores, those of a question's turns alike
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Answers  int     `json:"answers"` // that have a score
	Missing  int     `json:"missing"` // scores that there are not
}

// Row is what one λ scored.
type Row struct {
	Lambda     float64         `json:"lambda"`
	All        Mean            `json:"all"`        // over all turns and categories
	Turns      []Mean          `json:"turns"`      // by turn; one where pairs are judged
	Categories map[string]Mean `json:"categories"` // by Question.Category, over all turns
}

// resamples is the number of resamples of questions for an interval.
const resamples = 2000

// Table is the scores by λ, in ascending order. Categories are Question.Category.
func Table(questions []Question, answers []Answer) []Row {
	var rows []Row
	var lambdas []float64
	for _, a := range answers {
		if !slices.Contains(lambdas, a.Lambda) {
			lambdas = append(lambdas, a.Lambda)
		}
	}
	slices.Sort(lambdas)
	for _, l := range lambdas {
		row := Row{Lambda: l, Categories: map[string]Mean{}}
		// A turn of −1 stands for all of them, a category of "" for all.
		of := func(turn int, category string) Mean {
			var scores [][]float64 // by question
			missing := 0
			for i := range answers {
				a := &answers[i]
				if a.Lambda != l || category != "" && questions[a.Question].Category != category {
					continue
				}
				var own []float64
				for t, score := range a.Scores {
					switch {
					case turn >= 0 && t != turn:
					case a.Missing[t] != "":
						missing++
					default:
						own = append(own, score)
					}
				}
				if len(own) > 0 {
					scores = append(scores, own)
				}
			}
			return meanOf(scores, missing)
		}
		row.All = of(-1, "")
		turns := 0
		for i := range answers {
			turns = max(turns, len(answers[i].Scores))
			if q := questions[answers[i].Question].Category; answers[i].Lambda == l {
				if _, done := row.Categories[q]; !done {
					row.Categories[q] = of(-1, q)
				}
			}
		}
		for turn := range turns {
			row.Turns = append(row.Turns, of(turn, ""))
		}
		rows = append(rows, row)
	}
	return rows
}

// meanOf is the mean of all scores, [question][score], with an interval by resampling questions with all of theirs; with
// one question there is none. Its random numbers are the same each time.
func meanOf(questions [][]float64, missing int) Mean {
	m := Mean{Estimate: math.NaN(), Low: math.NaN(), High: math.NaN(), Missing: missing}
	total := func(draw func(int) []float64) float64 {
		sum, n := 0.0, 0
		for i := range questions {
			for _, x := range draw(i) {
				sum += x
				n++
			}
		}
		return sum / float64(n)
	}
	for _, own := range questions {
		m.Answers += len(own)
	}
	m.Estimate = total(func(i int) []float64 { return questions[i] })
	if len(questions) < 2 {
		return m
	}
	random := rand.New(rand.NewPCG(1, 2))
	means := make([]float64, resamples)
	for d := range means {
		means[d] = total(func(int) []float64 { return questions[random.IntN(len(questions))] })
	}
	slices.Sort(means)
	m.Low, m.High = means[resamples/40], means[resamples-1-resamples/40]
	return m
}

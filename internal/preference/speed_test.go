package preference

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkResults is what somebody who looks at a study of 50 annotators, 60 prompts and 1,000 answers waits for.
func BenchmarkResults(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 104))
	w := peaked(r)
	w.annotators, w.prompts = 50, 60
	w.own, w.ofPrompt = slopes(r, 50, 1), slopes(r, 60, 0.5)
	answers := w.study(r, 1000)
	for i := range answers {
		answers[i].Category = fmt.Sprint(i % 3)
	}
	for b.Loop() {
		if _, err := Compute(Answers{Pairwise: answers}, Options{Grid: w.grid}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCurve is the whole of those answers.
func BenchmarkCurve(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 104))
	w := peaked(r)
	w.annotators, w.prompts = 50, 60
	w.own, w.ofPrompt = slopes(r, 50, 1), slopes(r, 60, 0.5)
	answers := w.study(r, 1000)
	for b.Loop() {
		if _, err := FitCurve(answers, Options{Grid: w.grid}); err != nil {
			b.Fatal(err)
		}
	}
}

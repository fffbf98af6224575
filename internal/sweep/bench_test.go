package sweep

import "testing"

// BenchmarkAnalyse is the report on 10,000 prompts at nine λ.
func BenchmarkAnalyse(b *testing.B) {
	w := newWorld(9, 12, square)
	s := w.setup(1, 10_000, nine(), 1, 0)
	outputs, _ := w.run(s)
	for b.Loop() {
		Analyse(s, outputs)
	}
}

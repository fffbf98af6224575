package sweep

import (
	"fmt"
	"testing"
)

// BenchmarkAnalyse is the report on 10,000 prompts at nine λ, by one reward and by three.
func BenchmarkAnalyse(b *testing.B) {
	w := newWorld(9, 12, square)
	s := w.setup(1, 10_000, nine(), 1, 0)
	outputs, _ := w.run(s)
	for _, name := range []string{"second", "third"} {
		for i := range outputs {
			o := &outputs[i]
			o.Rewards[name] = Of(o.Rewards["toy"].Value + float64(o.Tokens))
		}
	}
	judges := []RewardInfo{{Name: "toy", Direction: Higher}, {Name: "second", Direction: Higher}, {Name: "third", Direction: Lower}}
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("rewards=%d", n), func(b *testing.B) {
			s.RewardInfos = judges[:n]
			for b.Loop() {
				Analyse(s, outputs)
			}
		})
	}
}

package llamacpp_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/decode/llamacpp"
)

func TestKernel(t *testing.T) { decodetest.TestKernel(t, llamacpp.Kernel{}) }

// BenchmarkKernel is what one traced lane costs beside its models' passes.
func BenchmarkKernel(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{4096, 49152, 131072} {
		rows := [][]float32{make([]float32, n), make([]float32, n)}
		for _, row := range rows {
			for v := range row {
				row[v] = float32(3 * random.NormFloat64())
			}
		}
		z, means := make([]float64, n), make([]float64, 1)
		llamacpp.Kernel{}.Mix(z, []float64{0.5, 0.5}, rows)
		for name, k := range map[string]decode.Kernel{"plain": decode.Plain{}, "vector": llamacpp.Kernel{}} {
			b.Run(fmt.Sprintf("vocabulary=%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					for _, row := range rows {
						k.Sum(row)
					}
					_, top := k.Mix(z, []float64{0.5, 0.5}, rows)
					k.Expect(means, z, top, rows)
				}
			})
			b.Run(fmt.Sprintf("top/vocabulary=%d/%s", n, name), func(b *testing.B) {
				best := make([]decode.Token, 10)
				for b.Loop() {
					k.Top(best, z)
				}
			})
		}
	}
}

package llamacpp

import (
	"fmt"
	"os"
	"testing"

	"realign/internal/decode"
	"realign/internal/gguf/gguftest"
)

// BenchmarkForward is the bare rate of passes at the shapes the engine uses: n sequences, one row each,
// after a shared prefix. It runs on a random model unless REALIGN_BENCH_MODEL names a GGUF file.
func BenchmarkForward(b *testing.B) {
	path := os.Getenv("REALIGN_BENCH_MODEL")
	if path == "" {
		path = gguftest.Model(1).Write(b, "model.gguf")
	}
	for _, flash := range []bool{true, false} {
		p, err := Open(Spec{Reference: path, Options: Options{Cells: 2048, Batch: 128, Sequences: 64, NoFlash: !flash}})
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{1, 2, 4, 8, 16} {
			b.Run(fmt.Sprintf("flash=%v/rows=%d", flash, n), func(b *testing.B) { benchmarkForward(b, p.Reference(), n, 1) })
		}
		b.Run(fmt.Sprintf("flash=%v/prefill=128", flash), func(b *testing.B) { benchmarkForward(b, p.Reference(), 1, 128) })
		p.Close()
	}
}

// benchmarkForward decodes rows of n sequences, length tokens of each in one pass.
func benchmarkForward(b *testing.B, m decode.Model, n, length int) {
	const prefix = 100
	var pass []decode.Row
	for seq := range n {
		m.Trim(decode.Seq(seq), 0)
		for i := range length {
			pass = append(pass, decode.Row{Token: decode.Token(20 + i), Seq: decode.Seq(seq), Want: i == length-1})
		}
	}
	start := func() {
		for seq := range n {
			m.Trim(decode.Seq(seq), 0)
		}
		for pos := range prefix {
			if err := m.Forward([]decode.Row{{Token: decode.Token(20 + pos), Pos: pos}}); err != nil {
				b.Fatal(err)
			}
		}
		for seq := 1; seq < n; seq++ {
			m.Copy(decode.Seq(seq), 0, prefix)
		}
	}
	start()
	const longest = 60 // rows decoded before the sequences are cut back
	for pos := 0; b.Loop(); pos++ {
		for seq := range n {
			if at := prefix + pos%longest*length; pos%longest == 0 || length > 1 {
				m.Trim(decode.Seq(seq), prefix)
				at = prefix
				for i := range length {
					pass[seq*length+i].Pos = at + i
				}
			} else {
				pass[seq].Pos = at
			}
		}
		if err := m.Forward(pass); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(pass))/b.Elapsed().Seconds(), "rows/s")
	b.ReportAllocs()
}

package attention_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"realign/internal/decode/llamacpp/attention"
	"realign/internal/decode/llamacpp/attention/attentiontest"
)

// Shapes of the models that people have, and odd ones. Cells is the whole cache.
var shapes = map[string]attentiontest.Node{
	"smollm2":           {Width: 64, Depth: 64, Rows: 40, Cells: 512, Heads: 9, KeyHeads: 3, Masks: 1},
	"llama":             {Width: 128, Depth: 128, Rows: 33, Cells: 256, Heads: 8, KeyHeads: 2, Masks: 1},
	"many heads a key":  {Width: 64, Depth: 64, Rows: 9, Cells: 256, Heads: 71, KeyHeads: 1, Masks: 1},
	"gemma":             {Width: 256, Depth: 256, Rows: 12, Cells: 256, Heads: 4, KeyHeads: 1, Masks: 1, Cap: 50},
	"alibi":             {Width: 64, Depth: 64, Rows: 20, Cells: 256, Heads: 12, KeyHeads: 12, Masks: 1, Bias: 8},
	"keys unlike value": {Width: 96, Depth: 40, Rows: 20, Cells: 256, Heads: 4, KeyHeads: 4, Masks: 1},
	"sinks":             {Width: 64, Depth: 64, Rows: 12, Cells: 256, Heads: 8, KeyHeads: 1, Masks: 1, Sinks: make([]float32, 8)},
	"no mask":           {Width: 64, Depth: 64, Rows: 12, Cells: 100, Heads: 6, KeyHeads: 2},
	"masks by head":     {Width: 64, Depth: 64, Rows: 12, Cells: 256, Heads: 6, KeyHeads: 2, Masks: 6},
	"streams":           {Width: 64, Depth: 64, Rows: 12, Cells: 256, Heads: 6, KeyHeads: 2, Masks: 1, Streams: 3},
	"one row":           {Width: 64, Depth: 64, Rows: 1, Cells: 1024, Heads: 9, KeyHeads: 3, Masks: 1},
	"one key":           {Width: 64, Depth: 64, Rows: 1, Cells: 1, Heads: 2, KeyHeads: 2, Masks: 1},
	"deep":              {Width: 576, Depth: 512, Rows: 4, Cells: 256, Heads: 4, KeyHeads: 1, Masks: 1}, // ggml's
	"quantized":         {Width: 64, Depth: 64, Rows: 4, Cells: 256, Heads: 4, KeyHeads: 4, Masks: 1, Quantized: true},
}

// Which cells a row sees.
var masks = map[string]func(n *attentiontest.Node, row, cell int) bool{
	"a prompt": func(n *attentiontest.Node, row, cell int) bool { return cell <= max(0, n.Cells/2-n.Rows)+row },
	"several histories after one": func(n *attentiontest.Node, row, cell int) bool {
		return cell < n.Cells/3 || cell < n.Cells-7 && cell%max(1, n.Rows) == row
	},
	"holes": func(n *attentiontest.Node, row, cell int) bool {
		return (cell*2654435761>>7)%3 != 0 && cell < n.Cells-row
	},
	"the longest row is not the last": func(n *attentiontest.Node, row, cell int) bool { return cell < n.Cells-5*row },
	"a window": func(n *attentiontest.Node, row, cell int) bool {
		return cell <= n.Cells/2+row && cell > n.Cells/2+row-50
	},
	"everything": func(*attentiontest.Node, int, int) bool { return true },
	"nothing":    func(_ *attentiontest.Node, row, _ int) bool { return row%2 == 0 },
}

func made(n attentiontest.Node, sees func(*attentiontest.Node, int, int) bool) *attentiontest.Node {
	random := rand.New(rand.NewPCG(1, 2))
	normal := func(size int, by float64) []float32 {
		x := make([]float32, size)
		for i := range x {
			x[i] = float32(by * random.NormFloat64())
		}
		return x
	}
	n.Scale, n.Streams = float32(1/math.Sqrt(float64(n.Width))), max(n.Streams, 1)
	n.Queries, n.Keys, n.Values = normal(n.Streams*n.Heads*n.Rows*n.Width, 3), normal(n.Streams*n.KeyHeads*n.Cells*n.Width, 1), normal(n.Streams*n.KeyHeads*n.Cells*n.Depth, 1)
	if n.Sinks != nil {
		n.Sinks = normal(n.Heads, 3)
	}
	n.Mask = make([]float32, n.Streams*n.Masks*n.Rows*n.Cells)
	for i := range n.Mask {
		switch which, row, cell := i/n.Cells/n.Rows, i/n.Cells%n.Rows, i%n.Cells; {
		case !sees(&n, row, cell) || which > 0 && cell%(which+1) == 0:
			n.Mask[i] = float32(math.Inf(-1))
		case n.Bias > 0:
			n.Mask[i] = float32(cell - n.Cells/2 - row)
		}
	}
	return &n
}

// row is a node of one of the rows of a stream.
func row(n attentiontest.Node, stream, r int) *attentiontest.Node {
	var queries, mask []float32
	for h := range n.Heads {
		queries = append(queries, n.Queries[((stream*n.Heads+h)*n.Rows+r)*n.Width:][:n.Width]...)
	}
	for m := range n.Masks {
		mask = append(mask, n.Mask[((stream*n.Masks+m)*n.Rows+r)*n.Cells:][:n.Cells]...)
	}
	cache := n.KeyHeads * n.Cells
	n.Keys, n.Values = n.Keys[stream*cache*n.Width:][:cache*n.Width], n.Values[stream*cache*n.Depth:][:cache*n.Depth]
	n.Queries, n.Mask, n.Rows, n.Streams = queries, mask, 1, 1
	return &n
}

func half(x float32) float64 { // as it is in the cache, to 11 bits
	_, e := math.Frexp(float64(x))
	unit := math.Ldexp(1, max(e, -13)-11)
	return math.RoundToEven(float64(x)/unit) * unit
}

// exact is the definition in 64 bits, of keys and values in F16.
func exact(n *attentiontest.Node) (to []float64) {
	for stream := range n.Streams {
		for r := range n.Rows {
			for h := range n.Heads {
				kv := stream*n.KeyHeads + h/(n.Heads/n.KeyHeads)
				scores, top := make([]float64, n.Cells), math.Inf(-1)
				if n.Sinks != nil {
					top = float64(n.Sinks[h])
				}
				for c := range n.Cells {
					for d := range n.Width {
						scores[c] += float64(n.Queries[((stream*n.Heads+h)*n.Rows+r)*n.Width+d]) * half(n.Keys[(kv*n.Cells+c)*n.Width+d])
					}
					scores[c] *= float64(n.Scale)
					if n.Cap > 0 {
						scores[c] = float64(n.Cap) * math.Tanh(scores[c]/float64(n.Cap))
					}
					if n.Masks > 0 {
						scores[c] += slope(n, h) * float64(n.Mask[((stream*n.Masks+h%n.Masks)*n.Rows+r)*n.Cells+c])
					}
					top = max(top, scores[c])
				}
				out, whole := make([]float64, n.Depth), 0.0
				if n.Sinks != nil {
					whole = math.Exp(float64(n.Sinks[h]) - top)
				}
				for c, s := range scores {
					if w := math.Exp(s - top); !math.IsInf(s, -1) {
						whole += w
						for d := range out {
							out[d] += w * half(n.Values[(kv*n.Cells+c)*n.Depth+d])
						}
					}
				}
				for d := range out {
					to = append(to, out[d]/max(whole, math.SmallestNonzeroFloat64))
				}
			}
		}
	}
	return to
}

// slope is that of ALiBi: Press et al., arXiv 2108.12409, §3, with heads that are no power of two.
func slope(n *attentiontest.Node, h int) float64 {
	if n.Bias == 0 {
		return 1
	}
	k := 1
	for 2*k <= n.Heads {
		k *= 2
	}
	if h < k {
		return math.Pow(2, -float64(n.Bias)/float64(k)*float64(h+1))
	}
	return math.Pow(2, -float64(n.Bias)/2/float64(k)*float64(2*(h-k)+1))
}

// furthest is the largest difference, or NaN where there is one.
func furthest(got []float32, want func(int) float64) float64 {
	most := 0.0
	for i, x := range got {
		d := math.Abs(float64(x) - want(i))
		if math.IsNaN(d) {
			return d
		}
		most = max(most, d)
	}
	return most
}

func needsBlocks(t *testing.T) {
	t.Helper()
	if !attention.HasBlocks() {
		t.Skip("attention is ggml's in this build")
	}
}

// The kernel is the definition, and nearer to it than ggml's, its plain twin.
func TestIsTheDefinition(t *testing.T) {
	needsBlocks(t)
	t.Cleanup(func() { attention.InBlocks(true) })
	for name, shape := range shapes {
		for kind, sees := range masks {
			t.Run(name+"/"+kind, func(t *testing.T) {
				n := made(shape, sees)
				attention.InBlocks(false)
				plain := n.Compute(2)
				attention.InBlocks(true)
				blocks := n.Compute(2)
				if n.Quantized || n.Width > 256 {
					if !slices.Equal(blocks, plain) {
						t.Error("not ggml's, whose it is to compute")
					}
					return
				}
				want := exact(n)
				own := furthest(blocks, func(i int) float64 { return want[i] })
				ggml := furthest(plain, func(i int) float64 { return want[i] })
				if !(own <= 2e-5) || own > ggml || !(ggml <= 0.02) {
					t.Errorf("off by %.2g, ggml's by %.2g", own, ggml)
				}
				if n.Cells > 1 && kind == "everything" && slices.Equal(plain, blocks) {
					t.Error("both kernels are one")
				}
			})
		}
	}
}

// What a row gets does not depend on the rows beside it, on threads, or on where its keys lie.
func TestRowsAreTheirOwn(t *testing.T) {
	needsBlocks(t)
	for name, shape := range shapes {
		if shape.Quantized || shape.Width > 256 {
			continue
		}
		for kind, sees := range masks {
			t.Run(name+"/"+kind, func(t *testing.T) {
				n := made(shape, sees)
				all := n.Compute(1)
				for _, threads := range []int{2, 3, 7} {
					if !slices.Equal(n.Compute(threads), all) {
						t.Fatalf("%d threads compute something else", threads)
					}
				}
				for i := range n.Streams * n.Rows {
					stream, r := i/n.Rows, i%n.Rows
					one, want := row(*n, stream, r), all[i*n.Heads*n.Depth:][:n.Heads*n.Depth]
					if !slices.Equal(one.Compute(1+r%3), want) {
						t.Fatalf("stream %d, row %d is something else alone", stream, r)
					}
					if one.Masks > 0 && !slices.Equal(moved(one).Compute(1), want) {
						t.Fatalf("stream %d, row %d is something else where its keys lie elsewhere", stream, r)
					}
				}
			})
		}
	}
}

// moved has the same keys in the same order, with others' between them.
func moved(n *attentiontest.Node) *attentiontest.Node {
	out := *n
	out.Cells = 2*n.Cells + 32 - 2*n.Cells%32
	spread := func(x []float32, width int) []float32 {
		to := make([]float32, n.KeyHeads*out.Cells*width)
		for i := range to {
			to[i] = 1e4
		}
		for h := range n.KeyHeads {
			for c := range n.Cells {
				copy(to[(h*out.Cells+2*c+1)*width:][:width], x[(h*n.Cells+c)*width:][:width])
			}
		}
		return to
	}
	out.Keys, out.Values = spread(n.Keys, n.Width), spread(n.Values, n.Depth)
	out.Mask = slices.Repeat([]float32{float32(math.Inf(-1))}, out.Masks*out.Cells)
	for i, m := range n.Mask {
		out.Mask[i/n.Cells*out.Cells+2*(i%n.Cells)+1] = m
	}
	return &out
}

// BenchmarkAttention is of a prompt's last 256 tokens, and of one row, over a cache.
func BenchmarkAttention(b *testing.B) {
	b.Cleanup(func() { attention.InBlocks(true) })
	for _, cells := range []int{512, 4096} {
		for _, rows := range []int{1, 256} {
			for name, shape := range map[string]attentiontest.Node{"smollm2": shapes["smollm2"], "llama": shapes["llama"]} {
				shape.Cells, shape.Rows = cells, rows
				n := made(shape, func(_ *attentiontest.Node, row, cell int) bool { return cell <= cells-rows+row })
				for kernel, on := range map[string]bool{"blocks": true, "ggml": false} {
					b.Run(fmt.Sprintf("%s/cells=%d/rows=%d/%s", name, cells, rows, kernel), func(b *testing.B) {
						attention.InBlocks(on)
						g := n.Graph()
						defer g.Free()
						for b.Loop() {
							g.Compute(1)
						}
					})
				}
			}
		}
	}
}

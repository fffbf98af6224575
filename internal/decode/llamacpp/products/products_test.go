package products_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"realign/internal/decode/llamacpp/products"
	"realign/internal/decode/llamacpp/products/productstest"
)

// Shapes of the models that people have, and odd ones.
var shapes = map[string]productstest.Node{
	"smollm2":           {Width: 576, Rows: 192, Columns: 1},
	"wide":              {Width: 4096, Rows: 64, Columns: 5},
	"a prompt":          {Width: 512, Rows: 100, Columns: 37},
	"two columns":       {Width: 256, Rows: 40, Columns: 2},
	"three columns":     {Width: 256, Rows: 41, Columns: 3},
	"one row":           {Width: 256, Rows: 1, Columns: 4},
	"seven rows":        {Width: 768, Rows: 7, Columns: 1},
	"matrices":          {Width: 256, Rows: 30, Columns: 3, Matrices: 3},
	"shared matrices":   {Width: 256, Rows: 30, Columns: 1, Matrices: 2, Each: 3},
	"more than a share": {Width: 256, Rows: 2000, Columns: 1},
}

func made(n productstest.Node, kind string) *productstest.Node {
	random := rand.New(rand.NewPCG(1, 2))
	n.Type, n.Matrices, n.Each = kind, max(n.Matrices, 1), max(n.Each, 1)
	n.Width = (n.Width + 255) / 256 * 256
	if kind[:2] != "Q6" && kind != "Q4_K" {
		n.Width -= 160 // 32 × an odd number
	}
	normal := func(size int) []float32 {
		x := make([]float32, size)
		for i := range x {
			x[i] = float32(random.NormFloat64())
		}
		return x
	}
	n.Weights, n.Activations = normal(n.Matrices*n.Rows*n.Width), normal(n.Matrices*n.Each*n.Columns*n.Width)
	for i := range n.Width { // the largest quants, and a row of nothing
		n.Weights[i] = float32(1 - 2*(i&1))
		n.Activations[i] = n.Weights[i] * float32(1-2*(i>>1&1))
		if n.Rows > 5 {
			n.Weights[5*n.Width+i] = 0
		}
	}
	return &n
}

func needsTiles(t testing.TB) {
	t.Helper()
	if !products.HasTiles() {
		t.Skip("products are ggml's in this build")
	}
}

func compute(n *productstest.Node, tiles bool, threads int) []float32 {
	products.InTiles(tiles)
	defer products.InTiles(true)
	g := n.Graph()
	defer g.Free()
	return g.Compute(threads)
}

// Tiles are ggml's products, their plain twin, to the last bit, with any threads, and those of the weights as they were.
func TestAreGgmls(t *testing.T) {
	needsTiles(t)
	for kind := range productstest.Types {
		for name, shape := range shapes {
			t.Run(kind+"/"+name, func(t *testing.T) {
				n := made(shape, kind)
				plain := compute(n, false, 2)
				for _, threads := range []int{1, 2, 3, 7} {
					if got := compute(n, true, threads); !slices.Equal(got, plain) {
						i := differing(got, plain)
						t.Fatalf("%d threads: element %d is %v, ggml's %v", threads, i, got[i], plain[i])
					}
				}
				for i, x := range plain {
					column, row := i/n.Rows, i%n.Rows
					a, w := n.Activations[column*n.Width:][:n.Width], n.Weights[(column/n.Columns/n.Each*n.Rows+row)*n.Width:][:n.Width]
					want := 0.0
					for j := range a {
						want += float64(a[j]) * float64(w[j])
					}
					if d := math.Abs(float64(x) - want); !(d < 0.6*math.Sqrt(float64(n.Width))) {
						t.Fatalf("element %d is %v, exactly %v", i, x, want)
					}
				}
			})
		}
	}
}

// The tiles are linked in, for the formats and columns that they are for.
func TestTakesGgmlsPlace(t *testing.T) {
	needsTiles(t)
	defer products.InTiles(true)
	type product struct {
		kind    string
		columns int
	}
	for p, want := range map[product]bool{ // none of which ggml has in that function
		{"Q4_1", 1}: true, {"Q4_1", 300}: true, {"Q5_1", 1}: true, {"Q5_1", 2}: true, {"Q5_0", 1}: true, {"Q8_0", 1}: true, {"Q6_K", 1}: true, {"Q6_K", 300}: true, {"Q4_K", 2}: false, {"F16", 1}: false,
	} {
		for _, on := range []bool{false, true} {
			products.InTiles(on)
			if got := productstest.Asked(p.kind, p.columns); got != (want && on) {
				t.Errorf("%v, tiles %v: made: %v", p, on, got)
			}
		}
	}
}

func differing(a, b []float32) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// A column of a product is what it is alone.
func TestColumnsAreTheirOwn(t *testing.T) {
	needsTiles(t)
	for kind := range productstest.Types {
		if kind == "F16" || kind == "Q4_K" { // ggml's
			continue
		}
		t.Run(kind, func(t *testing.T) {
			n := made(productstest.Node{Width: 512, Rows: 50, Columns: 11}, kind)
			all := compute(n, true, 2)
			for c := range n.Columns {
				one := *n
				one.Columns, one.Activations = 1, n.Activations[c*n.Width:][:n.Width]
				if !slices.Equal(compute(&one, true, 1), all[c*n.Rows:][:n.Rows]) {
					t.Errorf("column %d is something else alone", c)
				}
			}
		})
	}
}

// BenchmarkProducts is of a matrix in the shape of smollm2's largest, by as many rows of activations as lanes or a prompt have.
func BenchmarkProducts(b *testing.B) {
	needsTiles(b)
	b.Cleanup(func() { products.InTiles(true) })
	for kind, all := range map[string][]int{"Q4_1": {1, 2, 8, 256}, "Q5_0": {1, 2, 8}, "Q8_0": {1, 2, 8}, "Q6_K": {1, 2, 8, 256}} { // where tiles are taken
		for _, columns := range all {
			n := made(productstest.Node{Width: 1536, Rows: 576, Columns: columns}, kind)
			g := n.Graph()
			for kernel, on := range map[string]bool{"tiles": true, "ggml": false} {
				b.Run(fmt.Sprintf("%s/columns=%d/%s", kind, columns, kernel), func(b *testing.B) {
					products.InTiles(on)
					for b.Loop() {
						g.Compute(1)
					}
				})
			}
			g.Free()
		}
	}
}

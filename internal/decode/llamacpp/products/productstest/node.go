// Package productstest computes a single product of quantized weights, for tests.
package productstest

/*
#include <stdlib.h>
#include <string.h>
#include "ggml.h"
#include "ggml-cpu.h"

// Of ggml itself, in no public header, as in ollama v0.24.0: what it asks first, and what that is called with.
struct ggml_compute_params {
	int ith, nth;
	size_t wsize;
	void *wdata;
	struct ggml_threadpool *threadpool;
};
bool llamafile_sgemm(const struct ggml_compute_params *, int64_t, int64_t, int64_t, const void *, int64_t, const void *, int64_t, void *, int64_t, int, int, int);

// Asks for a product of eight rows of 256 weights, all zero.
static bool asked(int type, int64_t columns) {
	int other = ggml_get_type_traits_cpu(type)->vec_dot_type;
	int64_t blocks = 256 / ggml_blck_size(type);
	void *weights = calloc(8, ggml_row_size(type, 256)), *activations = calloc(columns, ggml_row_size(other, 256)), *to = calloc(columns, 8 * sizeof(float));
	struct ggml_compute_params p = {.nth = 1, .wdata = activations};
	bool done = llamafile_sgemm(&p, 8, columns, blocks, weights, blocks, activations, 256 / ggml_blck_size(other), to, 8, type, other, GGML_TYPE_F32);
	free(weights);
	free(activations);
	free(to);
	return done;
}

typedef struct {
	struct ggml_context *context;
	struct ggml_tensor *out;
	struct ggml_cgraph *graph;
} product;

static product build(int type, int64_t width, int64_t rows, int64_t columns, int64_t matrices, int64_t each, const float *weights, const float *activations) {
	size_t floats = matrices * (width * rows + each * (width + rows) * columns);
	struct ggml_init_params p = {((size_t) 1 << 20) + sizeof(float) * floats, NULL, false};
	struct ggml_context *c = ggml_init(p);
	struct ggml_tensor *a = ggml_new_tensor_3d(c, type, width, rows, matrices);
	struct ggml_tensor *b = ggml_new_tensor_3d(c, GGML_TYPE_F32, width, columns, matrices * each);
	ggml_quantize_chunk(type, weights, a->data, 0, rows * matrices, width, NULL);
	memcpy(b->data, activations, ggml_nbytes(b));
	product out = {c, ggml_mul_mat(c, a, b), ggml_new_graph(c)};
	ggml_build_forward_expand(out.graph, out.out);
	return out;
}

static int compute(product p, int threads, float *to) {
	struct ggml_cplan plan = ggml_graph_plan(p.graph, threads, NULL);
	plan.work_data = malloc(plan.work_size);
	int failed = ggml_graph_compute(p.graph, &plan);
	free(plan.work_data);
	memcpy(to, p.out->data, ggml_nbytes(p.out));
	return failed;
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	_ "github.com/ollama/ollama/ml/backend/ggml/ggml/src"
)

// Types are the formats of weights, by their names.
var Types = map[string]int{
	"Q4_0": C.GGML_TYPE_Q4_0, "Q4_1": C.GGML_TYPE_Q4_1, "Q5_0": C.GGML_TYPE_Q5_0, "Q5_1": C.GGML_TYPE_Q5_1, "Q8_0": C.GGML_TYPE_Q8_0,
	"Q4_K": C.GGML_TYPE_Q4_K, "Q6_K": C.GGML_TYPE_Q6_K, "F16": C.GGML_TYPE_F16,
}

// Asked says whether the function that ggml asks first makes products of such weights by so many rows of activations.
func Asked(kind string, columns int) bool {
	return bool(C.asked(C.int(Types[kind]), C.int64_t(columns)))
}

// Node is a product of Rows of weights by Columns rows of activations, for each of Matrices and of the Each activations that it has.
type Node struct {
	Type                 string
	Width, Rows, Columns int
	Matrices, Each       int       // 0: 1
	Weights              []float32 // [matrices][rows][width], to be quantized
	Activations          []float32 // [matrices × each][columns][width]
}

// Graph is a node in ggml's memory.
type Graph struct {
	size int
	p    C.product
}

// Graph lays the node out. Its memory is taken until Free.
func (n *Node) Graph() *Graph {
	matrices, each := max(n.Matrices, 1), max(n.Each, 1)
	return &Graph{matrices * each * n.Rows * n.Columns, C.build(C.int(Types[n.Type]), C.int64_t(n.Width), C.int64_t(n.Rows), C.int64_t(n.Columns), C.int64_t(matrices), C.int64_t(each),
		floats(n.Weights), floats(n.Activations))}
}

// Compute returns the products, [matrices × each][columns][rows].
func (g *Graph) Compute(threads int) []float32 {
	to := make([]float32, g.size)
	if failed := C.compute(g.p, C.int(threads), floats(to)); failed != 0 {
		panic(fmt.Sprintf("ggml does not compute: %d", failed))
	}
	return to
}

func (g *Graph) Free() { C.ggml_free(g.p.context) }

func floats(x []float32) *C.float { return (*C.float)(unsafe.SliceData(x)) }

// Package attentiontest computes a single node of attention, for tests.
package attentiontest

/*
#include <stdlib.h>
#include <string.h>
#include "ggml.h"
#include "ggml-cpu.h"

static void fill(struct ggml_tensor *t, const float *from) {
	switch (t->type) {
	case GGML_TYPE_F32:
		memcpy(t->data, from, ggml_nbytes(t));
		break;
	case GGML_TYPE_F16:
		ggml_fp32_to_fp16_row(from, t->data, ggml_nelements(t));
		break;
	default:
		ggml_quantize_chunk(t->type, from, t->data, 0, ggml_nelements(t) / t->ne[0], t->ne[0], NULL);
	}
}

typedef struct {
	int64_t width, depth, rows, cells, heads, key_heads;
	float scale, bias, cap;
	int quantized;
} shape;

typedef struct {
	struct ggml_context *context;
	struct ggml_tensor *out;
	struct ggml_cgraph *graph;
} graph;

// q [heads][rows][width], k [key heads][cells][width], v [key heads][cells][depth], mask [rows][cells].
static graph build(shape s, const float *q, const float *k, const float *v, const float *mask, const float *sinks) {
	size_t floats = s.heads * s.rows * (s.width + s.depth) + s.key_heads * s.cells * (s.width + s.depth) + (s.rows + 64) * s.cells;
	struct ggml_init_params p = {((size_t) 1 << 20) + sizeof(float) * floats, NULL, false};
	struct ggml_context *c = ggml_init(p);
	enum ggml_type type = s.quantized ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
	struct ggml_tensor *tq = ggml_new_tensor_4d(c, GGML_TYPE_F32, s.width, s.rows, s.heads, 1);
	struct ggml_tensor *tk = ggml_new_tensor_4d(c, type, s.width, s.cells, s.key_heads, 1);
	struct ggml_tensor *tv = ggml_new_tensor_4d(c, type, s.depth, s.cells, s.key_heads, 1);
	struct ggml_tensor *tm = ggml_new_tensor_4d(c, GGML_TYPE_F16, s.cells, GGML_PAD(s.rows, 64), 1, 1);
	fill(tq, q);
	fill(tk, k);
	fill(tv, v);
	memset(tm->data, 0, ggml_nbytes(tm));
	ggml_fp32_to_fp16_row(mask, tm->data, s.rows * s.cells);
	graph g = {c, ggml_flash_attn_ext(c, tq, tk, tv, tm, s.scale, s.bias, s.cap), ggml_new_graph(c)};
	if (sinks != NULL) {
		struct ggml_tensor *ts = ggml_new_tensor_1d(c, GGML_TYPE_F32, s.heads);
		fill(ts, sinks);
		ggml_flash_attn_ext_add_sinks(g.out, ts);
	}
	ggml_build_forward_expand(g.graph, g.out);
	return g;
}

// to [rows][heads][depth].
static int compute(graph g, int threads, float *to) {
	struct ggml_cplan plan = ggml_graph_plan(g.graph, threads, NULL);
	plan.work_data = malloc(plan.work_size);
	int failed = ggml_graph_compute(g.graph, &plan);
	free(plan.work_data);
	memcpy(to, g.out->data, ggml_nbytes(g.out));
	return failed;
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	_ "github.com/ollama/ollama/ml/backend/ggml/ggml/src"
)

// Node is attention of Rows over Cells of a cache.
type Node struct {
	Width, Depth     int // of a key, of a value
	Rows, Cells      int
	Heads, KeyHeads  int
	Scale, Bias, Cap float32   // Bias: the largest of ALiBi; Cap: of scores; 0 for none
	Quantized        bool      // keys and values in Q8_0 instead of F16
	Queries          []float32 // [heads][rows][width]
	Keys, Values     []float32 // [key heads][cells][width or depth]
	Mask             []float32 // [rows][cells]: 0, or −Inf for what a row does not see
	Sinks            []float32 // by head: a score without a value; or none
}

// Graph is a node in ggml's memory.
type Graph struct {
	of Node
	g  C.graph
}

// Graph lays the node out. Its memory is taken until Free.
func (n *Node) Graph() *Graph {
	s := C.shape{width: C.int64_t(n.Width), depth: C.int64_t(n.Depth), rows: C.int64_t(n.Rows), cells: C.int64_t(n.Cells), heads: C.int64_t(n.Heads),
		key_heads: C.int64_t(n.KeyHeads), scale: C.float(n.Scale), bias: C.float(n.Bias), cap: C.float(n.Cap)}
	if n.Quantized {
		s.quantized = 1
	}
	return &Graph{*n, C.build(s, floats(n.Queries), floats(n.Keys), floats(n.Values), floats(n.Mask), floats(n.Sinks))}
}

// Compute returns what the rows get, [rows][heads][depth].
func (g *Graph) Compute(threads int) []float32 {
	to := make([]float32, g.of.Rows*g.of.Heads*g.of.Depth)
	if failed := C.compute(g.g, C.int(threads), floats(to)); failed != 0 {
		panic(fmt.Sprintf("ggml does not compute: %d", failed))
	}
	return to
}

func (g *Graph) Free() { C.ggml_free(g.g.context) }

// Compute is that of a graph of its own.
func (n *Node) Compute(threads int) []float32 {
	g := n.Graph()
	defer g.Free()
	return g.Compute(threads)
}

func floats(x []float32) *C.float { return (*C.float)(unsafe.SliceData(x)) }

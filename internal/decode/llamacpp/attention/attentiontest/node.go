// Package attentiontest computes a single node of attention, for tests.
package attentiontest

/*
#include <stdlib.h>
#include <string.h>
#include "ggml.h"
#include "ggml-cpu.h"

// Writes rows to a tensor whose rows may lie anywhere.
static void fill(struct ggml_tensor *t, const float *from) {
	for (int64_t three = 0; three < t->ne[3]; three++) {
		for (int64_t two = 0; two < t->ne[2]; two++) {
			for (int64_t one = 0; one < t->ne[1]; one++, from += t->ne[0]) {
				char *to = (char *) t->data + one * t->nb[1] + two * t->nb[2] + three * t->nb[3];
				switch (t->type) {
				case GGML_TYPE_F32:
					memcpy(to, from, t->ne[0] * sizeof(float));
					break;
				case GGML_TYPE_F16:
					ggml_fp32_to_fp16_row(from, (ggml_fp16_t *) to, t->ne[0]);
					break;
				default:
					ggml_quantize_chunk(t->type, from, to, 0, 1, t->ne[0], NULL);
				}
			}
		}
	}
}

typedef struct {
	int64_t width, depth, rows, cells, heads, key_heads, streams, masks;
	float scale, bias, cap;
	int quantized;
} shape;

typedef struct {
	struct ggml_context *context;
	struct ggml_tensor *out;
	struct ggml_cgraph *graph;
} graph;

// [streams][two][one][width], laid out as llama.cpp has queries and its cache: the heads of a token are neighbours.
static struct ggml_tensor *tensor(struct ggml_context *c, enum ggml_type type, int64_t width, int64_t one, int64_t two, int64_t streams, const float *from) {
	struct ggml_tensor *t = ggml_permute(c, ggml_new_tensor_4d(c, type, width, two, one, streams), 0, 2, 1, 3);
	fill(t, from);
	return t;
}

static graph build(shape s, const float *q, const float *k, const float *v, const float *mask, const float *sinks) {
	size_t floats = s.streams * (s.heads * s.rows * (s.width + s.depth) + s.key_heads * s.cells * (s.width + s.depth) + (s.masks + 1) * (s.rows + 64) * s.cells);
	struct ggml_init_params p = {((size_t) 1 << 20) + sizeof(float) * floats, NULL, false};
	struct ggml_context *c = ggml_init(p);
	enum ggml_type type = s.quantized ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
	struct ggml_tensor *tq = tensor(c, GGML_TYPE_F32, s.width, s.rows, s.heads, s.streams, q);
	struct ggml_tensor *tk = tensor(c, type, s.width, s.cells, s.key_heads, s.streams, k);
	struct ggml_tensor *tv = tensor(c, type, s.depth, s.cells, s.key_heads, s.streams, v);
	struct ggml_tensor *tm = NULL;
	if (s.masks > 0) {
		struct ggml_tensor *padded = ggml_new_tensor_4d(c, GGML_TYPE_F16, s.cells, GGML_PAD(s.rows, 64), s.masks, s.streams);
		memset(padded->data, 0, ggml_nbytes(padded));
		fill(ggml_view_4d(c, padded, s.cells, s.rows, s.masks, s.streams, padded->nb[1], padded->nb[2], padded->nb[3], 0), mask);
		tm = padded;
	}
	graph g = {c, ggml_flash_attn_ext(c, tq, tk, tv, tm, s.scale, s.bias, s.cap), ggml_new_graph(c)};
	if (sinks != NULL) {
		struct ggml_tensor *ts = ggml_new_tensor_1d(c, GGML_TYPE_F32, s.heads);
		fill(ts, sinks);
		ggml_flash_attn_ext_add_sinks(g.out, ts);
	}
	ggml_build_forward_expand(g.graph, g.out);
	return g;
}

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

// Node is attention of Rows over Cells of a cache, in each of Streams.
type Node struct {
	Width, Depth     int // of a key, of a value
	Rows, Cells      int
	Heads, KeyHeads  int
	Streams          int     // 0: 1
	Masks            int     // 0: none; 1 for all heads, or as many as there are heads
	Scale, Bias, Cap float32 // Bias: the largest of ALiBi; Cap: of scores; 0 for none
	Quantized        bool    // keys and values in Q8_0 instead of F16

	Queries      []float32 // [streams][heads][rows][width]
	Keys, Values []float32 // [streams][key heads][cells][width or depth]
	Mask         []float32 // [streams][masks][rows][cells]: what is added to scores; −Inf for what a row does not see
	Sinks        []float32 // by head: a score without a value; or none
}

// Graph is a node in ggml's memory.
type Graph struct {
	of Node
	g  C.graph
}

// Graph lays the node out. Its memory is taken until Free.
func (n *Node) Graph() *Graph {
	s := C.shape{width: C.int64_t(n.Width), depth: C.int64_t(n.Depth), rows: C.int64_t(n.Rows), cells: C.int64_t(n.Cells), heads: C.int64_t(n.Heads),
		key_heads: C.int64_t(n.KeyHeads), streams: C.int64_t(max(n.Streams, 1)), masks: C.int64_t(n.Masks), scale: C.float(n.Scale), bias: C.float(n.Bias), cap: C.float(n.Cap)}
	if n.Quantized {
		s.quantized = 1
	}
	return &Graph{*n, C.build(s, floats(n.Queries), floats(n.Keys), floats(n.Values), floats(n.Mask), floats(n.Sinks))}
}

// Compute returns what the rows get, [streams][rows][heads][depth].
func (g *Graph) Compute(threads int) []float32 {
	to := make([]float32, max(g.of.Streams, 1)*g.of.Rows*g.of.Heads*g.of.Depth)
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

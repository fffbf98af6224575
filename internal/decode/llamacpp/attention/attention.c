// Attention over a cache on the CPU. ggml's kernel takes one key of one row after another, with an exponential and a horizontal
// sum for each. Here a block of keys and values is widened once for the heads of a part that read it and for those of its rows that see the
// same keys up to its end, and products, exponentials and sums are of vectors. The linker puts this function in the place of ggml's
// (-Wl,--wrap, see attention.go).
//
// What a row gets depends on nothing but its own keys in the order of their cells, not on the rows beside it or on threads: blocks are
// counted in the row's visible keys, not in cells, and each row and head goes through the same instructions whoever shares the block.
// So a pass over many rows and passes over one of them each make the same numbers.
//
// The softmax is made block by block with a running maximum: Milakov and Gimelshein, arXiv 1805.02867. Queries and sums have 32 bits, where
// ggml's kernel has 16.
#include "attention.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "ggml.h"

// Of ggml itself, in no public header, as in ollama v0.24.0 (ggml-cpu-impl.h): what a kernel is called with, and how threads share its parts.
struct ggml_compute_params {
	int ith, nth; // this thread of so many
	size_t wsize;
	void *wdata;
	struct ggml_threadpool *threadpool;
};
void ggml_barrier(struct ggml_threadpool *);
void ggml_threadpool_chunk_set(struct ggml_threadpool *, int next);
int ggml_threadpool_chunk_add(struct ggml_threadpool *, int parts);

enum {
	WIDTH = 8, // floats of a vector
	BLOCK = 32, // keys
	DEEPEST = 256, // dimension of a head
	QUERIES = 32 // rows × heads that share a block's keys, where there are as many
};
typedef float floats __attribute__((vector_size(WIDTH * sizeof(float))));
typedef int32_t ints __attribute__((vector_size(WIDTH * sizeof(int32_t))));

static const ggml_fp16_t HIDDEN = 0xfc00; // −Inf: the mask of a key that a row does not see

static atomic_bool blocks = true;

void realign_attention_in_blocks(bool on) {
	atomic_store(&blocks, on);
}

bool realign_attention_has_blocks(void) {
#if defined(__linux__) && (defined(__F16C__) || defined(__ARM_NEON)) // without vectors of half precision nothing is gained
	return true;
#else
	return false;
#endif
}

static inline floats all(float x) {
	return (floats){x, x, x, x, x, x, x, x};
}

static inline floats load(const float *from) {
	floats x;
	memcpy(&x, from, sizeof x);
	return x;
}

static inline void store(float *to, floats x) {
	memcpy(to, &x, sizeof x);
}

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif

// The sums of eight vectors, in their order.
static inline floats sums(const floats *a) {
	floats two[4], four[2];
	for (int i = 0; i < 4; i++) { // each has the sums of pairs of two vectors, alternating
		two[i] = SHUFFLE(a[2 * i], a[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(a[2 * i], a[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
	}
	for (int i = 0; i < 2; i++) {
		four[i] = SHUFFLE(two[2 * i], two[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(two[2 * i], two[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
	}
	return SHUFFLE(four[0], four[1], 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(four[0], four[1], 4, 5, 6, 7, 12, 13, 14, 15);
}

static inline floats widened(const ggml_fp16_t *from) {
#ifdef __F16C__
	__m128i x;
	memcpy(&x, from, sizeof x);
	return (floats) _mm256_cvtph_ps(x);
#else
	floats x;
	for (int i = 0; i < WIDTH; i++) {
#ifdef __ARM_FP16_FORMAT_IEEE
		__fp16 half;
		memcpy(&half, from + i, sizeof half);
		x[i] = half;
#else
		x[i] = ggml_fp16_to_fp32(from[i]);
#endif
	}
	return x;
#endif
}

static inline void widen(float *to, const ggml_fp16_t *from, int64_t n) {
	for (int64_t i = 0; i < n; i += WIDTH) {
		store(to + i, widened(from + i));
	}
}

static inline floats larger(floats a, floats b) {
	ints first = a > b;
	return (floats) ((first & (ints) a) | (~first & (ints) b));
}

static inline float largest(floats x) {
	float top = x[0];
	for (int i = 1; i < WIDTH; i++) {
		top = x[i] > top ? x[i] : top;
	}
	return top;
}

static inline float total(floats x) {
	return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

// e^x for x ≤ 0, to a relative 2e-7; 0 below e^−87. x = n·ln 2 + r, and a Taylor series for |r| ≤ ln(2)/2 whose first omitted
// term is below 6e-9.
static inline floats exponential(floats x) {
	const float round = 0x1.8p23f; // adding it rounds to an integer, held in the lowest bits
	floats shifted = x * 0x1.715476p0f + round;
	floats n = shifted - round;
	floats r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;
	floats e = all(1.0f / 5040);
	e = e * r + 1.0f / 720;
	e = e * r + 1.0f / 120;
	e = e * r + 1.0f / 24;
	e = e * r + 1.0f / 6;
	e = e * r + 0.5f;
	e = e * r + 1.0f;
	e = e * r + 1.0f;
	e = (floats) ((ints) e + ((ints) shifted << 23));
	return (floats) ((ints) e & ~(ints) (x < -87.0f)); // NaN stays NaN
}

// Products of a query with eight keys, one behind the other.
static inline floats products(const float *query, const float *keys, int64_t dimension) {
	floats a[WIDTH] = {0};
	for (int64_t d = 0; d < dimension; d += WIDTH) {
		floats x = load(query + d);
		for (int i = 0; i < WIDTH; i++) {
			a[i] += x * load(keys + i * dimension + d);
		}
	}
	return sums(a);
}

// Adds n values by their weights.
static inline void add(float *sum, const float *values, const float *weights, int64_t n, int64_t dimension) {
	enum { PART = 8 * WIDTH };
	int64_t d = 0;
	for (; d + PART <= dimension; d += PART) {
		floats a[8];
		memcpy(a, sum + d, sizeof a);
		for (int64_t k = 0; k < n; k++) {
			for (int i = 0; i < 8; i++) {
				a[i] += weights[k] * load(values + k * dimension + d + i * WIDTH);
			}
		}
		memcpy(sum + d, a, sizeof a);
	}
	for (; d < dimension; d += WIDTH) {
		floats a = load(sum + d);
		for (int64_t k = 0; k < n; k++) {
			a += weights[k] * load(values + k * dimension + d);
		}
		store(sum + d, a);
	}
}

// What a query has of the keys so far: its largest score, the sum of the weights e^(score − largest), and of the values by them.
typedef struct {
	float top, weight;
	float values[DEEPEST];
} state;

// A node of the graph.
typedef struct {
	const struct ggml_tensor *q, *k, *v, *mask, *sinks; // sinks: a score by head that has no value; or NULL
	struct ggml_tensor *to;
	int64_t cells, rows, heads, shared; // shared: heads that read the same keys
	float scale, cap, bias, first, second; // of ALiBi: the largest bias, and the bases of its slopes
	int64_t half; // the largest power of two that is no more than the heads
} node;

static node node_of(struct ggml_tensor *to) {
	node n = {to->src[0], to->src[1], to->src[2], to->src[3], to->src[4], to};
	n.cells = n.k->ne[1];
	n.rows = n.q->ne[1];
	n.heads = n.q->ne[2];
	n.shared = n.heads / n.k->ne[2];
	const float *p = (const float *) to->op_params;
	n.scale = p[0];
	n.bias = p[1];
	n.cap = p[2];
	n.half = 1 << (int) floor(log2(n.heads));
	n.first = powf(2, -n.bias / n.half);
	n.second = powf(2, -n.bias / 2 / n.half);
	return n;
}

static bool is_ours(const struct ggml_tensor *to) {
	const struct ggml_tensor *q = to->src[0], *k = to->src[1], *v = to->src[2], *mask = to->src[3];
	return q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 && (mask == NULL || mask->type == GGML_TYPE_F16) &&
		q->nb[0] == sizeof(float) && k->nb[0] == sizeof(ggml_fp16_t) && v->nb[0] == sizeof(ggml_fp16_t) && to->nb[0] == sizeof(float) &&
		k->ne[0] % WIDTH == 0 && v->ne[0] % WIDTH == 0 && k->ne[0] <= DEEPEST && v->ne[0] <= DEEPEST && k->ne[2] == v->ne[2] && k->ne[3] == v->ne[3];
}

static inline const void *at(const struct ggml_tensor *t, int64_t one, int64_t two, int64_t three) {
	return (const char *) t->data + one * t->nb[1] + two * t->nb[2] + three * t->nb[3];
}

static const ggml_fp16_t *mask_of(const node *n, int64_t row, int64_t head, int64_t stream) {
	return n->mask == NULL ? NULL : at(n->mask, row, head % n->mask->ne[2], stream % n->mask->ne[3]);
}

static float slope_of(const node *n, int64_t head) {
	if (n->bias <= 0) {
		return 1;
	}
	return head < n->half ? powf(n->first, head + 1) : powf(n->second, 2 * (head - n->half) + 1);
}

// The first cell before `end` that one of two rows sees and the other does not, or `end`.
static int64_t alike(const ggml_fp16_t *mask, const ggml_fp16_t *other, int64_t end) {
	enum { STRETCH = 256 };
	if (mask == other) {
		return end;
	}
	for (int64_t from = 0; from < end; from += STRETCH) {
		int64_t to = from + STRETCH < end ? from + STRETCH : end;
		int differ = 0;
		for (int64_t c = from; c < to; c++) {
			differ |= (mask[c] == HIDDEN) != (other[c] == HIDDEN);
		}
		for (int64_t c = from; differ && c < to; c++) {
			if ((mask[c] == HIDDEN) != (other[c] == HIDDEN)) {
				return c;
			}
		}
	}
	return end;
}

// Makes the weights so far relative to a larger score.
static inline void rise(state *s, float top, int64_t depth) {
	if (top > s->top) {
		float fall = exponential(all(s->top - top))[0];
		s->top = top;
		s->weight *= fall;
		for (int64_t d = 0; d < depth; d += WIDTH) {
			store(s->values + d, load(s->values + d) * fall);
		}
	}
}

// Adds a block of keys to a query. It exists once, as two copies could round in two ways.
__attribute__((noinline)) static void take(const node *n, state *s, const float *query, float slope, const float *keys, const float *values, const float *biases, int64_t count) {
	int64_t width = n->k->ne[0], depth = n->v->ne[0];
	float weights[BLOCK];
	floats top = all(-INFINITY), sum = all(0);
	for (int64_t k = 0; k < count; k += WIDTH) {
		floats x = products(query, keys + k * width, width) * n->scale;
		if (n->cap != 0) {
			for (int i = 0; i < WIDTH; i++) {
				x[i] = n->cap * tanhf(x[i] / n->cap);
			}
		}
		x += slope * load(biases + k);
		store(weights + k, x);
		top = larger(x, top);
	}
	rise(s, largest(top), depth);
	for (int64_t k = 0; k < count; k += WIDTH) {
		floats w = exponential(load(weights + k) - s->top);
		store(weights + k, w);
		sum += w;
	}
	s->weight += total(sum);
	add(s->values, values, weights, count, depth);
}

// What is computed together: some rows and heads that read the same keys.
typedef struct {
	int64_t row, rows, head, heads, stream;
} part;

// Adds the keys in the cells from `cell` to `end` to the states of a part whose rows all see the same of them. If `whole`, stops before a
// block of fewer than 32 keys. Returns the cell after the last block taken.
static int64_t attend(const node *n, part p, state *states, int64_t cell, int64_t end, bool whole) {
	int64_t width = n->k->ne[0], depth = n->v->ne[0], kv = p.head / n->shared, kvs = p.stream / (n->q->ne[3] / n->k->ne[3]);
	const ggml_fp16_t *seen = mask_of(n, p.row, p.head, p.stream);
	float keys[BLOCK * DEEPEST], values[BLOCK * DEEPEST];
	for (;;) {
		int64_t cells[BLOCK], count = 0, next = cell;
		for (; count < BLOCK && next < end; next++) {
			if (seen == NULL || seen[next] != HIDDEN) {
				cells[count++] = next;
			}
		}
		if (count == 0 || (whole && count < BLOCK)) {
			return cell;
		}
		cell = next;
		for (int64_t k = 0; k < count; k++) {
			widen(keys + k * width, at(n->k, cells[k], kv, kvs), width);
			widen(values + k * depth, at(n->v, cells[k], kv, kvs), depth);
		}
		int64_t vectors = (count + WIDTH - 1) / WIDTH * WIDTH; // the last one may have keys that are none
		memset(keys + count * width, 0, (vectors - count) * width * sizeof(float));
		for (int64_t r = 0; r < p.rows; r++) {
			const ggml_fp16_t *mask = mask_of(n, p.row + r, p.head, p.stream);
			ggml_fp16_t hidden[BLOCK];
			float biases[BLOCK];
			for (int64_t k = 0; k < BLOCK; k++) {
				hidden[k] = k >= count ? HIDDEN : mask == NULL ? 0 : mask[cells[k]];
			}
			widen(biases, hidden, BLOCK);
			for (int64_t h = 0; h < p.heads; h++) {
				take(n, states + r * p.heads + h, at(n->q, p.row + r, p.head + h, p.stream), slope_of(n, p.head + h), keys, values, biases, count);
			}
		}
	}
}

// Computes a part: the blocks that its rows begin with together, and what follows for each row by itself.
static void compute(const node *n, part p) {
	int64_t depth = n->v->ne[0], together = n->cells;
	state states[QUERIES];
	for (int64_t i = 0; i < p.rows * p.heads; i++) {
		states[i].top = -INFINITY;
		states[i].weight = 0;
		memset(states[i].values, 0, depth * sizeof(float));
	}
	for (int64_t r = 1; r < p.rows; r++) {
		together = alike(mask_of(n, p.row, p.head, p.stream), mask_of(n, p.row + r, p.head, p.stream), together);
	}
	int64_t cell = attend(n, p, states, 0, together, true);
	for (int64_t r = 0; r < p.rows; r++) {
		state *mine = states + r * p.heads;
		attend(n, (part){p.row + r, 1, p.head, p.heads, p.stream}, mine, cell, n->cells, false);
		for (int64_t h = 0; h < p.heads; h++) {
			if (n->sinks != NULL) {
				float score = ((const float *) n->sinks->data)[p.head + h];
				rise(mine + h, score, depth);
				mine[h].weight += exponential(all(score - mine[h].top))[0];
			}
			float inverse = mine[h].weight == 0 ? 0 : 1 / mine[h].weight;
			float *to = (float *) ((char *) n->to->data + ((p.stream * n->rows + p.row + r) * n->heads + p.head + h) * n->to->nb[1]);
			for (int64_t d = 0; d < depth; d += WIDTH) {
				store(to + d, load(mine[h].values + d) * inverse);
			}
		}
	}
}

#ifdef __linux__
void __real_ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params *params, struct ggml_tensor *to);

void __wrap_ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params *params, struct ggml_tensor *to) {
	if (!realign_attention_has_blocks() || !atomic_load(&blocks) || !is_ours(to)) {
		__real_ggml_compute_forward_flash_attn_ext(params, to);
		return;
	}
	node n = node_of(to);
	// Heads that share keys are taken together, and so are rows, where enough parts remain for several threads to end at the same time.
	int64_t heads = n.shared, streams = n.q->ne[3], wanted = params->nth == 1 ? 1 : 4 * params->nth;
	if (heads > QUERIES || n.rows * (n.heads / heads) < params->nth || (n.mask != NULL && n.mask->ne[2] > 1)) {
		heads = 1;
	}
	int64_t rows = QUERIES / heads, most = (n.rows * (n.heads / heads) + wanted - 1) / wanted;
	rows = rows < most ? rows : most;
	int64_t groups = n.heads / heads, pieces = (n.rows + rows - 1) / rows, parts = groups * pieces * streams;
	if (params->ith == 0) {
		ggml_threadpool_chunk_set(params->threadpool, params->nth);
	}
	ggml_barrier(params->threadpool);
	for (int64_t i = params->ith; i < parts; i = ggml_threadpool_chunk_add(params->threadpool, 1)) {
		int64_t row = i % pieces * rows, group = i / pieces % groups;
		compute(&n, (part){row, row + rows < n.rows ? rows : n.rows - row, group * heads, heads, i / pieces / groups});
	}
}
#endif

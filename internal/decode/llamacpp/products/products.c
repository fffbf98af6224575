// Products of quantized weights by rows of activations on the CPU. ggml's kernels take one row of weights after another, or, for some
// formats and several rows of activations, small tiles of them. Here eight rows of weights are taken side by side, so that their sums do not
// wait for each other, and a tile of weights is unpacked once for up to four rows of activations. The linker puts this function in the place of the one that ggml asks first (-Wl,--wrap, see
// products.go).
//
// Every element is made by the operations of ggml's own kernel for AVX2 in their order: eight sums of products of whole numbers, scaled
// block by block, then added in pairs. So it is the same to the last bit, whatever tile it is in: rows do not depend on the rows beside
// them, nor on threads.
#include "products.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ggml.h"

// Of ggml itself, in no public header, as in ollama v0.24.0 (ggml-cpu-impl.h): what a kernel is called with, and how threads share its parts.
struct ggml_compute_params {
	int ith, nth; // this thread of so many
	size_t wsize;
	void *wdata; // where src1 is in the format that the weights are multiplied by
	struct ggml_threadpool *threadpool;
};
int ggml_threadpool_chunk_add(struct ggml_threadpool *, int parts);

static atomic_bool tiles = true;

void realign_products_in_tiles(bool on) {
	atomic_store(&tiles, on);
}

#if defined(__linux__) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

bool realign_products_has_tiles(void) {
	return true;
}

enum {
	ROWS = 8, // of weights in a tile, at most
	COLUMNS = 4, // rows of activations in a tile, at most
	BAND = 16, // rows of weights that stay in a cache while the columns pass by
	AHEAD = 8192, // bytes from what is read to what is fetched from memory
};

#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
#define VNNI(name) _mm256_##name##_epi32
#elif defined(__AVXVNNI__)
#define VNNI(name) _mm256_##name##_avx_epi32
#endif

// A vector has 16 bytes of each of two rows of weights, or the sums of these bytes' products in fours. (In vectors of 512 bits for four rows,
// what is the same for all of them would have to be broadcast, which takes an AMD EPYC as long as a product.)
enum { SIDE = 2 };
typedef __m256i bytes; // or whole numbers of 16 or 32 bits
typedef __m256 sums;

static inline bytes each(const uint8_t *at) { // the same 16 bytes for both rows
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *) at));
}

static inline bytes load(const uint8_t *const *rows, size_t at) {
	return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *) (rows[0] + at))), _mm_loadu_si128((const void *) (rows[1] + at)), 1);
}

static inline bytes load_bits(const uint8_t *const *rows, size_t at) { // 4 bytes of each row, four times
	int32_t a, b;
	memcpy(&a, rows[0] + at, sizeof a);
	memcpy(&b, rows[1] + at, sizeof b);
	return _mm256_inserti128_si256(_mm256_set1_epi32(a), _mm_set1_epi32(b), 1);
}

// Bits 16 × h to 16 × h + 15 of each row of what load_bits returns, in a byte each, worth 16.
static inline bytes fifth(bytes x, const int h) {
	const int64_t first = 0x0202020202020202 * h, second = first + 0x0101010101010101;
	const bytes bit = _mm256_set1_epi64x((int64_t) 0x8040201008040201);
	bytes of_byte = _mm256_and_si256(_mm256_shuffle_epi8(x, _mm256_setr_epi64x(first, second, first, second)), bit);
	return _mm256_and_si256(_mm256_cmpeq_epi8(of_byte, bit), _mm256_set1_epi8(16));
}

// What is at 2 × row of x for each sum of the two rows of a vector; x has those of four rows.
static inline sums spread(__m256 x, int vector) {
	return _mm256_permutevar8x32_ps(x, _mm256_add_epi32(_mm256_set1_epi32(4 * vector), _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2)));
}

enum { VECTORS = ROWS / SIDE, HALVES = 2 };

// A format in blocks of 32 weights: weight i is scale × (quant − shift), or scale × quant + least. Offsets are in bytes from a block's begin;
// the scale is first.
typedef struct {
	size_t size;
	int shift; // of what is unpacked; 0 where blocks have a least value, which follows the scale
	size_t fifth; // where the fifth bits are; 0: there are none
	size_t quants;
	bool nibbles; // quants of four bits, else of eight
} format;

static const format Q4_1 = {.size = 20, .quants = 4, .nibbles = true};
static const format Q5_0 = {.size = 22, .shift = 16, .fifth = 2, .quants = 6, .nibbles = true};
static const format Q5_1 = {.size = 24, .fifth = 4, .quants = 8, .nibbles = true};
static const format Q8_0 = {.size = 34, .shift = 128, .quants = 2};

#define UNROLLED _Pragma("GCC unroll 8") for

// The halves of a block of weights as bytes without a sign: quants, those of Q8_0 with 128 added.
static inline void unpack(format f, const uint8_t *const *rows, size_t at, bytes to[HALVES]) {
	if (!f.nibbles) {
		UNROLLED (int h = 0; h < HALVES; h++) {
			to[h] = _mm256_add_epi8(load(rows, at + f.quants + 16 * h), _mm256_set1_epi8((char) 128));
		}
		return;
	}
	bytes x = load(rows, at + f.quants);
	to[0] = _mm256_and_si256(x, _mm256_set1_epi8(15));
	to[1] = _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(15));
	if (f.fifth > 0) {
		bytes b = load_bits(rows, at + f.fifth);
		to[0] = _mm256_or_si256(to[0], fifth(b, 0));
		to[1] = _mm256_or_si256(to[1], fifth(b, 1));
	}
}

// −shift times the activations, added in fours: what products begin with.
static inline bytes less(bytes activations, int shift) {
	bytes zero = _mm256_set1_epi8(0);
#ifdef VNNI
	if (shift != 0) {
		return _mm256_sub_epi32(zero, VNNI(dpbusd)(zero, _mm256_set1_epi8((char) shift), activations));
	}
#endif
	(void) activations, (void) shift;
	return zero;
}

// The products of weights by activations in fours, less `shift` times the activations.
static inline bytes products(bytes weights, bytes activations, int shift, bytes begin) {
#ifdef VNNI
	(void) shift;
	return VNNI(dpbusd)(begin, weights, activations);
#else
	(void) begin;
	if (shift == 128) { // 255 × 127 × 2 is too much for 16 bits
		bytes x = _mm256_add_epi8(weights, _mm256_set1_epi8((char) 128));
		return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(activations, x)), _mm256_set1_epi16(1));
	}
	bytes x = _mm256_maddubs_epi16(weights, activations);
	if (shift != 0) {
		x = _mm256_sub_epi16(x, _mm256_maddubs_epi16(_mm256_set1_epi8((char) shift), activations));
	}
	return _mm256_madd_epi16(x, _mm256_set1_epi16(1));
#endif
}

// sum + a × b in pairs of 16 bits.
static inline bytes add_products(bytes sum, bytes a, bytes b) {
#ifdef VNNI
	return VNNI(dpwssd)(sum, a, b);
#else
	return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
#endif
}

// What ggml asks for: to[j][i] = weights row i × activations row j, of so many blocks. Strides are in bytes.
typedef struct {
	const uint8_t *weights, *activations;
	size_t weight, activation, out;
	float *to;
	int64_t blocks;
} job;

// A tile of rows from `row` and so many columns from `column`; of rows that are not there, the last is taken again.
typedef struct {
	const uint8_t *rows[ROWS], *columns[COLUMNS];
	int64_t row, column, count;
} tile;

static inline tile tile_of(const job *j, int64_t most, int64_t row, int64_t rows, int64_t column, int64_t columns) {
	tile t = {.row = row, .column = column, .count = rows < most ? rows : most};
	for (int64_t r = 0; r < most; r++) {
		t.rows[r] = j->weights + (row + (r < t.count ? r : t.count - 1)) * j->weight;
	}
	for (int64_t c = 0; c < columns; c++) {
		t.columns[c] = j->activations + (column + c) * j->activation;
	}
	return t;
}

// Writes a column of a tile: the sums of each row added in ggml's order, and what is added to all, if anything.
static inline void put(const job *j, const tile *t, int column, sums sum[VECTORS][HALVES], int rows, const float *also) {
	float out[ROWS];
	UNROLLED (int v = 0; v < rows / SIDE; v++) {
		float x[4 * SIDE];
		sums s = _mm256_add_ps(sum[v][1], sum[v][0]);
		s = _mm256_add_ps(s, _mm256_permute_ps(s, 0xee)); // the third and fourth of a row
		_mm256_storeu_ps(x, _mm256_add_ps(s, _mm256_movehdup_ps(s)));
		UNROLLED (int r = 0; r < SIDE; r++) {
			out[v * SIDE + r] = also == NULL ? x[4 * r] : x[4 * r] + also[v * SIDE + r];
		}
	}
	memcpy((char *) j->to + (t->column + column) * j->out + t->row * sizeof(float), out, t->count * sizeof(float));
}

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS void clear(sums sum[COLUMNS][VECTORS][HALVES], int rows, int columns) {
	UNROLLED (int c = 0; c < columns; c++) {
		UNROLLED (int v = 0; v < rows / SIDE; v++) {
			sum[c][v][0] = sum[c][v][1] = _mm256_setzero_ps();
		}
	}
}

// Fetches what will be read while a later block is: weights lie one row behind the other, but a tile reads its rows side by side, which
// looks to the processor like many short streams.
ALWAYS void fetch(const tile *t, int64_t block, size_t bytes) {
	const uint8_t *from = t->rows[0] + AHEAD + block * bytes;
	UNROLLED (size_t i = 0; i < bytes; i += 64) {
		__builtin_prefetch(from + i);
	}
}

// A tile of a format in blocks of 32. ggml_vec_dot_q8_0_q8_0 and its like.
ALWAYS void blocks_of_32(const job *j, const tile *t, format f, int rows, int columns) {
	sums sum[COLUMNS][VECTORS][HALVES];
	__m256 least[COLUMNS][ROWS / 4]; // of row r at 2 × r + 1; at 2 × r is nothing that means something
	clear(sum, rows, columns);
	UNROLLED (int c = 0; c < columns; c++) {
		UNROLLED (int q = 0; q < rows / 4; q++) {
			least[c][q] = _mm256_setzero_ps();
		}
	}
	size_t beside = f.shift == 0 ? 36 : 34, quants = beside - 32; // of activations in Q8_1, which have their sum, or Q8_0
	size_t at = 0, other = 0;
	for (int64_t b = 0; b < j->blocks; b++, at += f.size, other += beside) {
		fetch(t, b, f.size * rows);
		int32_t halves[ROWS];
		UNROLLED (int r = 0; r < rows; r++) {
			memcpy(&halves[r], t->rows[r] + at, sizeof halves[r]);
		}
		__m256 scales[ROWS / 4]; // and least values, or nothing
		UNROLLED (int q = 0; q < rows / 4; q++) {
			scales[q] = _mm256_cvtph_ps(_mm_setr_epi32(halves[4 * q], halves[4 * q + 1], halves[4 * q + 2], halves[4 * q + 3]));
		}
		bytes weights[VECTORS][HALVES];
		UNROLLED (int v = 0; v < rows / SIDE; v++) {
			unpack(f, t->rows + v * SIDE, at, weights[v]);
		}
		UNROLLED (int c = 0; c < columns; c++) {
			const uint8_t *column = t->columns[c] + other;
			int32_t of_column;
			memcpy(&of_column, column, sizeof of_column);
			__m256 scale = _mm256_cvtph_ps(_mm_set1_epi32(of_column)), scaled[ROWS / 4]; // and sums, or nothing
			UNROLLED (int q = 0; q < rows / 4; q++) {
				scaled[q] = _mm256_mul_ps(scales[q], scale);
				if (f.shift == 0) {
					least[c][q] = _mm256_fmadd_ps(scales[q], scale, least[c][q]);
				}
			}
			bytes activations[HALVES], begin[HALVES];
			UNROLLED (int h = 0; h < HALVES; h++) {
				activations[h] = each(column + quants + 16 * h);
				begin[h] = less(activations[h], f.shift);
			}
			UNROLLED (int v = 0; v < rows / SIDE; v++) {
				sums by = spread(scaled[v / 2], v % 2);
				UNROLLED (int h = 0; h < HALVES; h++) {
					sum[c][v][h] = _mm256_fmadd_ps(by, _mm256_cvtepi32_ps(products(weights[v][h], activations[h], f.shift, begin[h])), sum[c][v][h]);
				}
			}
		}
	}
	UNROLLED (int c = 0; c < columns; c++) {
		float values[2 * ROWS], leasts[ROWS];
		UNROLLED (int q = 0; q < rows / 4; q++) {
			_mm256_storeu_ps(values + 8 * q, least[c][q]);
		}
		UNROLLED (int r = 0; r < rows; r++) {
			leasts[r] = values[2 * r + 1];
		}
		put(j, t, c, sum[c], rows, f.shift == 0 ? leasts : NULL);
	}
}

// A tile of Q6_K: blocks of 256 weights, scale × scale of sixteen × (quant − 32). ggml_vec_dot_q6_K_q8_K.
ALWAYS void blocks_of_256(const job *j, const tile *t, int rows, int columns) {
	enum { LOW = 0, HIGH = 128, SCALES = 192, SCALE = 208, SIZE = 210, ACTIVATIONS = 4, BESIDE = 292 };
	sums sum[COLUMNS][VECTORS][HALVES];
	clear(sum, rows, columns);
	size_t at = 0, other = 0;
	for (int64_t b = 0; b < j->blocks; b++, at += SIZE, other += BESIDE) {
		fetch(t, b, SIZE * rows);
		bytes whole[COLUMNS][VECTORS][HALVES], scales[VECTORS][2]; // of 16 bits, eight each
		UNROLLED (int v = 0; v < rows / SIDE; v++) {
			bytes x = load(t->rows + v * SIDE, at + SCALES);
			scales[v][0] = _mm256_srai_epi16(_mm256_unpacklo_epi8(x, x), 8);
			scales[v][1] = _mm256_srai_epi16(_mm256_unpackhi_epi8(x, x), 8);
			UNROLLED (int c = 0; c < columns; c++) {
				whole[c][v][0] = whole[c][v][1] = _mm256_set1_epi8(0);
			}
		}
		UNROLLED (int part = 0; part < 8; part++) { // of 32 weights
			size_t low = at + LOW + part / 4 * 64 + part % 2 * 32, high = at + HIGH + part / 4 * 32;
			bytes scale[VECTORS][HALVES], weights[VECTORS][HALVES];
			UNROLLED (int h = 0; h < HALVES; h++) {
				UNROLLED (int v = 0; v < rows / SIDE; v++) {
					const uint8_t *const *from = t->rows + v * SIDE;
					bytes four = _mm256_and_si256(_mm256_srli_epi16(load(from, low + 16 * h), part % 4 / 2 * 4), _mm256_set1_epi8(15));
					bytes two = _mm256_and_si256(_mm256_srli_epi16(load(from, high + 16 * h), part % 4 * 2), _mm256_set1_epi8(3));
					weights[v][h] = _mm256_or_si256(four, _mm256_slli_epi16(two, 4));
					scale[v][h] = _mm256_shuffle_epi8(scales[v][part / 4], _mm256_set1_epi16((int16_t) (0x0202 * (2 * (part % 4) + h) + 0x0100)));
				}
				UNROLLED (int c = 0; c < columns; c++) {
					bytes activations = each(t->columns[c] + other + ACTIVATIONS + part * 32 + 16 * h);
					bytes shifted = _mm256_maddubs_epi16(_mm256_set1_epi8(32), activations);
					UNROLLED (int v = 0; v < rows / SIDE; v++) {
						whole[c][v][h] = add_products(whole[c][v][h], scale[v][h], _mm256_sub_epi16(_mm256_maddubs_epi16(weights[v][h], activations), shifted));
					}
				}
			}
		}
		uint16_t halves[2 * ROWS] = {0};
		UNROLLED (int r = 0; r < rows; r++) {
			memcpy(&halves[2 * r], t->rows[r] + at + SCALE, sizeof halves[0]);
		}
		__m256 of_rows[ROWS / 4];
		UNROLLED (int q = 0; q < rows / 4; q++) {
			of_rows[q] = _mm256_cvtph_ps(_mm_loadu_si128((const void *) (halves + 8 * q)));
		}
		UNROLLED (int c = 0; c < columns; c++) {
			float of_column;
			memcpy(&of_column, t->columns[c] + other, sizeof of_column);
			__m256 scaled[ROWS / 4];
			UNROLLED (int q = 0; q < rows / 4; q++) {
				scaled[q] = _mm256_mul_ps(_mm256_set1_ps(of_column), of_rows[q]);
			}
			UNROLLED (int v = 0; v < rows / SIDE; v++) {
				sums by = spread(scaled[v / 2], v % 2);
				UNROLLED (int h = 0; h < HALVES; h++) {
					sum[c][v][h] = _mm256_fmadd_ps(by, _mm256_cvtepi32_ps(whole[c][v][h]), sum[c][v][h]);
				}
			}
		}
	}
	UNROLLED (int c = 0; c < columns; c++) {
		put(j, t, c, sum[c], rows, NULL);
	}
}

// A kernel for tiles of so many rows by so many columns, or fewer of these, and for how many columns in all it is faster than ggml's: for
// some formats ggml has tiles of its own, which for many columns, as those of a prompt, are as fast.
typedef struct {
	void (*multiply)(const job *, const tile *, int64_t columns);
	int64_t rows, columns, most;
} kernel;

#define KERNEL(name, most_columns, multiply_tile, ...) \
	static void multiply_##name(const job *j, const tile *t, int64_t columns) { \
		switch (columns) { \
		case 1: \
			multiply_tile(j, t, ##__VA_ARGS__, 1); \
			return; \
		case 2: \
			multiply_tile(j, t, ##__VA_ARGS__, 2); \
			return; \
		case 3: \
			multiply_tile(j, t, ##__VA_ARGS__, 3); \
			return; \
		default: \
			multiply_tile(j, t, ##__VA_ARGS__, most_columns); \
		} \
	}
KERNEL(q4_1, 3, blocks_of_32, Q4_1, 8)
KERNEL(q5_0, 3, blocks_of_32, Q5_0, 8)
KERNEL(q5_1, 3, blocks_of_32, Q5_1, 8)
KERNEL(q8_0, 3, blocks_of_32, Q8_0, 8)
KERNEL(q6_k, 4, blocks_of_256, 4)

static const kernel q4_1 = {multiply_q4_1, 8, 3, INT64_MAX}, q5_1 = {multiply_q5_1, 8, 3, INT64_MAX}, q6_k = {multiply_q6_k, 4, 4, INT64_MAX};
static const kernel q5_0 = {multiply_q5_0, 8, 3, 32}, q8_0 = {multiply_q8_0, 8, 3, 32};

// The kernel for a product in these formats, or NULL: then ggml's.
static const kernel *kernel_of(int weights, int activations, int64_t columns) {
	static const struct {
		int weights, activations;
		const kernel *by;
	} all[] = {
		{GGML_TYPE_Q4_1, GGML_TYPE_Q8_1, &q4_1}, {GGML_TYPE_Q5_0, GGML_TYPE_Q8_0, &q5_0}, {GGML_TYPE_Q5_1, GGML_TYPE_Q8_1, &q5_1},
		{GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, &q8_0}, {GGML_TYPE_Q6_K, GGML_TYPE_Q8_K, &q6_k},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (all[i].weights == weights && all[i].activations == activations) {
			return columns <= all[i].by->most ? all[i].by : NULL;
		}
	}
	return NULL;
}

// Multiplies rows from `row` to `end`, by bands that stay in a cache while all columns pass.
static void compute(const job *j, const kernel *by, int64_t row, int64_t end, int64_t columns) {
	for (; row < end; row += BAND) {
		int64_t to = row + BAND < end ? row + BAND : end;
		for (int64_t c = 0; c < columns; c += by->columns) {
			int64_t count = columns - c < by->columns ? columns - c : by->columns;
			for (int64_t r = row; r < to; r += by->rows) {
				tile t = tile_of(j, by->rows, r, to - r, c, count);
				by->multiply(j, &t, count);
			}
		}
	}
}

bool __real_llamafile_sgemm(const struct ggml_compute_params *, int64_t, int64_t, int64_t, const void *, int64_t, const void *, int64_t, void *, int64_t, int, int, int);

// Strides and `blocks` count blocks, and floats of what comes out.
bool __wrap_llamafile_sgemm(const struct ggml_compute_params *params, int64_t rows, int64_t columns, int64_t blocks, const void *weights, int64_t weight, const void *activations, int64_t activation, void *to, int64_t out, int type, int other, int result) {
	const kernel *by = result == GGML_TYPE_F32 && atomic_load(&tiles) ? kernel_of(type, other, columns) : NULL;
	if (by == NULL) {
		return __real_llamafile_sgemm(params, rows, columns, blocks, weights, weight, activations, activation, to, out, type, other, result);
	}
	job j = {weights, activations, (size_t) weight * ggml_type_size(type), (size_t) activation * ggml_type_size(other), (size_t) out * sizeof(float), to, blocks};
	int64_t threads = params->nth, share = rows;
	if (threads > 1) { // a few for each, of whole tiles
		share = (rows / (4 * threads) + ROWS - 1) / ROWS * ROWS;
		share = share < ROWS ? ROWS : share > 32 * BAND ? 32 * BAND : share;
	}
	// ggml has set the counter of shares for the first matrix of a batch only, which is where the work space begins.
	bool counted = threads > 1 && activations == params->wdata;
	for (int64_t i = params->ith; i * share < rows; i = counted ? ggml_threadpool_chunk_add(params->threadpool, 1) : i + threads) {
		compute(&j, by, i * share, (i + 1) * share < rows ? (i + 1) * share : rows, columns);
	}
	return true;
}
#else
bool realign_products_has_tiles(void) {
	return false;
}

#ifdef __linux__
bool __real_llamafile_sgemm(const struct ggml_compute_params *, int64_t, int64_t, int64_t, const void *, int64_t, const void *, int64_t, void *, int64_t, int, int, int);

bool __wrap_llamafile_sgemm(const struct ggml_compute_params *params, int64_t rows, int64_t columns, int64_t blocks, const void *weights, int64_t weight, const void *activations, int64_t activation, void *to, int64_t out, int type, int other, int result) {
	return __real_llamafile_sgemm(params, rows, columns, blocks, weights, weight, activations, activation, to, out, type, other, result);
}
#endif
#endif

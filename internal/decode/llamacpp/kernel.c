#include "kernel.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 4 };
typedef double doubles __attribute__((vector_size(WIDTH * sizeof(double))));
typedef float floats __attribute__((vector_size(WIDTH * sizeof(float))));
typedef int64_t masks __attribute__((vector_size(WIDTH * sizeof(int64_t))));
typedef uint64_t words __attribute__((vector_size(WIDTH * sizeof(uint64_t))));

static inline doubles all(double x) {
	return (doubles){x, x, x, x};
}

// The WIDTH entries from z on, of which n are there; those that are missing are `rest`. With n the constant WIDTH this
// is one instruction.
static inline doubles load(const double *z, int64_t n, double rest) {
	doubles x = all(rest);
	memcpy(&x, z, n * sizeof(double));
	return x;
}

static inline doubles widen(const float *row, int64_t n, float rest) {
	floats x = {rest, rest, rest, rest};
	memcpy(&x, row, n * sizeof(float));
#if defined(__AVX__) || defined(__clang__)
	return __builtin_convertvector(x, doubles);
#else // GCC 12 fails at the conversion to a vector of twice a register's width
	return (doubles){x[0], x[1], x[2], x[3]};
#endif
}

// Runs a statement for every vector: `from` is its first entry, `count` how many of its entries there are.
#define EACH(n, statement)                                \
	do {                                                  \
		int64_t from = 0;                                 \
		for (; from + WIDTH <= (n); from += WIDTH) {      \
			enum { count = WIDTH };                       \
			statement;                                    \
		}                                                 \
		if (from < (n)) {                                 \
			int64_t count = (n) - from;                   \
			statement;                                    \
		}                                                 \
	} while (0)

static inline doubles pick(masks where, doubles x, doubles otherwise) {
	return (doubles) ((where & (masks) x) | (~where & (masks) otherwise));
}

static inline bool some(masks where) {
	return (where[0] | where[1] | where[2] | where[3]) != 0;
}

static inline double total(doubles x) {
	return (x[0] + x[1]) + (x[2] + x[3]);
}

// e^x for x ≤ 0, to a relative 1e-14; 0 below e^−700 and for NaN. x = n·ln 2 + r, and a Taylor series for
// |r| ≤ ln(2)/2 whose first omitted term is below 7e-15.
static inline doubles exponential(doubles x) {
	const double round = 0x1.8p52; // adding it rounds to an integer, held in the lowest bits
	doubles shifted = x * 0x1.71547652b82fep0 + round;
	doubles n = shifted - round;
	doubles r = x - n * 0x1.62e42fefap-1 - n * 0x1.cf79abc9e3b39p-40;
	doubles e = all(1.0 / 39916800);
	e = e * r + 1.0 / 3628800;
	e = e * r + 1.0 / 362880;
	e = e * r + 1.0 / 40320;
	e = e * r + 1.0 / 5040;
	e = e * r + 1.0 / 720;
	e = e * r + 1.0 / 120;
	e = e * r + 1.0 / 24;
	e = e * r + 1.0 / 6;
	e = e * r + 0.5;
	e = e * r + 1.0;
	e = e * r + 1.0;
	e = (doubles) ((masks) e + ((masks) shifted << 52));
	return (doubles) ((masks) e & (masks) (x > -700));
}

// Without fused products, which would round otherwise than Go's.
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#else
__attribute__((optimize("fp-contract=off")))
#endif
void realign_mix(double *z, const float *row, int64_t n, double w, bool add) {
	if (w < 0) { // −Inf stays −Inf, and +Inf, which no model may say, becomes NaN
		for (int64_t v = 0; v < n; v++) {
			double p = w * (double) row[v];
			p = p == INFINITY ? -INFINITY : p == -INFINITY ? NAN : p;
			z[v] = add ? z[v] + p : p;
		}
	} else if (add) {
		for (int64_t v = 0; v < n; v++) {
			z[v] += w * (double) row[v];
		}
	} else {
		for (int64_t v = 0; v < n; v++) {
			z[v] = w * (double) row[v];
		}
	}
}

// The largest entry so far, and NaN where an entry was NaN or +Inf.
typedef struct {
	doubles top, bad;
} extreme;

static inline extreme beyond(extreme e, doubles x) {
	e.bad += pick(x > -INFINITY, x, all(0)) * 0; // NaN once an entry is +Inf; the comparison drops NaN, so:
	e.bad = pick(x == x, e.bad, x);
	e.top = pick(x > e.top, x, e.top);
	return e;
}

static inline double extremity(extreme e) {
	double top = e.top[0];
	for (int i = 0; i < WIDTH; i++) {
		if (e.bad[i] != e.bad[i]) {
			return NAN;
		}
		top = e.top[i] > top ? e.top[i] : top;
	}
	return top;
}

double realign_maximum(const double *z, int64_t n, int64_t *at) {
	extreme e = {all(-INFINITY), all(0)};
	EACH(n, e = beyond(e, load(z + from, count, -INFINITY)));
	double top = extremity(e);
	int64_t from = 0;
	for (; from + WIDTH <= n; from += WIDTH) {
		if (some(load(z + from, WIDTH, 0) == top)) {
			break;
		}
	}
	while (from < n - 1 && z[from] != top) {
		++from;
	}
	*at = from < n ? from : 0;
	return top;
}

double realign_sum(const float *row, int64_t n, double *sum) {
	extreme e = {all(-INFINITY), all(0)};
	EACH(n, e = beyond(e, widen(row + from, count, -INFINITY)));
	double top = extremity(e);
	doubles s = all(0);
	EACH(n, s += exponential(widen(row + from, count, -INFINITY) - top));
	*sum = total(s);
	return top;
}

double realign_expect(const double *z, int64_t n, double top, const float *a, const float *r, double *mean) {
	doubles sum = all(0), difference = all(0);
	if (a == NULL) {
		EACH(n, sum += exponential(load(z + from, count, -INFINITY) - top));
	} else {
		EACH(n, {
			doubles p = exponential(load(z + from, count, -INFINITY) - top);
			doubles d = p * (widen(a + from, count, 0) - widen(r + from, count, 0));
			sum += p;
			difference += pick(p > 0, d, all(0));
		});
	}
	*mean = total(difference);
	return total(sum);
}

// SplitMix64's output function.
static inline words split_mix(words x) {
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

// A token's noise is G = −log(−log(1 − w)) ≤ −log w, with w from its random bits, so its score reaches another only if
// w ≤ e^(level − score). w is compared by its first 52 bits, which are below it.
int64_t realign_contend(int32_t *to, const double *z, int64_t n, double cutoff, double top, double inverse, double score,
	uint64_t key) {
	const uint64_t golden = 0x9e3779b97f4a7c15;
	words counter = {key + golden, key + 2 * golden, key + 3 * golden, key + 4 * golden};
	int64_t kept = 0;
	EACH(n, {
		doubles x = load(z + from, count, -INFINITY);
		doubles lead = (x - top) * inverse - score;
		doubles reach = exponential(pick(lead > 0, all(0), lead)) * (1 + 1e-9);
		doubles w = (doubles) ((split_mix(counter) >> 12) | 0x3ff0000000000000) - 1;
		masks keep = (w <= reach) & (x >= cutoff);
		counter += WIDTH * golden;
		if (some(keep)) {
			for (int64_t i = 0; i < count; i++) {
				if (keep[i]) {
					to[kept++] = (int32_t) (from + i);
				}
			}
		}
	});
	return kept;
}

// realign_top of z or, where there is one, of a row. Most of a vocabulary is below the least of the best so far, and is passed by
// a stretch of vectors at a time.
static inline __attribute__((always_inline)) void top_of(const double *z, const float *row, int64_t n, int32_t *best, int64_t k) {
	enum { STRETCH = 4 * WIDTH };
	double least = -INFINITY;
	int64_t kept = 0;
	for (int64_t from = 0; from < n; from += STRETCH) {
		int64_t end = from + STRETCH < n ? from + STRETCH : n;
		if (kept == k && end - from == STRETCH) {
			masks above = {0};
			for (int64_t v = from; v < end; v += WIDTH) {
				above |= (row != NULL ? widen(row + v, WIDTH, 0) : load(z + v, WIDTH, 0)) > least;
			}
			if (!some(above)) {
				continue;
			}
		}
		for (int64_t v = from; v < end; v++) {
			double x = row != NULL ? row[v] : z[v];
			if (kept == k && x <= least) {
				continue;
			}
			int64_t i = kept < k ? kept++ : k - 1;
			for (; i > 0 && (row != NULL ? row[best[i - 1]] : z[best[i - 1]]) < x; i--) {
				best[i] = best[i - 1];
			}
			best[i] = (int32_t) v;
			least = row != NULL ? row[best[kept - 1]] : z[best[kept - 1]];
		}
	}
}

void realign_top(const double *z, int64_t n, int32_t *best, int64_t k) {
	if (k > 0) {
		top_of(z, NULL, n, best, k);
	}
}

void realign_top_of_row(const float *row, int64_t n, int32_t *best, int64_t k) {
	if (k > 0) {
		top_of(NULL, row, n, best, k);
	}
}

// Arithmetic over a vocabulary in vector instructions: see decode.Kernel, whose plain twin is decode.Plain.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Writes w·row to z, or adds it.
void realign_mix(double *z, const float *row, int64_t n, double w, bool add);

// The largest entry and its first position; NaN if an entry is NaN or +Inf.
double realign_maximum(const double *z, int64_t n, int64_t *at);

// The largest entry, NaN if an entry is NaN or +Inf, and the sum of e^(row − largest).
double realign_sum(const float *row, int64_t n, double *sum);

// The sum of e^(z − top) and, if there is an a, that of e^(z − top)·(a − r). An entry whose exponential is 0
// counts nothing.
double realign_expect(const double *z, int64_t n, double top, const float *a, const float *r, double *mean);

// Writes to `to`, in order, the entries v with z[v] ≥ cutoff whose (z[v] − top)·inverse + G(v) may reach score, and
// returns how many. `to` has room for n. G is the noise of internal/decode/noise.go with this key.
int64_t realign_contend(int32_t *to, const double *z, int64_t n, double cutoff, double top, double inverse, double score,
	uint64_t key);

// Writes to `best` the k first entries of z by size, the largest first, those alike in their order. k ≤ n, and no entry is NaN.
void realign_top(const double *z, int64_t n, int32_t *best, int64_t k);
void realign_top_of_row(const float *row, int64_t n, int32_t *best, int64_t k);

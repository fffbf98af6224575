// Adapters whose strength differs from row to row of a batch. A context applies a LoRA adapter to all rows of a pass alike:
// it adds scale·B·A·x to the product of a matrix and x. Here the scale is replaced by one factor a column, so that the
// reference (strength 0), an aligned model (1) and everything between can be rows of one pass over the same weights.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bridge.h"

#ifdef __cplusplus
extern "C" {
#endif

// REALIGN_UNSCALED is what realign_forward_strengths returns where some product of an adapter could not be given its strengths:
// the rows have entered the cache, and what their logits are is not known.
#define REALIGN_UNSCALED (-1000)

// Makes room for the strengths of a pass of at most so many rows. It belongs to one context, and is freed after it.
realign_strengths *realign_strengths_new(uint32_t rows);
void realign_strengths_free(realign_strengths *s);

// Adds an adapter and returns its number, from 0. It is not used before realign_strengths_use. What adapters add to a product
// is summed in the order of their places, so that the sum does not depend on which were used before.
int32_t realign_strengths_add(realign_strengths *s, struct llama_adapter_lora *adapter, int32_t place);

// The strengths of an adapter in the rows of the next pass. Valid until an adapter is added.
float *realign_strengths_of(realign_strengths *s, int32_t adapter);

// Says which adapters the next passes compute; in the others all strengths count as 0.
void realign_strengths_use(realign_strengths *s, realign_context *c, const bool *use);

// Nodes of the last pass's graph.
int32_t realign_strengths_nodes(const realign_strengths *s);

// Whether llama.cpp has room for some adapters in a graph that has so many nodes without them. It ends the process where it has
// not.
bool realign_strengths_fit(const realign_strengths *s, const realign_context *c, int32_t nodes, const bool *use);

// Runs the first n rows of the batch with their strengths. Returns what realign_forward does, or REALIGN_UNSCALED.
int32_t realign_forward_strengths(realign_context *c, realign_strengths *s, int32_t n);

// The evaluation callback of the context.
bool realign_strengths_visit(struct ggml_tensor *node, bool ask, void *strengths);

#ifdef __cplusplus
}
#endif

// Making a model's weights smaller.
#pragma once

#include "bridge.h"

// The name of a type of weights, counted from 0, as people write it; NULL behind the last.
const char *realign_type_name(int32_t i);

// Writes a model with its weights in the type. Returns 0, or another number when it failed.
int32_t realign_quantize(const char *in, const char *out, int32_t type, int32_t threads);

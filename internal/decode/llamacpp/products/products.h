// Products of quantized weights on the CPU in tiles, in the place of ggml's: see products.c.
#pragma once

#include <stdbool.h>

// Whether products are in our tiles, as they are from the start, or by ggml, one row of weights after another: the plain twin. For all
// contexts; not to be changed while a pass is made.
void realign_products_in_tiles(bool on);

// Whether this build has our tiles: on Linux, for processors with AVX2, FMA and F16C.
bool realign_products_has_tiles(void);

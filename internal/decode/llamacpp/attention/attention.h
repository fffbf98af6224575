// Attention on the CPU in blocks of keys, in the place of ggml's: see attention.c.
#pragma once

#include <stdbool.h>

// Whether attention is by our blocks, as it is from the start, or by ggml, one key after another: the plain twin. For all contexts;
// not to be changed while a pass is made.
void realign_attention_in_blocks(bool on);

// Whether this build has our blocks: on Linux, for processors that convert half precision in vectors.
bool realign_attention_has_blocks(void);

#include "quantize.h"

static const struct {
	const char *name;
	enum llama_ftype type;
} types[] = {
	{"f32", LLAMA_FTYPE_ALL_F32}, {"f16", LLAMA_FTYPE_MOSTLY_F16}, {"bf16", LLAMA_FTYPE_MOSTLY_BF16},
	{"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0}, {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},
	{"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M}, {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S}, {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1}, {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
	{"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M}, {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S}, {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1}, {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
	{"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L}, {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M}, {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S},
	{"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K}, {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL}, {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS},
};

const char *realign_type_name(int32_t i) {
	return i >= 0 && (size_t) i < sizeof types / sizeof *types ? types[i].name : NULL;
}

int32_t realign_quantize(const char *in, const char *out, int32_t i, int32_t threads) {
	struct llama_model_quantize_params params = llama_model_quantize_default_params();
	params.ftype = types[i].type;
	params.nthread = threads;
	realign_enter();
	uint32_t failed = llama_model_quantize(in, out, &params);
	realign_leave();
	return (int32_t) failed;
}

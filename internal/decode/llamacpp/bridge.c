#include "bridge.h"
#include "strengths.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif
#ifndef _WIN32
#include <dlfcn.h>
#endif

#include "ggml-backend.h"

#include "_cgo_export.h"

static void to_go(enum ggml_log_level level, const char *text, void *unused) {
	(void) unused;
	realignLog((int) level, (char *) text);
}

void realign_set_log(void) {
	llama_log_set(to_go, NULL);
}

const char *realign_open_library(const char *path) {
#ifdef _WIN32
	return "shared libraries are not opened on this system";
#else
	realign_enter();
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	realign_leave();
	if (library == NULL) {
		return dlerror();
	}
	void (*set_log)(ggml_log_callback, void *) = (void (*)(ggml_log_callback, void *)) dlsym(library, "ggml_log_set");
	if (set_log != NULL) {
		set_log(to_go, NULL); // backends in libraries have a ggml of their own
	}
	return NULL;
#endif
}

static bool is_gpu(ggml_backend_dev_t device) {
	enum ggml_backend_dev_type type = ggml_backend_dev_type(device);
	return type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU;
}

int32_t realign_devices(realign_device *out, int32_t capacity) {
	int32_t n = 0;
	realign_enter();
	for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
		ggml_backend_dev_t device = ggml_backend_dev_get(i);
		if (!is_gpu(device)) {
			continue;
		}
		if (n < capacity) {
			struct ggml_backend_dev_props props = {0};
			ggml_backend_dev_get_props(device, &props);
			out[n] = (realign_device) {
				.name = props.name,
				.description = props.description,
				.backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device)),
				.id = props.device_id,
				.integrated = props.type == GGML_BACKEND_DEVICE_TYPE_IGPU,
				.total = props.memory_total,
				.free = props.memory_free,
			};
		}
		n++;
	}
	realign_leave();
	return n;
}

static bool report_progress(float fraction, void *handle) {
	realignProgress(fraction, (uintptr_t) handle);
	return true;
}

struct llama_model *realign_load(const char *path, const char **devices, int32_t n, int32_t layers, const float *weights, uintptr_t progress) {
	struct llama_model_params params = llama_model_default_params();
	ggml_backend_dev_t *list = calloc((size_t) n + 1, sizeof *list); // ends with NULL
	float *split = calloc(llama_max_devices(), sizeof *split);
	struct llama_model *model = NULL;
	if (list == NULL || split == NULL) {
		goto end;
	}
	for (int32_t i = 0; i < n; i++) {
		list[i] = ggml_backend_dev_by_name(devices[i]);
		if (list[i] == NULL || (size_t) i >= llama_max_devices()) {
			goto end;
		}
		split[i] = weights[i];
	}
	params.devices = list;
	params.n_gpu_layers = n > 0 ? layers : 0;
	params.tensor_split = split;
	if (progress != 0) {
		params.progress_callback = report_progress;
		params.progress_callback_user_data = (void *) progress;
	}
	realign_enter();
	model = llama_model_load_from_file(path, params);
	realign_leave();
end:
	free(list);
	free(split);
	return model;
}

struct llama_adapter_lora *realign_load_adapter(struct llama_model *model, const char *path) {
	realign_enter();
	struct llama_adapter_lora *adapter = llama_adapter_lora_init(model, path);
	realign_leave();
	return adapter;
}

void realign_dissolve(void) {
#ifdef _OPENMP
	omp_pause_resource_all(omp_pause_soft);
#endif
}

#ifdef __GLIBC__
// All threads allocate from one heap: Go calls from now one thread, now another, and each would keep memory of its own.
__attribute__((constructor)) static void one_heap(void) {
	mallopt(M_ARENA_MAX, 1);
}
#endif

void realign_give_back(void) {
#ifdef __GLIBC__
	malloc_trim(0); // the pieces lie scattered, and glibc would keep them all
#endif
}

realign_context *realign_open(struct llama_model *model, realign_options options) {
	struct llama_context_params params = llama_context_default_params();
	params.n_ctx = options.cells;
	uint32_t n = options.batch > options.source ? options.batch : options.source; // an encoder reads its source in one pass
	params.n_batch = n;
	params.n_ubatch = n; // one pass a batch: all of its rows enter the cache or none
	params.n_seq_max = options.sequences;
	params.n_threads = options.threads;
	params.n_threads_batch = options.threads;
	params.flash_attn_type = options.flash ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
	params.type_k = options.float32_cache ? GGML_TYPE_F32 : GGML_TYPE_F16;
	params.type_v = params.type_k;
	params.kv_unified = true; // the only kind of cache in which sequences share cells
	params.embeddings = false;
	params.no_perf = true;
	if (options.strengths != NULL) {
		params.cb_eval = realign_strengths_visit;
		params.cb_eval_user_data = options.strengths;
		params.op_offload = false; // where weights are copied to a device for one product, whose they are is lost
	}

	realign_context *c = calloc(1, sizeof *c);
	if (c == NULL) {
		return NULL;
	}
	realign_enter();
	c->context = llama_init_from_model(model, params);
	realign_leave();
	c->token = calloc(n, sizeof *c->token);
	c->position = calloc(n, sizeof *c->position);
	c->sequence = calloc(n, sizeof *c->sequence);
	c->want = calloc(n, sizeof *c->want);
	c->logits = calloc(n, sizeof *c->logits);
	c->ones = calloc(n, sizeof *c->ones);
	c->sequences = calloc(n, sizeof *c->sequences);
	if (!c->context || !c->token || !c->position || !c->sequence || !c->want || !c->logits || !c->ones || !c->sequences) {
		realign_close(c);
		return NULL;
	}
	if (options.source > 0) {
		c->all = calloc(options.sequences, sizeof *c->all);
		c->of_all = calloc(n, sizeof *c->of_all);
		c->how_many = calloc(n, sizeof *c->how_many);
		if (!c->all || !c->of_all || !c->how_many) {
			realign_close(c);
			return NULL;
		}
		for (uint32_t i = 0; i < options.sequences; i++) {
			c->all[i] = (llama_seq_id) i;
		}
		for (uint32_t i = 0; i < n; i++) {
			c->of_all[i] = c->all;
			c->how_many[i] = (int32_t) options.sequences;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		c->ones[i] = 1;
		c->sequences[i] = &c->sequence[i];
	}
	c->cells = llama_n_ctx(c->context);
	c->scale = options.scale;
	c->forgets = !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model);
	return c;
}

void realign_close(realign_context *c) {
	if (c->context != NULL) {
		realign_enter();
		llama_free(c->context);
		realign_leave();
	}
	free(c->token);
	free(c->position);
	free(c->sequence);
	free(c->want);
	free(c->logits);
	free(c->ones);
	free(c->sequences);
	free(c->all);
	free(c->of_all);
	free(c->how_many);
	free(c);
}

bool realign_adapt(realign_context *c, struct llama_adapter_lora *adapter, float scale) {
	return llama_set_adapter_lora(c->context, adapter, scale) == 0;
}

void realign_threads(realign_context *c, int32_t n) {
	llama_set_n_threads(c->context, n, n);
}

int32_t realign_forward(realign_context *c, int32_t n) {
	struct llama_batch batch = {
		.n_tokens = n,
		.token = c->token,
		.pos = c->position,
		.n_seq_id = c->ones,
		.seq_id = c->sequences,
		.logits = c->want,
	};
	realign_enter();
	int32_t result = llama_decode(c->context, batch);
	if (result == 0) {
		llama_synchronize(c->context);
	}
	realign_leave();
	if (result != 0) {
		return result;
	}
	for (int32_t i = 0; i < n; i++) {
		c->logits[i] = c->want[i] ? llama_get_logits_ith(c->context, i) : NULL;
	}
	if (c->scale != 1) {
		int32_t size = llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(c->context)));
		for (int32_t i = 0; i < n; i++) {
			for (int32_t v = 0; c->logits[i] != NULL && v < size; v++) {
				c->logits[i][v] *= c->scale;
			}
		}
	}
	return 0;
}

int32_t realign_encode(realign_context *c, int32_t n) {
	for (int32_t i = 0; i < n; i++) {
		c->position[i] = i;
		c->want[i] = 1;
	}
	struct llama_batch batch = {
		.n_tokens = n,
		.token = c->token,
		.pos = c->position,
		.n_seq_id = c->how_many,
		.seq_id = c->of_all,
		.logits = c->want,
	};
	realign_enter();
	int32_t result = llama_encode(c->context, batch);
	realign_leave();
	return result;
}

bool realign_trim(realign_context *c, llama_seq_id sequence, int32_t n) {
	realign_enter();
	bool trimmed = llama_memory_seq_rm(llama_get_memory(c->context), sequence, n == 0 ? -1 : n, -1);
	realign_leave();
	return trimmed;
}

bool realign_copy(realign_context *c, llama_seq_id dst, llama_seq_id src, int32_t n, int32_t length) {
	llama_memory_t memory = llama_get_memory(c->context);
	bool copies = n > 0 && (c->forgets || n >= length);
	realign_enter();
	llama_memory_seq_rm(memory, dst, -1, -1);
	if (copies) {
		llama_memory_seq_cp(memory, src, dst, 0, n == length ? -1 : n);
	}
	realign_leave();
	return copies || n == 0;
}

int64_t realign_pieces(const struct llama_vocab *vocab, char *buffer, int64_t size, int64_t *ends, bool *last) {
	int64_t used = 0;
	int32_t n = llama_vocab_n_tokens(vocab);
	realign_enter();
	for (llama_token t = 0; t < n; t++) {
		int64_t room = used < size ? size - used : 0;
		int32_t bytes = llama_token_to_piece(vocab, t, buffer + (size - room), (int32_t) (room < 1 << 20 ? room : 1 << 20), 0, false);
		used += bytes < 0 ? -bytes : bytes;
		ends[t] = used;
		last[t] = llama_vocab_is_eog(vocab, t);
	}
	realign_leave();
	return used;
}

const char *realign_spelling(const struct llama_vocab *vocab, llama_token token) {
	realign_enter();
	const char *text = llama_vocab_get_text(vocab, token);
	realign_leave();
	return text;
}

enum llama_token_attr realign_attributes(const struct llama_vocab *vocab, llama_token token) {
	realign_enter();
	enum llama_token_attr attributes = llama_vocab_get_attr(vocab, token);
	realign_leave();
	return attributes;
}

int32_t realign_known_chat(const char *source, const struct llama_chat_message *messages, size_t n, char *buffer, int32_t size) {
	realign_enter();
	int32_t written = llama_chat_apply_template(source, messages, n, true, buffer, size);
	realign_leave();
	return written;
}

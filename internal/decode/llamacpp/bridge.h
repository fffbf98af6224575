// What Realign needs of llama.cpp beyond the Go package that carries it: contexts with a unified cache,
// decoding without copies, LoRA adapters, pieces of the vocabulary, the list of known chat templates.
// One call from Go does one of these whole; nothing is called once per row.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "llama.h"

#ifdef __cplusplus
extern "C" {
#endif

// The strengths of adapters in the rows of a pass: see strengths.h.
typedef struct realign_strengths realign_strengths;

typedef struct {
	uint32_t cells;
	uint32_t batch;
	uint32_t sequences;
	int32_t threads;
	bool float32_cache;
	bool flash;
	uint32_t source; // tokens of the longest source of an encoder–decoder model; 0 for other models
	float scale;     // of logits: see weights.scale
	realign_strengths *strengths; // or NULL: an adapter has one strength for all rows
} realign_options;

// A GPU. The texts belong to its backend.
typedef struct {
	const char *name, *description, *backend;
	const char *id; // bus address, or NULL
	bool integrated;
	uint64_t total, free; // bytes
} realign_device;

// A tensor of a model's weights. The texts belong to the model and to the backend.
typedef struct {
	const char *name;
	const char *device; // NULL: in the main memory
	uint64_t bytes;
} realign_tensor;

// A context with room for one batch. Go fills the rows' arrays, then calls realign_forward.
typedef struct {
	struct llama_context *context;
	uint32_t cells; // as built: llama.cpp rounds the number up
	bool forgets;   // whether a suffix of a sequence can be dropped
	float scale;    // of logits

	llama_token *token;
	llama_pos *position;
	llama_seq_id *sequence;
	int8_t *want;
	float **logits; // after realign_forward, NULL where none were wanted

	int32_t *ones;            // the number of sequences of each row
	llama_seq_id **sequences; // pointers into sequence

	// Of an encoder–decoder model: every token of a source belongs to all sequences, so that each may attend to it.
	llama_seq_id *all;     // 0, 1, …
	llama_seq_id **of_all; // pointers to all
	int32_t *how_many;     // the number of sequences, for each token
} realign_context;

// REALIGN_ABORTED is the exit code of a process that llama.cpp ended.
#define REALIGN_ABORTED 8

// Makes what ends the process inside llama.cpp end it in one line, with the code REALIGN_ABORTED. Called once, after Go's
// runtime has taken its signals.
void realign_guard(void);

// What is called between these two, on this thread, is llama.cpp.
void realign_enter(void);
void realign_leave(void);

// Tokenises as llama_tokenize does. INT32_MIN is a text that the vocabulary cannot write.
int32_t realign_tokenize(const struct llama_vocab *vocab, const char *text, int32_t length, llama_token *tokens, int32_t most, bool special);

struct llama_adapter_lora *realign_load_adapter(struct llama_model *model, const char *path);

// A token as it is written in the vocabulary, and what kind of token it is.
const char *realign_spelling(const struct llama_vocab *vocab, llama_token token);
enum llama_token_attr realign_attributes(const struct llama_vocab *vocab, llama_token token);

// Renders a conversation by the layout of a well-known template, as llama_chat_apply_template does.
int32_t realign_known_chat(const char *source, const struct llama_chat_message *messages, size_t n, char *buffer, int32_t size);

void realign_set_log(void);

// Opens a shared library, to stay, and makes ggml in it use our log. Returns NULL, or why it cannot be opened.
const char *realign_open_library(const char *path);

// The first GPUs, at most capacity of them. Returns how many there are.
int32_t realign_devices(realign_device *out, int32_t capacity);

// Loads a model with its last layers on n devices, split between them by weights. Without devices it is on the CPU
// alone. progress, unless 0, is passed to realignProgress.
struct llama_model *realign_load(const char *path, const char **devices, int32_t n, int32_t layers, const float *weights, uintptr_t progress);

// The first tensors of a model, at most capacity of them. Returns how many there are.
int32_t realign_tensors(const struct llama_model *model, realign_tensor *out, int32_t capacity);

// Makes room in graphs of contexts that are opened later for so many adapters at once. To be called once.
void realign_make_room(struct llama_model *model, int32_t adapters);

// Ends the team of threads that OpenMP keeps for the thread that calls.
void realign_dissolve(void);

// Gives memory that was freed back to the system.
void realign_give_back(void);

realign_context *realign_open(struct llama_model *model, realign_options options);
void realign_close(realign_context *c);
bool realign_adapt(realign_context *c, struct llama_adapter_lora *adapter, float scale);

void realign_threads(realign_context *c, int32_t n);

// Runs the first n rows of the batch. Returns what llama_decode does.
int32_t realign_forward(realign_context *c, int32_t n);

// Reads the first n of the batch's tokens with the encoder. What the decoder's sequences attend to is from then on this. Returns what
// llama_encode does.
int32_t realign_encode(realign_context *c, int32_t n);

// Keeps the first n positions of a sequence.
bool realign_trim(realign_context *c, llama_seq_id sequence, int32_t n);

// Makes dst, which is emptied, hold the first n of the length positions of src.
bool realign_copy(realign_context *c, llama_seq_id dst, llama_seq_id src, int32_t n, int32_t length);

// Writes the pieces of all tokens one after another and where each ends. Returns the number of bytes,
// or what is needed when size is too small (then the buffer holds nothing of use).
int64_t realign_pieces(const struct llama_vocab *vocab, char *buffer, int64_t size, int64_t *ends, bool *last);

#ifdef __cplusplus
}
#endif

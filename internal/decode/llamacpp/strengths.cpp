// ggml asks an evaluation callback about every node of a graph before it computes any of them, if the callback wants to see
// none computed. While it asks, the graph is complete and has its memory, so a node may still be made another one of the
// same shape: GGML_OP_SCALE, by one number, becomes GGML_OP_MUL, by a number for each column, or, on the CPU, whose MUL takes
// its time with what it repeats, a function of ours. So nothing stops in between, and a pass is one call of its backend as ever.
#include "strengths.h"

#include <algorithm>
#include <map>
#include <string>
#include <iterator>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpp.h"

// Of llama.cpp itself: which tensors an adapter has, and that a graph is to be built anew, is in no public header.
#include "../src/llama-adapter.h"
#include "../src/llama-context.h"
#include "../src/llama-memory.h"

extern "C" size_t ggml_hash_size(size_t least);

namespace {

// Factors of the columns of some products, for one device.
struct factors {
	std::vector<float> values; // by column
	uint64_t pass = 0;         // that they are of

	ggml_context_ptr context;
	ggml_backend_buffer_ptr buffer;
	ggml_tensor *tensor = nullptr; // the values in the device's memory; on the CPU, what our function is told

	bool on_cpu() const { return !buffer; }
};

// What factors depend on: adapter, scale, whether they are of the wanted rows only, dimension of the rows, memory.
using factors_key = std::tuple<int32_t, float, bool, int, ggml_backend_buffer_type_t>;

// An adapter's product with one matrix.
struct product {
	int32_t adapter;
	float scale;                              // at strength 1
	factors *found[2] = {nullptr, nullptr}; // for the wanted rows, and for all: a product is computed at one place
};

struct adapter_state {
	llama_adapter_lora *adapter;
	int32_t place;
	std::vector<float> strengths; // by row
	bool used = false;
	int seen = 0;     // products in this pass
	int expected = 0; // in every pass; 0 before the first
};

// scale_columns multiplies the columns of a by their factors: the CPU's threads share each column.
void scale_columns(ggml_tensor *dst, const ggml_tensor *a, int thread, int threads, void *told) {
	const std::vector<float> &values = static_cast<const factors *>(told)->values;
	int64_t from = a->ne[0] * thread / threads, to = a->ne[0] * (thread + 1) / threads;
	int64_t rows = ggml_nrows(a), each = values.empty() ? 1 : rows / (int64_t) values.size(); // several of a column, with experts
	for (int64_t r = 0; r < rows; r++) {
		const float by = values[r / each];
		const float *x = reinterpret_cast<const float *>(static_cast<const char *>(a->data) + r * a->nb[1]);
		float *y = reinterpret_cast<float *>(static_cast<char *>(dst->data) + r * dst->nb[1]);
		if (by == 0) {
			std::fill(y + from, y + to, 0.0f);
			continue;
		}
		for (int64_t i = from; i < to; i++) {
			y[i] = x[i] * by;
		}
	}
}

// loras_of returns the adapters of a context, a private member: an explicit instantiation may name one, and hands it to a friend.
llama_adapter_loras &loras_of(llama_context *context);

template <llama_adapter_loras llama_context::*member> struct loras_access {
	friend llama_adapter_loras &loras_of(llama_context *context) { return context->*member; }
};

template struct loras_access<&llama_context::loras>;

// lay puts adapters over the weights of a context so that llama.cpp walks them, and sums what they add, in the given order.
// It keeps them in a hash map, whose order is that of addresses where two share a bucket, and otherwise that of insertion, the
// last one first. So there are more buckets until the order is right.
void lay(llama_adapter_loras &loras, const std::vector<const adapter_state *> &wanted) {
	for (size_t buckets = 16; buckets <= 1 << 20; buckets *= 2) {
		loras.clear();
		loras.rehash(buckets);
		for (size_t i = wanted.size(); i-- > 0;) {
			loras[wanted[i]->adapter] = 1.0f;
		}
		if (std::equal(loras.begin(), loras.end(), wanted.begin(), [](const auto &lora, const adapter_state *a) { return lora.first == a->adapter; })) {
			return;
		}
	}
}

bool is_cpu(ggml_backend_buffer_type_t memory) {
	ggml_backend_dev_t device = ggml_backend_buft_get_device(memory);
	return device == nullptr || ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
}

} // namespace

struct realign_strengths {
	uint32_t rows;
	std::vector<adapter_state> adapters;
	std::unordered_map<const ggml_tensor *, product> products; // by B
	std::map<factors_key, factors> made;

	// Of a pass.
	uint64_t pass = 0;
	const int8_t *want = nullptr;
	int32_t n = 0, wanted = 0;
	int32_t nodes = 0;
	bool failed = false;

	void visit(ggml_tensor *node);
	factors *factors_for(const ggml_tensor *node, product &p);
	bool make(factors &f, ggml_backend_buffer_type_t memory);
	void fill(factors &f, const product &p, bool all, int rows_at);
};

// factors_for finds the factors of a product's columns, or makes them. NULL: its columns are not the rows of the pass.
factors *realign_strengths::factors_for(const ggml_tensor *node, product &p) {
	int rows_at = node->src[0]->op == GGML_OP_MUL_MAT_ID ? 2 : 1;
	int64_t columns = node->ne[rows_at];
	// Behind the last layer's selection the columns are the wanted rows, in their order.
	bool all = columns == n;
	bool flat = node->ne[3] == 1 && (rows_at == 2 || node->ne[2] == 1);
	if (!flat || (!all && columns != wanted)) {
		return nullptr;
	}
	factors *&f = p.found[all];
	if (f == nullptr) {
		const ggml_tensor *owner = node->view_src ? node->view_src : node;
		if (owner->buffer == nullptr) {
			return nullptr;
		}
		ggml_backend_buffer_type_t memory = ggml_backend_buffer_get_type(owner->buffer);
		f = &made[{p.adapter, p.scale, all, rows_at, memory}];
		if (f->tensor == nullptr && !make(*f, memory)) {
			f = nullptr;
			return nullptr;
		}
	}
	if (f->pass != pass) {
		fill(*f, p, all, rows_at);
	}
	return f;
}

bool realign_strengths::make(factors &f, ggml_backend_buffer_type_t memory) {
	f.context.reset(ggml_init({2 * ggml_tensor_overhead(), nullptr, true}));
	if (!f.context) {
		return false;
	}
	f.tensor = ggml_new_tensor_2d(f.context.get(), GGML_TYPE_F32, 1, rows);
	if (is_cpu(memory)) {
		f.tensor = ggml_map_custom1_inplace(f.context.get(), f.tensor, scale_columns, GGML_N_TASKS_MAX, &f);
		return true;
	}
	f.buffer.reset(ggml_backend_buft_alloc_buffer(memory, rows * sizeof(float)));
	if (!f.buffer || ggml_backend_tensor_alloc(f.buffer.get(), f.tensor, ggml_backend_buffer_get_base(f.buffer.get())) != GGML_STATUS_SUCCESS) {
		f.tensor = nullptr;
		return false;
	}
	return true;
}

void realign_strengths::fill(factors &f, const product &p, bool all, int rows_at) {
	f.pass = pass;
	f.values.clear();
	const std::vector<float> &strengths = adapters[p.adapter].strengths;
	for (int32_t i = 0; i < n; i++) {
		if (all || want[i]) {
			f.values.push_back(p.scale * strengths[i]);
		}
	}
	if (f.on_cpu()) {
		return;
	}
	int64_t columns = (int64_t) f.values.size();
	ggml_tensor *t = f.tensor;
	t->ne[1] = rows_at == 1 ? columns : 1;
	t->ne[2] = rows_at == 1 ? 1 : columns;
	t->nb[2] = t->nb[1] * t->ne[1];
	t->nb[3] = t->nb[2] * t->ne[2];
	if (columns > 0) {
		ggml_backend_tensor_set(t, f.values.data(), 0, f.values.size() * sizeof(float));
	}
}

void realign_strengths::visit(ggml_tensor *node) {
	nodes++;
	// In a graph that is used again the node was changed before.
	if ((node->op != GGML_OP_SCALE && node->op != GGML_OP_MUL && node->op != GGML_OP_MAP_CUSTOM1) || node->src[0] == nullptr) {
		return;
	}
	const ggml_tensor *ab = node->src[0];
	if (ab->op != GGML_OP_MUL_MAT && ab->op != GGML_OP_MUL_MAT_ID) {
		return;
	}
	auto found = products.find(ab->src[0]);
	if (found == products.end()) {
		return;
	}
	factors *by = factors_for(node, found->second);
	if (by == nullptr) {
		failed = true;
		return;
	}
	if (by->on_cpu()) {
		node->op = GGML_OP_MAP_CUSTOM1;
		std::copy(std::begin(by->tensor->op_params), std::end(by->tensor->op_params), std::begin(node->op_params));
	} else {
		node->op = GGML_OP_MUL;
		node->src[1] = by->tensor;
	}
	adapters[found->second.adapter].seen++;
}

extern "C" bool realign_strengths_visit(struct ggml_tensor *node, bool ask, void *strengths) {
	if (ask) {
		static_cast<realign_strengths *>(strengths)->visit(node);
		return false; // its values are not asked for
	}
	return true;
}

extern "C" realign_strengths *realign_strengths_new(uint32_t rows) {
	auto *s = new realign_strengths;
	s->rows = rows;
	return s;
}

extern "C" void realign_strengths_free(realign_strengths *s) { delete s; }

extern "C" int32_t realign_strengths_add(realign_strengths *s, struct llama_adapter_lora *adapter, int32_t place) {
	int32_t number = (int32_t) s->adapters.size();
	s->adapters.push_back({adapter, place, std::vector<float>(s->rows)});
	for (const auto & [name, weight] : adapter->ab_map) {
		s->products[weight.b] = {number, weight.get_scale(adapter->alpha, 1.0f)};
	}
	return number;
}

extern "C" float *realign_strengths_of(realign_strengths *s, int32_t adapter) { return s->adapters[adapter].strengths.data(); }

extern "C" void realign_strengths_use(realign_strengths *s, realign_context *c, const bool *use) {
	bool changed = false;
	std::vector<const adapter_state *> used;
	for (size_t i = 0; i < s->adapters.size(); i++) {
		adapter_state &a = s->adapters[i];
		changed = changed || a.used != use[i];
		a.used = use[i];
		if (a.used) {
			used.push_back(&a);
		}
	}
	if (!changed) {
		return;
	}
	std::sort(used.begin(), used.end(), [](const adapter_state *a, const adapter_state *b) { return a->place < b->place; });
	lay(loras_of(c->context), used);
	// llama.cpp uses a graph again without a look at the adapters that it was built with. Planning another one makes it forget.
	realign_enter();
	llama_memory_context_ptr full = llama_get_memory(c->context)->init_full();
	c->context->graph_reserve(1, 1, 1, full.get(), true);
	realign_leave();
}

extern "C" int32_t realign_strengths_nodes(const realign_strengths *s) { return s->nodes; }

// A graph has room for a number of nodes; its scheduler, for nodes and leaves together. A matrix's product with an adapter is
// two products, a scale and a sum, of two more tensors.
extern "C" bool realign_strengths_fit(const realign_strengths *s, const realign_context *c, int32_t nodes, const bool *use) {
	const size_t margin = 64; // nodes that only some shapes of passes have, and what a pass is given: tokens, positions, masks
	size_t most = c->context->graph_max_nodes(llama_n_ubatch(c->context));
	size_t leaves = realign_tensors(llama_get_model(c->context), nullptr, 0) + margin, all = (size_t) nodes + margin;
	for (size_t i = 0; i < s->adapters.size(); i++) {
		if (use[i]) {
			all += 4 * s->adapters[i].adapter->ab_map.size();
			leaves += 2 * s->adapters[i].adapter->ab_map.size();
		}
	}
	return all <= most && all + leaves <= ggml_hash_size(most);
}

extern "C" int32_t realign_forward_strengths(realign_context *c, realign_strengths *s, int32_t n) {
	s->pass++;
	s->want = c->want;
	s->n = n;
	s->wanted = (int32_t) std::count_if(c->want, c->want + n, [](int8_t w) { return w != 0; });
	s->nodes = 0;
	s->failed = false;
	for (adapter_state &a : s->adapters) {
		a.seen = 0;
	}
	int32_t result = realign_forward(c, n);
	if (result != 0) {
		return result;
	}
	for (adapter_state &a : s->adapters) {
		if (a.used && a.expected == 0) {
			a.expected = a.seen;
		}
		if (a.used && (a.seen == 0 || a.seen != a.expected)) {
			s->failed = true;
		}
	}
	return s->failed ? REALIGN_UNSCALED : 0;
}

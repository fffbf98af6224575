#include "bridge.h"

#include <string>
#include <utility>
#include <vector>

#include "ggml-backend.h"

// Of llama.cpp's own tests: where the tensors are is in no public header.
const std::vector<std::pair<std::string, ggml_tensor *>> & llama_internal_get_tensor_map(const llama_model * model);

int32_t realign_tensors(const struct llama_model *model, realign_tensor *out, int32_t capacity) {
	int32_t n = 0;
	for (const auto & [name, tensor] : llama_internal_get_tensor_map(model)) {
		if (tensor == nullptr) { // of realign_make_room
			continue;
		}
		if (n < capacity) {
			const char *device = nullptr;
			if (tensor->buffer != nullptr && !ggml_backend_buffer_is_host(tensor->buffer)) {
				ggml_backend_dev_t where = ggml_backend_buft_get_device(ggml_backend_buffer_get_type(tensor->buffer));
				if (where != nullptr && ggml_backend_dev_type(where) != GGML_BACKEND_DEVICE_TYPE_CPU) {
					device = ggml_backend_dev_name(where);
				}
			}
			out[n] = {name.c_str(), device, ggml_nbytes(tensor)};
		}
		n++;
	}
	return n;
}

// llama.cpp lets a graph have eight nodes and leaves for each tensor of the model, which with an adapter on each matrix are too
// few: it adds six for each. So the list of tensors is made longer, by entries without a name, which nobody looks for.
void realign_make_room(struct llama_model *model, int32_t adapters) {
	auto & tensors = const_cast<std::vector<std::pair<std::string, ggml_tensor *>> &>(llama_internal_get_tensor_map(model));
	tensors.resize(tensors.size() * (1 + adapters));
}

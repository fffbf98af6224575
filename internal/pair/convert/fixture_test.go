package convert

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"realign/internal/gguf/gguftest"
	"strings"
	"testing"
)

// weights is a tensor of a safetensors file.
type weights struct {
	shape  []uint64
	values []float32
	dtype  string // F32 where it is empty
}

// safetensors is a file in that format.
func safetensors(tensors map[string]weights) []byte {
	head, data := map[string]any{"__metadata__": map[string]string{"format": "pt"}}, []byte{}
	for name, w := range tensors {
		kind := w.dtype
		if kind == "" {
			kind = "F32"
		}
		from := len(data)
		data = encode(data, w.values, dtypes[kind].kind)
		head[name] = map[string]any{"dtype": kind, "shape": w.shape, "data_offsets": []int{from, len(data)}}
	}
	text, err := json.Marshal(head)
	if err != nil {
		panic(err) // of numbers and texts
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(out, text...), data...)
}

// folder writes files into a folder of the test. A value is bytes, or something to be written as JSON.
func folder(t *testing.T, files map[string]any) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		put(t, dir, name, content)
	}
	return dir
}

func put(t *testing.T, dir, name string, content any) {
	t.Helper()
	data, ok := content.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// unreordered undoes an order of rows: what transformers has, of what GGUF has.
func unreordered(values []float32, rows []int) []float32 {
	width := len(values) / len(rows)
	out := make([]float32, len(values))
	for i, row := range rows {
		copy(out[row*width:], values[i*width:(i+1)*width])
	}
	return out
}

// reversed is a shape of GGUF as safetensors lists it.
func reversed(shape []uint64) []uint64 {
	out := make([]uint64, len(shape))
	for i, n := range shape {
		out[len(shape)-1-i] = n
	}
	return out
}

// huggingFace is what a Llama's tensor is called in transformers.
var huggingFace = strings.NewReplacer(
	"token_embd", "model.embed_tokens", "output_norm", "model.norm", "blk", "model.layers", "attn_norm", "input_layernorm", "attn_q", "self_attn.q_proj",
	"attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj", "attn_output", "self_attn.o_proj", "ffn_norm", "post_attention_layernorm",
	"ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj",
	".weight.lora_a", ".lora_A.weight", ".weight.lora_b", ".lora_B.weight",
)

const heads = 4 // of gguftest's models

// llama is a model of gguftest as transformers would save it.
func llama(t *testing.T, f *gguftest.File) (files map[string]any) {
	t.Helper()
	tensors := map[string]weights{}
	for _, w := range f.Tensors {
		values := w.Values
		if rows := llamaOrder(attention{heads, heads}, w.Name, int(w.Shape[len(w.Shape)-1])); rows != nil {
			values = unreordered(values, rows)
		}
		tensors[huggingFace.Replace(w.Name)] = weights{shape: reversed(w.Shape), values: values}
	}
	tokens := f.Get("tokenizer.ggml.tokens").([]string)
	vocabulary, merges := map[string]int{}, [][2]string{}
	for id, token := range tokens[3:] {
		vocabulary[token] = id + 3
	}
	for _, m := range f.Get("tokenizer.ggml.merges").([]string) {
		left, right, _ := strings.Cut(m, " ")
		merges = append(merges, [2]string{left, right})
	}
	var special []map[string]any
	for id, token := range tokens[:3] {
		special = append(special, map[string]any{"id": id, "content": token, "special": true})
	}
	return map[string]any{
		"model.safetensors": safetensors(tensors),
		"config.json": map[string]any{
			"architectures": []string{"LlamaForCausalLM"}, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": heads,
			"num_key_value_heads": heads, "max_position_embeddings": gguftest.Context, "rms_norm_eps": 1e-5, "vocab_size": len(tokens), "tie_word_embeddings": true,
			"rope_parameters": map[string]any{"rope_type": "default", "rope_theta": 10000.0},
		},
		"tokenizer.json": map[string]any{
			"added_tokens": special,
			"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
				map[string]any{"type": "Digits", "individual_digits": true}, map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
			}},
			"model": map[string]any{"type": "BPE", "vocab": vocabulary, "merges": merges},
		},
		"tokenizer_config.json": map[string]any{"bos_token": "<|im_start|>", "eos_token": map[string]any{"content": "<|im_end|>"}, "unk_token": "<|endoftext|>"},
		"chat_template.jinja":   []byte(f.Get("tokenizer.chat_template").(string)),
	}
}

// peft is an adapter of gguftest as PEFT would save it.
func peft(f *gguftest.File, config map[string]any) map[string]any {
	tensors := map[string]weights{}
	for _, w := range f.Tensors {
		values := w.Values
		if rows := llamaOrder(attention{heads, heads}, w.Name, int(w.Shape[1])); rows != nil && strings.HasSuffix(w.Name, "lora_b") {
			values = unreordered(values, rows)
		}
		tensors["base_model.model."+huggingFace.Replace(w.Name)] = weights{shape: reversed(w.Shape), values: values}
	}
	all := map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "base_model_name_or_path": "org/Base"}
	for key, value := range config {
		all[key] = value
	}
	return map[string]any{"adapter_config.json": all, "adapter_model.safetensors": safetensors(tensors)}
}

// tensorValues reads the numbers of a tensor of a GGUF file in 32 bits.
func tensorValues(t *testing.T, path string, at int64, n int) []float32 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 4*n)
	if _, err := f.ReadAt(data, at); err != nil {
		t.Fatal(err)
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values
}

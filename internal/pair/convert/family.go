package convert

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/ollama/ollama/convert"
	"github.com/ollama/ollama/fs/ggml"

	"realign/internal/fault"
)

// family is the models of one architecture: how they become GGUF.
type family struct {
	name  string // of the architecture in GGUF
	class string // of transformers by which package convert knows models like these; "" where it does not

	// names is, where package convert does not know it, what tensors are called in transformers and in GGUF, in turns.
	names []string

	check   func(c *config) error                        // whether llama.cpp computes this one as transformers does; nil: always
	keys    func(c *config, set func(string, any)) error // beyond those of all families; or nil
	tensors func(c *config, ts []*ggml.Tensor)           // changes to the tensors; or nil
	order   order                                        // of all weights that order knows, those of adapters included; nil: as they are
}

// order is where the rows of a weight, by its name in GGUF, come from: row i of the file is row order[i] of the model. nil
// is as they are.
type order func(a attention, weight string, rows int) []int

// attention is what the order of rows depends on: the numbers of heads, and of heads of keys and values (groups).
type attention struct{ heads, groups int }

// families by the class of transformers, as config.json names it.
var families = map[string]family{
	"LlamaForCausalLM":       {name: "llama", class: "LlamaForCausalLM", order: llamaOrder, tensors: llamaTensors},
	"MistralForCausalLM":     {name: "llama", class: "LlamaForCausalLM", order: llamaOrder, tensors: llamaTensors},
	"Qwen2ForCausalLM":       {name: "qwen2", class: "Qwen2ForCausalLM", check: checkQwen},
	"Qwen3ForCausalLM":       {name: "qwen3", names: qwen3Names, check: checkQwen},
	"GemmaForCausalLM":       {name: "gemma", class: "GemmaForCausalLM"},
	"Gemma2ForCausalLM":      {name: "gemma2", class: "Gemma2ForCausalLM", check: checkGemma2},
	"Gemma3ForCausalLM":      {name: "gemma3", class: "Gemma3ForCausalLM", check: checkGemma3},
	"Phi3ForCausalLM":        {name: "phi3", class: "Phi3ForCausalLM", keys: phi3Keys},
	"Olmo2ForCausalLM":       {name: "olmo2", names: olmo2Names},
	"GPTNeoXForCausalLM":     {name: "gptneox", names: gptneoxNames, keys: gptneoxKeys, order: gptneoxOrder, tensors: gptneoxTensors, check: checkGPTNeoX},
	"MambaForCausalLM":       {name: "mamba", names: mambaNames, keys: mambaKeys, tensors: mambaTensors},
	"MambaLMHeadModel":       {name: "mamba", names: mambaNames, keys: mambaKeys, tensors: mambaTensors},
	"FalconMambaForCausalLM": {name: "mamba", names: mambaNames, keys: mambaKeys, tensors: mambaTensors},

	// With a vision model, which is left out.
	"Gemma3ForConditionalGeneration": {name: "gemma3", class: "Gemma3ForCausalLM", check: checkGemma3},
}

// familyOf is the family of an architecture in GGUF.
func familyOf(architecture string) (family, bool) {
	for _, name := range Architectures() {
		if f := families[name]; f.name == architecture {
			return f, true
		}
	}
	return family{}, false
}

// qwen3Names and the lists below are pairs: what strings.NewReplacer replaces in a tensor's name in transformers,
// and by what.
var qwen3Names = []string{
	"lm_head", "output",
	"model.embed_tokens", "token_embd",
	"model.norm", "output_norm",
	"model.layers", "blk",
	"input_layernorm", "attn_norm",
	"self_attn.q_norm", "attn_q_norm",
	"self_attn.k_norm", "attn_k_norm",
	"self_attn.q_proj", "attn_q",
	"self_attn.k_proj", "attn_k",
	"self_attn.v_proj", "attn_v",
	"self_attn.o_proj", "attn_output",
	"post_attention_layernorm", "ffn_norm",
	"mlp.gate_proj", "ffn_gate",
	"mlp.down_proj", "ffn_down",
	"mlp.up_proj", "ffn_up",
}

// olmo2Names: its norms are behind what they normalise.
var olmo2Names = append([]string{
	"post_attention_layernorm", "post_attention_norm",
	"post_feedforward_layernorm", "post_ffw_norm",
}, qwen3Names...)

var gptneoxNames = []string{
	"gpt_neox.embed_in", "token_embd",
	"gpt_neox.final_layer_norm", "output_norm",
	"gpt_neox.layers", "blk",
	"embed_out", "output",
	"input_layernorm", "attn_norm",
	"post_attention_layernorm", "ffn_norm",
	"attention.query_key_value", "attn_qkv",
	"attention.dense", "attn_output",
	"mlp.dense_h_to_4h", "ffn_up",
	"mlp.dense_4h_to_h", "ffn_down",
}

var mambaNames = []string{
	"backbone.embeddings", "token_embd",
	"backbone.embedding", "token_embd",
	"backbone.norm_f", "output_norm",
	"backbone.layers", "blk",
	"lm_head", "output",
	"mixer.in_proj", "ssm_in",
	"mixer.conv1d", "ssm_conv1d",
	"mixer.x_proj", "ssm_x",
	"mixer.dt_proj", "ssm_dt",
	"mixer.out_proj", "ssm_out",
	"mixer.A_log", "ssm_a",
	"mixer.D", "ssm_d",
	".norm.", ".attn_norm.",
}

// replacements is how a family's tensors are renamed: pairs for strings.NewReplacer.
func (f family) replacements() ([]string, error) {
	if f.class == "" {
		return f.names, nil
	}
	model, _, err := load(f, &config{values: map[string]any{}})
	if err != nil {
		return nil, err
	}
	return model.Replacements(), nil
}

// convert makes the metadata, but for the vocabulary, and the tensors, with GGUF's names. It leaves out tensors of
// a vision model, buffers,
// and an output that is the embedding. A tensor that GGUF has no name for is Invalid.
func (f family) convert(c *config, source []*tensor) (convert.KV, []*ggml.Tensor, error) {
	var model convert.ModelConverter
	keys, names := convert.KV{}, f.names
	if f.class != "" {
		var err error
		if model, keys, err = known(f, c); err != nil {
			return nil, nil, err
		}
		names = model.Replacements()
	}
	replacer := strings.NewReplacer(names...)
	var list []convert.Tensor
	for _, t := range source {
		name, ok := textOnly(t.name)
		if !ok || isBuffer(name) || name == "lm_head.weight" && (c.flag("tie_word_embeddings", false) || f.name == "gemma" || f.name == "gemma2") {
			continue
		}
		t.name = replacer.Replace(name)
		list = append(list, t)
	}
	var tensors []*ggml.Tensor
	if model != nil {
		tensors = model.Tensors(list)
	} else {
		for _, t := range list {
			tensors = append(tensors, &ggml.Tensor{Name: t.Name(), Kind: t.Kind(), Shape: t.Shape(), WriterTo: t})
		}
	}
	tensors = slices.DeleteFunc(tensors, func(t *ggml.Tensor) bool { return t.Elements() == 0 || t.Name == ropeFactors })
	if f.tensors != nil {
		f.tensors(c, tensors)
	}
	keys["general.architecture"] = f.name
	if err := f.metadata(c, keys); err != nil {
		return nil, nil, err
	}
	tensors = append(tensors, c.rope.tensors(c)...)
	for _, t := range tensors {
		if !tensorName.MatchString(t.Name) {
			return nil, nil, fault.New(fault.Invalid, "tensor %.80q is none of the architecture %s", t.Name, f.name)
		}
	}
	return keys, tensors, nil
}

// tensorName is the form of the names of tensors in GGUF.
var tensorName = regexp.MustCompile(`^((token_embd|output|output_norm|rope_freqs|rope_factors_long|rope_factors_short)\.(weight|bias)|blk\.\d+\.[a-z0-9_]+(\.(weight|bias))?)$`)

// textOnly is a tensor's name in a model of text alone; false for one of the vision model beside it.
func textOnly(name string) (string, bool) {
	for _, part := range []string{"vision_tower.", "multi_modal_projector.", "vision_model."} {
		if strings.HasPrefix(name, part) || strings.HasPrefix(name, "model."+part) {
			return "", false
		}
	}
	for _, prefix := range []string{"model.language_model.", "language_model.model."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return "model." + rest, true
		}
	}
	return strings.TrimPrefix(name, "language_model."), true
}

// metadata sets the keys that all families have, over what package convert wrote, and then the family's own.
func (f family) metadata(c *config, keys convert.KV) error {
	set := func(name string, value any) {
		switch v := value.(type) {
		case uint32:
			if v == 0 {
				return
			}
		case float32:
			if v == 0 {
				return
			}
		}
		keys[f.name+"."+name] = value
	}
	heads := c.uint("num_attention_heads")
	groups := c.uint("num_key_value_heads")
	if groups == 0 {
		groups = heads
	}
	set("block_count", c.uint("num_hidden_layers", "n_layer"))
	set("context_length", c.uint("max_position_embeddings"))
	set("embedding_length", c.uint("hidden_size", "d_model"))
	set("feed_forward_length", c.uint("intermediate_size"))
	set("vocab_size", c.uint("vocab_size"))
	if heads > 0 {
		set("attention.head_count", heads)
		set("attention.head_count_kv", groups)
		set("attention.key_length", c.headSize())
		set("attention.value_length", c.headSize())
		set("rope.dimension_count", uint32(math.Floor(float64(c.headSize())*c.rope.part)))
	}
	set("attention.layer_norm_rms_epsilon", float32(c.float("rms_norm_eps")))
	c.rope.keys(c, set)
	if f.keys != nil {
		return f.keys(c, set)
	}
	return nil
}

// title is the model's name in its file. llama.cpp knows by it that spaces behind the markers of a Phi-3 belong to them.
func (f family) title(name string, v *vocabulary) string {
	lower := strings.ToLower(name)
	if f.name == "phi3" && v.strips && !strings.Contains(lower, "phi-3") && !strings.Contains(lower, "phi3") {
		return name + " (Phi-3)"
	}
	return name
}

// check reports what llama.cpp would compute differently from transformers.
func (c *config) check(f family) error {
	if f.check != nil {
		return f.check(c)
	}
	return nil
}

// checkQwen refuses a window of attention.
func checkQwen(c *config) error {
	if c.flag("use_sliding_window", false) {
		return fault.New(fault.Invalid, "use_sliding_window is set, which llama.cpp does not do for this architecture")
	}
	return nil
}

// checkScale wants the scale of attention that llama.cpp takes for Gemma 2 and 3: of the width of a head, and in the model
// with large layers of the width over the heads.
func checkScale(c *config, large uint32) error {
	want := c.headSize()
	if c.uint("num_hidden_layers") == large {
		want = c.uint("hidden_size") / max(c.uint("num_attention_heads"), 1)
	}
	if got := c.uint("query_pre_attn_scalar"); got != 0 && got != want {
		return fault.New(fault.Invalid, "query_pre_attn_scalar is %d, and llama.cpp takes %d for this model", got, want)
	}
	return nil
}

// checkGemma2 wants llama.cpp's scale. The model with 46 layers is the one of 27 billion weights.
func checkGemma2(c *config) error { return checkScale(c, 46) }

// checkGemma3 wants llama.cpp's scale, local base of frequencies, and a layer without a window as every sixth.
func checkGemma3(c *config) error {
	if c.rope.local != 0 && c.rope.local != 10000 {
		return fault.New(fault.Invalid, "rope_local_base_freq is %v, and llama.cpp takes 10000 for this model", c.rope.local)
	}
	for i, kind := range c.texts("layer_types") {
		if want := (i+1)%6 != 0; want != (kind == "sliding_attention") {
			return fault.New(fault.Invalid, "layer %d is of %.40q, and llama.cpp takes every sixth layer of this model for one without a window", i, kind)
		}
	}
	if p := c.uint("sliding_window_pattern"); p != 0 && p != 6 {
		return fault.New(fault.Invalid, "sliding_window_pattern is %d, and llama.cpp takes 6 for this model", p)
	}
	return checkScale(c, 62)
}

// phi3Keys are its window, and the context before it was made longer.
func phi3Keys(c *config, set func(string, any)) error {
	set("attention.sliding_window", c.uint("sliding_window"))
	set("rope.scaling.original_context_length", uint32(c.rope.original))
	return nil
}

// checkGPTNeoX wants the activation that llama.cpp computes.
func checkGPTNeoX(c *config) error {
	if act := c.text("hidden_act"); act != "" && act != "gelu" {
		return fault.New(fault.Invalid, "hidden_act is %.40q, and llama.cpp takes gelu for this architecture", act)
	}
	return nil
}

// gptneoxKeys are the keys that other families do not have.
func gptneoxKeys(c *config, set func(string, any)) error {
	set("attention.head_count_kv", c.uint("num_attention_heads")) // whatever config.json says: it has no groups
	set("use_parallel_residual", c.flag("use_parallel_residual", true))
	set("attention.layer_norm_epsilon", float32(c.float("layer_norm_eps")))
	return nil
}

// mambaKeys: some of its numbers are derived from others where config.json leaves them out.
func mambaKeys(c *config, set func(string, any)) error {
	or := func(n, otherwise uint32) uint32 {
		if n == 0 {
			return otherwise
		}
		return n
	}
	width := c.uint("hidden_size", "d_model")
	inner := or(c.uint("intermediate_size", "d_inner"), 2*width)
	if inner != 2*width {
		return fault.New(fault.Invalid, "intermediate_size is %d, and llama.cpp takes twice the width, %d", inner, 2*width)
	}
	set("context_length", uint32(1<<20)) // it has no limit
	set("ssm.conv_kernel", or(c.uint("conv_kernel", "d_conv"), 4))
	set("ssm.inner_size", inner)
	set("ssm.state_size", or(c.uint("state_size", "d_state"), 16))
	set("ssm.time_step_rank", or(c.uint("time_step_rank", "dt_rank"), (width+15)/16))
	set("ssm.dt_b_c_rms", c.text("model_type") == "falcon_mamba")
	epsilon := c.float("layer_norm_epsilon", "rms_norm_eps")
	if epsilon == 0 {
		epsilon = 1e-5
	}
	set("attention.layer_norm_rms_epsilon", float32(epsilon))
	return nil
}

// tensorOf is the tensor behind one of GGUF; nil for one that was made here.
func tensorOf(t *ggml.Tensor) *tensor {
	s, _ := t.WriterTo.(*tensor)
	return s
}

// attention is the model's; without groups each head has its own keys and values.
func (c *config) attention() attention {
	a := attention{heads: int(c.uint("num_attention_heads")), groups: int(c.uint("num_key_value_heads"))}
	if a.groups == 0 {
		a.groups = a.heads
	}
	return a
}

// llamaTensors orders biases as package convert orders weights.
func llamaTensors(c *config, ts []*ggml.Tensor) {
	for _, t := range ts {
		if strings.HasSuffix(t.Name, ".bias") {
			reorder(c.attention(), llamaOrder, t)
		}
	}
}

// gptneoxTensors reorders weights and biases of attention.
func gptneoxTensors(c *config, ts []*ggml.Tensor) {
	for _, t := range ts {
		reorder(c.attention(), gptneoxOrder, t)
	}
}

// reorder has a tensor's rows written in another order.
func reorder(a attention, o order, t *ggml.Tensor) {
	if rows := o(a, t.Name, int(t.Shape[0])); rows != nil {
		tensorOf(t).SetRepacker(func(_ string, values []float32, _ []uint64) ([]float32, error) {
			return reordered(values, rows)
		})
	}
}

// reordered is values with their rows in another order.
func reordered(values []float32, rows []int) ([]float32, error) {
	if len(rows) == 0 || len(values)%len(rows) != 0 {
		return nil, fmt.Errorf("%d values in %d rows", len(values), len(rows))
	}
	width := len(values) / len(rows)
	out := make([]float32, 0, len(values))
	for _, row := range rows {
		out = append(out, values[row*width:(row+1)*width]...)
	}
	return out, nil
}

// llamaOrder: of each head, the two numbers that are rotated together lie side by side in GGUF, and half a head apart in
// transformers.
func llamaOrder(a attention, weight string, rows int) []int {
	heads := a.heads
	switch {
	case strings.Contains(weight, ".attn_k."):
		heads = a.groups
	case !strings.Contains(weight, ".attn_q."):
		return nil
	}
	if heads == 0 || rows%(2*heads) != 0 {
		return nil
	}
	size := rows / heads
	out := make([]int, 0, rows)
	for i := range rows {
		head, at := i/size, i%size
		out = append(out, head*size+at%2*(size/2)+at/2)
	}
	return out
}

// gptneoxOrder: query, key and value come head by head in transformers, and one after another in GGUF.
func gptneoxOrder(a attention, weight string, rows int) []int {
	if !strings.Contains(weight, ".attn_qkv.") || a.heads == 0 || rows%(3*a.heads) != 0 {
		return nil
	}
	size := rows / (3 * a.heads)
	out := make([]int, 0, rows)
	for part := range 3 {
		for head := range a.heads {
			for i := range size {
				out = append(out, (head*3+part)*size+i)
			}
		}
	}
	return out
}

// mambaTensors: GGUF has A where the model has the logarithm of −A, and a kernel without the dimension of its one channel.
func mambaTensors(_ *config, ts []*ggml.Tensor) {
	for _, t := range ts {
		switch {
		case strings.HasSuffix(t.Name, ".ssm_a"):
			tensorOf(t).SetRepacker(func(_ string, values []float32, _ []uint64) ([]float32, error) {
				for i, v := range values {
					values[i] = float32(-math.Exp(float64(v)))
				}
				return values, nil
			})
		case strings.HasSuffix(t.Name, ".ssm_conv1d.weight") && len(t.Shape) == 3 && t.Shape[1] == 1:
			t.Shape = []uint64{t.Shape[0], t.Shape[2]}
		}
	}
}

// plain is numbers of our own as a tensor.
type plain []float32

// WriteTo writes them in full.
func (p plain) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(encode(nil, p, kindF32))
	return int64(n), err
}

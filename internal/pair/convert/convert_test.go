package convert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
)

// same wants the tensors of a file to be those of another, number by number.
func same(t *testing.T, path string, want *gguftest.File) *gguf.File {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Tensors) != len(want.Tensors) {
		t.Errorf("%d tensors, want %d", len(f.Tensors), len(want.Tensors))
	}
	for _, w := range want.Tensors {
		got, ok := f.Tensor(w.Name)
		if !ok || !slices.Equal(got.Shape[:len(w.Shape)], w.Shape) || got.Type != gguf.F32 {
			t.Errorf("%s is %v %v, want %v", w.Name, got.Type, got.Shape, w.Shape)
		} else if !slices.Equal(tensorValues(t, path, f.Data+int64(got.Offset), len(w.Values)), w.Values) {
			t.Errorf("%s has other numbers", w.Name)
		}
	}
	return f
}

// A model that is saved as transformers does, and converted, is the model.
func TestModel(t *testing.T) {
	want := gguftest.Model(1)
	dir, out := folder(t, llama(t, want)), filepath.Join(t.TempDir(), "out.gguf")
	var last, total int64
	if err := Model(t.Context(), dir, out, Options{Name: "Small", Progress: func(d, n int64) { last, total = max(last, d), n }}); err != nil {
		t.Fatal(err)
	}
	if last == 0 || last != total {
		t.Errorf("progress ended at %d of %d bytes", last, total)
	}
	f := same(t, out, want)
	// llama.cpp takes what is absent for these.
	absent := map[string]bool{"tokenizer.ggml.add_space_prefix": true}
	for _, k := range want.Keys {
		if k.Name == "general.name" {
			k.Value = "Small"
		}
		if got := f.Metadata[k.Name]; !absent[k.Name] && !reflect.DeepEqual(got, k.Value) {
			t.Errorf("%s is %.60v, want %.60v", k.Name, got, k.Value)
		}
	}
	if f.Metadata["general.file_type"] != uint32(0) {
		t.Errorf("file type %v", f.Metadata["general.file_type"])
	}
}

// Weights keep their type; vectors are in full.
func TestTypes(t *testing.T) {
	for kind, want := range map[string]struct {
		name string
		file uint32
	}{"F16": {"F16", 1}, "BF16": {"BF16", 32}} {
		files := llama(t, gguftest.Model(1))
		tensors := map[string]weights{}
		for _, w := range gguftest.Model(1).Tensors {
			tensors[huggingFace.Replace(w.Name)] = weights{reversed(w.Shape), w.Values, kind}
		}
		files["model.safetensors"] = safetensors(tensors)
		out := filepath.Join(t.TempDir(), "out.gguf")
		if err := Model(t.Context(), folder(t, files), out, Options{}); err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		matrix, _ := f.Tensor("blk.0.attn_q.weight")
		vector, _ := f.Tensor("blk.0.attn_norm.weight")
		if matrix.Type.String() != want.name || vector.Type != gguf.F32 || f.Metadata["general.file_type"] != want.file {
			t.Errorf("%s: %v, %v, file type %v", kind, matrix.Type, vector.Type, f.Metadata["general.file_type"])
		}
	}
}

// What package convert has no form for, or would get wrong without a word, is refused with what to do.
func TestModelRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(files map[string]any)
		say    string
	}{
		"no config":            {func(f map[string]any) { delete(f, "config.json") }, "no config.json"},
		"another architecture": {set("config.json", "architectures", []string{"T5ForConditionalGeneration"}), "convert_hf_to_gguf.py"},
		"quantised":            {set("config.json", "quantization_config", map[string]any{"quant_method": "awq"}), "awq"},
		"unknown positions":    {set("config.json", "rope_parameters", map[string]any{"rope_type": "spiral"}), "spiral"},
		"no tokenizer":         {func(f map[string]any) { delete(f, "tokenizer.json") }, "neither tokenizer.json nor tokenizer.model"},
		"no weights":           {func(f map[string]any) { delete(f, "model.safetensors") }, "no weights"},
		"pickles": {func(f map[string]any) {
			delete(f, "model.safetensors")
			f["pytorch_model.bin"] = []byte("x")
		}, "save them as safetensors"},
		"truncated":       {func(f map[string]any) { d := f["model.safetensors"].([]byte); f["model.safetensors"] = d[:len(d)-8] }, "truncated"},
		"not safetensors": {func(f map[string]any) { f["model.safetensors"] = []byte("version https://git-lfs.github.com/spec/v1") }, "not a safetensors file"},
		"a missing file": {func(f map[string]any) {
			f["model.safetensors.index.json"] = map[string]any{"weight_map": map[string]string{"a": "model-00001-of-00002.safetensors"}}
		}, "model-00001-of-00002.safetensors is missing"},
		"a file elsewhere": {func(f map[string]any) {
			f["model.safetensors.index.json"] = map[string]any{"weight_map": map[string]string{"a": "../../x.safetensors"}}
		}, "not in the folder"},
		"another pattern":   {set("tokenizer.json", "pre_tokenizer", map[string]any{"type": "Whitespace"}), "cuts a text in a way"},
		"another tokenizer": {set("tokenizer.json", "model", map[string]any{"type": "Unigram", "vocab": []any{}}), "Unigram"},
		"too many tokens":   {set("tokenizer.json", "added_tokens", []map[string]any{{"id": 275, "content": "<new>"}}), "resize_token_embeddings"},
		"another tensor": {func(f map[string]any) {
			f["model.safetensors"] = safetensors(map[string]weights{"model.embed_tokens.weight": {shape: []uint64{1, 1}, values: []float32{1}}, "score.weight": {shape: []uint64{1, 1}, values: []float32{1}}})
		}, "score.weight"},
	} {
		t.Run(name, func(t *testing.T) {
			files := llama(t, gguftest.Model(1))
			c.change(files)
			err := Model(t.Context(), folder(t, files), filepath.Join(t.TempDir(), "out.gguf"), Options{})
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v, want %q", err, c.say)
			}
		})
	}
}

// set changes a key of a file in JSON.
func set(file, key string, value any) func(map[string]any) {
	return func(files map[string]any) {
		changed := maps.Clone(files[file].(map[string]any))
		changed[key] = value
		files[file] = changed
	}
}

// Positions, in the words of every version of transformers.
func TestRope(t *testing.T) {
	base := map[string]any{"architectures": []string{"LlamaForCausalLM"}, "hidden_size": 64, "num_attention_heads": 2, "max_position_embeddings": 4096}
	for name, c := range map[string]struct {
		values map[string]any
		want   map[string]any
	}{
		"version 5":  {map[string]any{"rope_parameters": map[string]any{"rope_type": "default", "rope_theta": 5e5}}, map[string]any{"rope.freq_base": float32(5e5)}},
		"before":     {map[string]any{"rope_theta": 1e6}, map[string]any{"rope.freq_base": float32(1e6)}},
		"linear":     {map[string]any{"rope_theta": 1e4, "rope_scaling": map[string]any{"type": "linear", "factor": 4}}, map[string]any{"rope.freq_base": float32(1e4), "rope.scaling.type": "linear", "rope.scaling.factor": float32(4)}},
		"each layer": {map[string]any{"rope_parameters": map[string]any{"full_attention": map[string]any{"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": map[string]any{"rope_theta": 1e4}}}, map[string]any{"rope.freq_base": float32(1e6)}},
		"longer by yarn": {map[string]any{"rope_theta": 1e6, "rope_scaling": map[string]any{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}},
			map[string]any{"rope.freq_base": float32(1e6), "rope.scaling.type": "yarn", "rope.scaling.factor": float32(4), "rope.scaling.original_context_length": uint32(1024), "rope.scaling.yarn_beta_fast": float32(0), "rope.scaling.yarn_beta_slow": float32(0)}},
	} {
		values := maps.Clone(base)
		maps.Copy(values, c.values)
		config, err := readConfig(folder(t, map[string]any{"config.json": values}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := map[string]any{}
		config.rope.keys(config, func(key string, value any) { got[key] = value })
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Of Gemma 3 with its vision model, config.json leaves out what its class has anyway.
func TestTextInside(t *testing.T) {
	c, err := readConfig(folder(t, map[string]any{"config.json": map[string]any{
		"architectures": []string{"Gemma3ForConditionalGeneration"}, "vision_config": map[string]any{"hidden_size": 1152},
		"text_config": map[string]any{"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024, "rope_scaling": map[string]any{"factor": 8.0, "rope_type": "linear"}},
	}}))
	if err != nil {
		t.Fatal(err)
	}
	f := families[c.Architecture()]
	if err := c.check(f); err != nil {
		t.Fatal(err)
	}
	_, keys, err := known(f, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.metadata(c, keys); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"block_count": uint32(34), "embedding_length": uint32(2560), "attention.head_count": uint32(8), "attention.head_count_kv": uint32(4), "attention.key_length": uint32(256),
		"attention.sliding_window": uint32(1024), "rope.freq_base": float32(1e6), "rope.scaling.type": "linear", "rope.scaling.factor": float32(8),
		"attention.layer_norm_rms_epsilon": float32(1e-6), "context_length": uint32(131072),
	} {
		if got := keys["gemma3."+key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
}

// The factors of Llama 3.1: those of high frequencies are 1, of low ones the factor, and they grow between.
func TestLlama3Factors(t *testing.T) {
	r := rope{base: 5e5, kind: "llama3", factor: 8, low: 1, high: 4, original: 8192}
	got := r.llama3(128)
	if len(got) != 64 || got[0] != 1 || got[63] != 8 || !slices.IsSorted(got) {
		t.Errorf("%v", got)
	}
	// Of the 35th: wave = 2π·500000^(68/128), between 8192/4 and 8192.
	wave := 2 * math.Pi * math.Pow(5e5, 68.0/128)
	smooth := (8192/wave - 1) / 3
	if want := 1 / ((1-smooth)/8 + smooth); math.Abs(got[34]-want) > 1e-12 {
		t.Errorf("%v, want %v", got[34], want)
	}
}

// A PEFT folder, converted, is the adapter.
func TestAdapter(t *testing.T) {
	base, err := gguf.Open(gguftest.Model(1).Write(t, "base.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	want := gguftest.Adapter(3)
	for name, c := range map[string]struct {
		config map[string]any
		alpha  float32
	}{
		"plain":  {nil, 8},
		"stable": {map[string]any{"use_rslora": true, "lora_alpha": 2.5}, 5}, // alpha over the root of the rank
		"half":   {map[string]any{"lora_alpha": 0.5}, 0.5},
	} {
		out := filepath.Join(t.TempDir(), "out.gguf")
		if err := Adapter(t.Context(), folder(t, peft(want, c.config)), out, base, Options{}); err != nil {
			t.Fatal(name, err)
		}
		f := same(t, out, want)
		if f.Metadata["adapter.lora.alpha"] != c.alpha || f.String("general.base_model.0.name") != "Base" {
			t.Errorf("%s: alpha %v, for %v", name, f.Metadata["adapter.lora.alpha"], f.Metadata["general.base_model.0.name"])
		}
	}
}

// Where modules have an alpha of their own, the second factor makes up for the one alpha of a GGUF file.
func TestAdapterPatterns(t *testing.T) {
	base, err := gguf.Open(gguftest.Model(1).Write(t, "base.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	want := gguftest.Adapter(3)
	files := peft(want, map[string]any{"alpha_pattern": map[string]any{"v_proj": 16}})
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := Adapter(t.Context(), folder(t, files), out, base, Options{}); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	alpha := float64(f.Metadata["adapter.lora.alpha"].(float32))
	for _, w := range want.Tensors {
		if !strings.HasSuffix(w.Name, "lora_b") {
			continue
		}
		strength := 8.0
		if strings.Contains(w.Name, "attn_v") {
			strength = 16
		}
		got, _ := f.Tensor(w.Name)
		for i, v := range tensorValues(t, out, f.Data+int64(got.Offset), len(w.Values)) {
			if math.Abs(float64(v)*alpha-float64(w.Values[i])*strength) > 1e-5 {
				t.Fatalf("%s: %v times %v, want %v times %v", w.Name, v, alpha, w.Values[i], strength)
			}
		}
	}
}

func TestAdapterRefuses(t *testing.T) {
	base, err := gguf.Open(gguftest.Model(1).Write(t, "base.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(files map[string]any)
		say    string
	}{
		"another kind": {set("adapter_config.json", "peft_type", "LOHA"), "merge_and_unload"},
		"DoRA":         {set("adapter_config.json", "use_dora", true), "DoRA"},
		"biases":       {set("adapter_config.json", "bias", "all"), "biases"},
		"a whole layer": {func(f map[string]any) {
			f["adapter_model.safetensors"] = safetensors(map[string]weights{"base_model.model.lm_head.weight": {shape: []uint64{1, 1}, values: []float32{1}}})
		}, "changes \"base_model.model.lm_head.weight\" as a whole"},
		"another model": {func(f map[string]any) {
			f["adapter_model.safetensors"] = safetensors(map[string]weights{"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": {shape: []uint64{1, 64}, values: make([]float32, 64)}})
		}, "another model"},
		"a pickle": {func(f map[string]any) { delete(f, "adapter_model.safetensors"); f["adapter_model.bin"] = []byte("x") }, "safe_serialization"},
		"one factor": {func(f map[string]any) {
			f["adapter_model.safetensors"] = safetensors(map[string]weights{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": {shape: []uint64{4, 64}, values: make([]float32, 256)}})
		}, "one factor"},
		"another width": {func(f map[string]any) {
			f["adapter_model.safetensors"] = safetensors(map[string]weights{
				"base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight": {shape: []uint64{4, 32}, values: make([]float32, 128)},
				"base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight": {shape: []uint64{64, 4}, values: make([]float32, 256)},
			})
		}, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			files := peft(gguftest.Adapter(3), nil)
			c.change(files)
			err := Adapter(t.Context(), folder(t, files), filepath.Join(t.TempDir(), "out.gguf"), base, Options{})
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v, want %q", err, c.say)
			}
		})
	}
}

// The end of a context ends a conversion.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Model(ctx, folder(t, llama(t, gguftest.Model(1))), filepath.Join(t.TempDir(), "out.gguf"), Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A conversion is done once for each content, and one that fails leaves nothing.
func TestCache(t *testing.T) {
	dir := folder(t, llama(t, gguftest.Model(1)))
	runs, fail := 0, error(nil)
	free := int64(1 << 40)
	c := &Cache{
		Folder: filepath.Join(t.TempDir(), "converted"), Free: func(string) (int64, error) { return free, nil },
		Sum: func(_ context.Context, path string) (string, error) {
			data, err := os.ReadFile(path)
			return fmt.Sprint(len(data), string(data[:min(len(data), 2000)])), err
		},
		Run: func(_ context.Context, _ Job, out string) error {
			runs++
			return errors.Join(os.WriteFile(out, []byte("model"), 0o644), fail)
		},
	}
	get := func(job Job) string {
		t.Helper()
		path, err := c.Get(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := get(Job{Dir: dir})
	if again := get(Job{Dir: dir}); again != first || runs != 1 || !strings.HasPrefix(filepath.Base(first), "model-") {
		t.Errorf("%s, then %s, in %d runs", first, again, runs)
	}
	if small := get(Job{Dir: dir, Quantize: "q8_0"}); small == first || !strings.Contains(small, "q8_0") {
		t.Errorf("quantised: %s", small)
	}
	put(t, dir, "chat_template.jinja", []byte("other"))
	if other := get(Job{Dir: dir}); other == first || runs != 3 {
		t.Errorf("another template: %s after %d runs", other, runs)
	}
	put(t, dir, "chat_template.jinja", []byte("a third"))
	fail = errors.New("it ended")
	if _, err := c.Get(t.Context(), Job{Dir: dir}); err == nil || !strings.Contains(err.Error(), "it ended") {
		t.Errorf("%v", err)
	}
	fail, free = nil, 1000
	if _, err := c.Get(t.Context(), Job{Dir: dir}); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "MB left") {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Folder, "*")); len(left) != 3 {
		t.Errorf("left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Folder, ".converting-*")); left != nil {
		t.Errorf("left: %v", left)
	}
}

// FuzzHead: whatever a file says, reading its head ends, with tensors that lie inside it.
func FuzzHead(f *testing.F) {
	f.Add(safetensors(map[string]weights{"a": {shape: []uint64{2, 2}, values: make([]float32, 4)}}))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := readHead(strings.NewReader(string(data)), int64(len(data)))
		if err != nil {
			return
		}
		for _, s := range tensors {
			if n, ok := product(s.shape); !ok || s.offset < 8 || s.offset+s.size > int64(len(data)) || int64(n)*s.dtype.size != s.size {
				t.Fatalf("%+v in %d bytes", s, len(data))
			}
		}
	})
}

// The rows of GPT-NeoX's query, key and value lie head by head in transformers, and it has no groups of heads whatever its
// configuration says.
func TestGPTNeoX(t *testing.T) {
	const width, heads = 8, 2
	rows := make([]float32, 3*width*width) // row i holds i
	for i := range rows {
		rows[i] = float32(i / width)
	}
	files := llama(t, gguftest.Model(1))
	set("config.json", "architectures", []string{"GPTNeoXForCausalLM"})(files)
	for key, value := range map[string]any{"hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": heads, "num_key_value_heads": 1, "layer_norm_eps": 1e-5, "rotary_pct": 0.5} {
		set("config.json", key, value)(files)
	}
	layer, vector := "gpt_neox.layers.0.", func(n uint64) weights { return weights{shape: []uint64{n}, values: make([]float32, n)} }
	files["model.safetensors"] = safetensors(map[string]weights{
		"gpt_neox.embed_in.weight": {shape: []uint64{275, width}, values: make([]float32, 275*width)}, "gpt_neox.final_layer_norm.weight": vector(width),
		layer + "attention.query_key_value.weight": {shape: []uint64{3 * width, width}, values: rows}, layer + "attention.query_key_value.bias": vector(3 * width),
		layer + "attention.bias": vector(1), layer + "attention.rotary_emb.inv_freq": vector(1),
	})
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := Model(t.Context(), folder(t, files), out, Options{}); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := f.Tensor("blk.0.attn_qkv.weight")
	var got []float32
	for i, v := range tensorValues(t, out, f.Data+int64(w.Offset), len(rows)) {
		if i%width == 0 {
			got = append(got, v)
		}
	}
	// Head 0 has rows 0 to 11, four each of query, key and value; head 1 the others.
	want := []float32{0, 1, 2, 3, 12, 13, 14, 15, 4, 5, 6, 7, 16, 17, 18, 19, 8, 9, 10, 11, 20, 21, 22, 23}
	if !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	if len(f.Tensors) != 4 || f.Metadata["gptneox.attention.head_count_kv"] != uint32(heads) || f.Metadata["gptneox.rope.dimension_count"] != uint32(2) {
		t.Errorf("%d tensors, %v groups, %v dimensions", len(f.Tensors), f.Metadata["gptneox.attention.head_count_kv"], f.Metadata["gptneox.rope.dimension_count"])
	}
}

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"realign/internal/gguf"
	"realign/internal/pair/fetch/fetchtest"
)

// tensors is a safetensors file of numbers in 32 bits, all of a value.
func tensors(t *testing.T, value float32, shapes map[string][]int) []byte {
	t.Helper()
	head, data := map[string]any{}, []byte{}
	for name, shape := range shapes {
		n, from := 1, len(data)
		for _, d := range shape {
			n *= d
		}
		for i := range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value+float32(i%7)/100))
		}
		head[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{from, len(data)}}
	}
	text, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...)
}

// smallQwen is a repository of a model of one layer whose tokenizer has the 256 bytes and an end.
func smallQwen(t *testing.T) map[string][]byte {
	t.Helper()
	const width, inner, tokens = 16, 32, 257
	files := map[string]any{
		"config.json": map[string]any{
			"architectures": []string{"Qwen2ForCausalLM"}, "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": 2,
			"num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "vocab_size": tokens, "rope_theta": 1e6,
		},
		"tokenizer_config.json": map[string]any{"eos_token": "<|end|>", "chat_template": "{{ messages[0].content }}"},
	}
	vocabulary, letter := map[string]int{}, rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r = letter
			letter++
		}
		vocabulary[string(r)] = b
	}
	pattern := `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	files["tokenizer.json"] = map[string]any{
		"added_tokens": []any{map[string]any{"id": 256, "content": "<|end|>", "special": true}},
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Split", "pattern": map[string]any{"Regex": pattern}, "behavior": "Isolated"},
			map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
		}},
		"model": map[string]any{"type": "BPE", "vocab": vocabulary, "merges": []any{}},
	}
	out := map[string][]byte{}
	for name, content := range files {
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = data
	}
	layer := "model.layers.0."
	shapes := map[string][]int{
		"model.embed_tokens.weight": {tokens, width}, "model.norm.weight": {width}, "lm_head.weight": {tokens, width},
		layer + "input_layernorm.weight": {width}, layer + "post_attention_layernorm.weight": {width},
		layer + "mlp.gate_proj.weight": {inner, width}, layer + "mlp.up_proj.weight": {inner, width}, layer + "mlp.down_proj.weight": {width, inner},
	}
	for _, name := range []string{"q", "k", "v", "o"} {
		shapes[layer+"self_attn."+name+"_proj.weight"] = []int{width, width}
		if name != "o" {
			shapes[layer+"self_attn."+name+"_proj.bias"] = []int{width}
		}
	}
	out["model.safetensors"] = tensors(t, 0.1, shapes)
	return out
}

// trained is what TRL's trainer leaves beside other things: a PEFT adapter.
func trained(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dpo-out")
	write(t, filepath.Join(dir, "adapter_config.json"), []byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"bias":"none","base_model_name_or_path":"org/Small-Instruct"}`))
	write(t, filepath.Join(dir, "adapter_model.safetensors"), tensors(t, 0.2, map[string][]int{
		"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": {2, 16}, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": {16, 2},
	}))
	write(t, filepath.Join(dir, "training_args.bin"), []byte("a pickle"))
	return dir
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFolders: a repository of safetensors and a PEFT folder are a pair in one line, in a process of its own for each
// conversion, and are not converted twice.
func TestFolders(t *testing.T) {
	for _, key := range []string{"HOME", "HF_HUB_CACHE", "OLLAMA_MODELS", "REALIGN_MODELS", "REALIGN_DATA"} {
		t.Setenv(key, t.TempDir())
	}
	t.Setenv("HF_TOKEN", "")
	s := fetchtest.New(t)
	s.Repositories["org/Small-Instruct"] = smallQwen(t)
	t.Setenv("HF_ENDPOINT", s.URL)
	if code, _, bad := runCommand(t, "", "pairs", "pull", "hf:org/Small-Instruct"); code != 0 {
		t.Fatal(bad)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	apart := func(args ...string) (int, string, string) {
		var out, bad bytes.Buffer
		code := Run(t.Context(), args, env{stdin: strings.NewReader(""), stdout: &out, stderr: &bad, open: openTable, engine: func() string { return "table" }, program: program})
		return code, out.String(), bad.String()
	}
	adapter := trained(t)
	line := []string{"pairs", "add", "mine", "--reference", "hf:org/Small-Instruct", "--adapter", "warm=" + adapter + ",beta=0.1,scale=0.5"}
	if code, out, bad := apart(line...); code != 0 || out != "added mine: warm\n" {
		t.Fatalf("code %d, %q, %q", code, out, bad)
	}
	code, out, bad := apart("pairs", "show", "mine", "--json")
	var shown struct {
		Reference struct{ File string }
		Aligned   []struct {
			Adapter     string
			Beta, Scale float64
		}
		Findings map[string][]gguf.Finding
	}
	if err := json.Unmarshal([]byte(out), &shown); code != 0 || err != nil || len(shown.Aligned) != 1 {
		t.Fatalf("code %d, %q, %v", code, bad, err)
	}
	a := shown.Aligned[0]
	if a.Beta != 0.1 || a.Scale != 0.5 || len(shown.Findings["warm"]) != 2 || shown.Findings["warm"][1].Text != "scale 0.5 multiplies that strength" {
		t.Errorf("%+v", shown)
	}
	head, err := gguf.Open(shown.Reference.File)
	if err != nil || head.String("general.name") != "Small-Instruct" || head.Architecture() != "qwen2" {
		t.Errorf("%v, %v", err, head)
	}
	before := converted(t)
	if len(before) != 2 || !slices.Contains(before, filepath.Base(a.Adapter)) {
		t.Errorf("converted: %v, and the adapter is %s", before, a.Adapter)
	}
	if code, _, bad := apart("decode", "--prompt", "abc", "--max-tokens", "2", "--reference", "hf:org/small-instruct", "--adapter", "warm="+adapter); code != 0 {
		t.Errorf("code %d, %q", code, bad)
	}
	if now := converted(t); !slices.Equal(now, before) {
		t.Errorf("converted again: %v", now)
	}

	file := filepath.Join(t.TempDir(), "out.gguf")
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"convert", "hf:org/Small-Instruct", "--out", file}, 0, ""},
		{[]string{"convert", adapter, "--out", file}, 2, "--base"},
		{[]string{"convert", adapter, "--out", file, "--base", file}, 0, ""},
		{[]string{"convert", adapter, "--out", file, "--base", "/none.gguf"}, 3, "no such file"},
		{[]string{"convert", "hf:org/Small-Instruct", "--out", file, "--quantize", "q8_0"}, 7, "without llama.cpp"},
		{[]string{"pairs", "add", "x", "--reference", adapter, "--adapter", "a=" + adapter}, 2, "--reference: " + adapter + " is an adapter"},
		{[]string{"pairs", "add", "x", "--reference", "hf:org/Small-Instruct", "--aligned", "a=" + adapter}, 2, "--aligned: " + adapter + " is an adapter"},
		{[]string{"pairs", "add", "x", "--reference", "hf:org/Small-Instruct", "--aligned", "a=" + t.TempDir()}, 2, "holds no weights"},
		{[]string{"pairs", "add", "x", "--reference", file, "--aligned", "a=" + file + ",scale=2"}, 2, "scale"},
	} {
		if code, _, bad := apart(c.args...); code != c.code || !strings.Contains(bad, c.say) || strings.Count(bad, "\n") > 1 {
			t.Errorf("%v: code %d, %q, want %d, %q", c.args, code, bad, c.code, c.say)
		}
	}
}

// converted lists what was converted.
func converted(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(os.Getenv("REALIGN_DATA"), "converted"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

package gguf_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
)

func read(t *testing.T, f *gguftest.File) *gguf.File {
	t.Helper()
	data := f.Bytes()
	file, err := gguf.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRead(t *testing.T) {
	file := read(t, gguftest.Model(1))
	if err := file.CheckModel(); err != nil {
		t.Fatal(err)
	}
	if got := file.Architecture(); got != "llama" {
		t.Errorf("architecture is %q", got)
	}
	if n, ok := file.Integer("llama.context_length"); !ok || n != gguftest.Context {
		t.Errorf("context length is %d, %v", n, ok)
	}
	w, ok := file.Tensor("blk.1.ffn_down.weight")
	if !ok || w.Shape != [4]uint64{96, 64, 1, 1} || w.Bytes != 96*64*4 || w.Type != gguf.F32 {
		t.Errorf("tensor is %+v, %v", w, ok)
	}
	if !strings.Contains(file.ChatTemplate(), "im_start") {
		t.Errorf("template is %q", file.ChatTemplate())
	}
}

func TestOpenErrors(t *testing.T) {
	whole := gguftest.Model(1).Bytes()
	version := slices.Clone(whole)
	binary.LittleEndian.PutUint32(version[4:], 99)
	tensors := slices.Clone(whole)
	binary.LittleEndian.PutUint64(tensors[8:], 1<<60)
	keys := slices.Clone(whole)
	binary.LittleEndian.PutUint64(keys[16:], 1<<60)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":     {nil, "not a GGUF file"},
		"magic":     {append([]byte("PK\x03\x04"), whole[4:]...), "not a GGUF file"},
		"version":   {version, "version 99"},
		"tensors":   {tensors, "tensors"},
		"keys":      {keys, "metadata keys"},
		"head":      {whole[:500], "truncated"},
		"weights":   {whole[:len(whole)-1000], "truncated"},
		"one byte":  {whole[:len(whole)-1], "truncated"},
		"text file": {[]byte("hello, this is not a model"), "not a GGUF file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := gguftest.WriteBytes(t, "broken.gguf", c.data)
			_, err := gguf.Open(path)
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error is %v", err)
			}
		})
	}
	if _, err := gguf.Open(t.TempDir() + "/none.gguf"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("error for no file is %v", err)
	}
	if _, err := gguf.Open(t.TempDir()); fault.KindOf(err) != fault.Invalid {
		t.Errorf("error for a folder is %v", err)
	}
}

// Every cut of a file is refused, without a panic.
func TestEveryTruncation(t *testing.T) {
	whole := gguftest.Model(1).Bytes()
	for n := 0; n < len(whole)-1; n += 1 + n/97 {
		if _, err := gguf.Read(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Fatalf("a file cut to %d of %d bytes was accepted", n, len(whole))
		}
	}
}

func TestCheckModel(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(*gguftest.File)
		want    string
	}{
		"no vocabulary":   {func(f *gguftest.File) { f.Remove("tokenizer.ggml.tokens") }, "no vocabulary"},
		"tokens not text": {func(f *gguftest.File) { f.Set("tokenizer.ggml.tokens", uint32(3)) }, "no vocabulary"},
		"token twice": {func(f *gguftest.File) {
			f.Get("tokenizer.ggml.tokens").([]string)[7] = "a"
		}, `both "a"`},
		"types short":      {func(f *gguftest.File) { f.Set("tokenizer.ggml.token_type", []int32{1, 2}) }, "token_type"},
		"scores short":     {func(f *gguftest.File) { f.Set("tokenizer.ggml.scores", []float32{1}) }, "scores"},
		"merges not texts": {func(f *gguftest.File) { f.Set("tokenizer.ggml.merges", uint32(1)) }, "merges"},
		"special too big":  {func(f *gguftest.File) { f.Set("tokenizer.ggml.eos_token_id", uint32(1<<20)) }, "eos_token_id"},
		"no architecture":  {func(f *gguftest.File) { f.Remove("general.architecture") }, "architecture"},
		"no heads":         {func(f *gguftest.File) { f.Set("llama.attention.head_count", uint32(0)) }, "head_count"},
		"adapter":          {func(f *gguftest.File) { f.Set("general.type", "adapter") }, "adapter"},
		"split":            {func(f *gguftest.File) { f.Set("split.count", uint32(3)) }, "3 parts"},
		"no weights":       {func(f *gguftest.File) { f.Tensors = nil }, "no weights"},
		"template":         {func(f *gguftest.File) { f.Set("tokenizer.chat_template", uint32(3)) }, "chat_template"},

		// What llama.cpp ends the process on.
		"alignment":            {func(f *gguftest.File) { f.Set("general.alignment", uint32(8)) }, "general.alignment is 8"},
		"too many experts":     {func(f *gguftest.File) { f.Set("llama.expert_count", uint32(513)) }, "expert_count"},
		"no expert used":       {func(f *gguftest.File) { f.Set("llama.expert_count", uint32(4)) }, "expert_used_count"},
		"experts out of none":  {func(f *gguftest.File) { f.Set("llama.expert_used_count", uint32(2)) }, "expert_used_count"},
		"groups of no experts": {func(f *gguftest.File) { f.Set("llama.expert_group_count", uint32(2)) }, "expert_group_count"},
		"no tokenizer":         {func(f *gguftest.File) { f.Set("tokenizer.ggml.model", "none") }, "no vocabulary"},
		"unknown tokenizer":    {func(f *gguftest.File) { f.Set("tokenizer.ggml.model", "gpt9") }, "tokenizer.ggml.model"},
		"another's tokenizer":  {func(f *gguftest.File) { f.Set("tokenizer.ggml.model", "llama") }, "byte 0x00"},
		"negative epsilon":     {func(f *gguftest.File) { f.Set("llama.attention.layer_norm_rms_epsilon", float32(-1)) }, "epsilon is -1"},
		"epsilon not a number": {func(f *gguftest.File) {
			f.Set("llama.attention.layer_norm_rms_epsilon", float32(math.NaN()))
		}, "epsilon is NaN"},
		"scaling":         {func(f *gguftest.File) { f.Set("llama.rope.scaling.type", "wide") }, "rope.scaling.type"},
		"odd rope":        {func(f *gguftest.File) { f.Set("llama.rope.dimension_count", uint32(15)) }, "rope.dimension_count"},
		"heads of floats": {func(f *gguftest.File) { f.Set("llama.attention.head_count", []float32{4, 4}) }, "head_count"},
		"groups of heads": {func(f *gguftest.File) { f.Set("llama.attention.head_count_kv", uint32(3)) }, "head_count"},
		"too many layers": {func(f *gguftest.File) { f.Set("llama.block_count", uint32(513)) }, "block_count"},
		"characters":      {func(f *gguftest.File) { f.Set("tokenizer.ggml.precompiled_charsmap", uint32(1)) }, "precompiled_charsmap"},
	} {
		t.Run(name, func(t *testing.T) {
			f := gguftest.Model(1)
			c.breakIt(f)
			err := read(t, f).CheckModel()
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestCompatible(t *testing.T) {
	reference := read(t, gguftest.Model(1))
	if err := gguf.Compatible(reference, read(t, gguftest.Model(2))); err != nil {
		t.Fatal(err)
	}
	list := func(f *gguftest.File, key string) []string { return f.Get(key).([]string) }
	for name, c := range map[string]struct {
		change func(*gguftest.File)
		want   []string
	}{
		"token": {func(f *gguftest.File) { list(f, "tokenizer.ggml.tokens")[100] = "xyz" }, []string{"token 100", `"xyz"`, `"a"`}},
		"merge": {func(f *gguftest.File) { list(f, "tokenizer.ggml.merges")[3] = "n i" }, []string{"merge 3", `"n i"`, `"i n"`}},
		"pre":   {func(f *gguftest.File) { f.Set("tokenizer.ggml.pre", "qwen2") }, []string{"tokenizer.ggml.pre", "qwen2", "smollm"}},
		"larger": {func(f *gguftest.File) {
			f.Set("tokenizer.ggml.tokens", append(list(f, "tokenizer.ggml.tokens"), "Ġin"))
			f.Set("tokenizer.ggml.merges", append(list(f, "tokenizer.ggml.merges"), "Ġ in"))
		}, []string{"276 tokens", "token 275", `"Ġin"`}},
		"smaller": {func(f *gguftest.File) {
			f.Set("tokenizer.ggml.tokens", list(f, "tokenizer.ggml.tokens")[:270])
		}, []string{"270 tokens", "token 270"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := gguftest.Model(2)
			c.change(f)
			err := gguf.Compatible(reference, read(t, f))
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("error is %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// What does not make mixing wrong is noted, and what is absent means what llama.cpp takes it for.
func TestNotes(t *testing.T) {
	reference := read(t, gguftest.Model(1))
	for name, c := range map[string]struct {
		change func(*gguftest.File)
		want   string // "" is nothing to note
	}{
		"nothing":     {func(*gguftest.File) {}, ""},
		"type":        {func(f *gguftest.File) { f.Get("tokenizer.ggml.token_type").([]int32)[2] = 1 }, "token 2"},
		"end":         {func(f *gguftest.File) { f.Set("tokenizer.ggml.eos_token_id", uint32(0)) }, "a lane ends at either"},
		"absent flag": {func(f *gguftest.File) { f.Remove("tokenizer.ggml.add_bos_token") }, ""},
		"other flag":  {func(f *gguftest.File) { f.Set("tokenizer.ggml.add_bos_token", true) }, "add_bos_token is true, not false"},
		"end of turn": {func(f *gguftest.File) { f.Set("tokenizer.ggml.eot_token_id", uint32(2)) }, ""},
		"minus one":   {func(f *gguftest.File) { f.Set("tokenizer.ggml.eom_token_id", uint32(math.MaxUint32)) }, ""},
		"template":    {func(f *gguftest.File) { f.Set("tokenizer.chat_template", "x") }, "chat template"},
		"no template": {func(f *gguftest.File) { f.Remove("tokenizer.chat_template") }, "only the reference has a chat template"},
		"context":     {func(f *gguftest.File) { f.Set("llama.context_length", uint32(1024)) }, "1024 tokens"},
		"padded":      {func(f *gguftest.File) { f.AddToken("[PAD275]", 5) }, "what is mixed is the 275 that both have"},
	} {
		t.Run(name, func(t *testing.T) {
			f := gguftest.Model(2)
			c.change(f)
			aligned := read(t, f)
			if err := aligned.CheckModel(); err != nil {
				t.Fatal(err)
			}
			findings := gguf.Compare(reference, aligned)
			if c.want == "" && len(findings) > 0 || c.want != "" && (len(findings) != 1 || findings[0].Level != gguf.Note || !strings.Contains(findings[0].Text, c.want)) {
				t.Errorf("findings are %v, want %q", findings, c.want)
			}
			if err := gguf.Compatible(reference, aligned); err != nil {
				t.Error(err)
			}
		})
	}
}

// Scores of pieces and types of weights are noted: whether texts become other tokens is for the tokenizers to show.
func TestScoresAndTypesAreNoted(t *testing.T) {
	sentencePiece := func(score float32) *gguf.File {
		f := gguftest.Model(1)
		scores := make([]float32, len(f.Get("tokenizer.ggml.tokens").([]string)))
		scores[9] = score
		f.Set("tokenizer.ggml.model", "llama")
		f.Set("tokenizer.ggml.scores", scores)
		f.Remove("tokenizer.ggml.merges")
		return read(t, f)
	}
	reference, aligned := sentencePiece(0), sentencePiece(-1000)
	for i := range aligned.Tensors {
		aligned.Tensors[i].Type = gguf.F16
	}
	findings := gguf.Compare(reference, aligned)
	if len(findings) != 2 || findings[0].Level != gguf.Note || !strings.Contains(findings[0].Text, "has score -1000, not 0") || findings[1].Text != "most of its weights are F16, the reference's F32" {
		t.Errorf("%+v", findings)
	}
}

func TestCheckAdapter(t *testing.T) {
	base := read(t, gguftest.Model(1))
	if err := gguf.CheckAdapter(base, read(t, gguftest.Adapter(1))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*gguftest.File)
		want   string
	}{
		"model":        {func(f *gguftest.File) { f.Set("general.type", "model") }, "not an adapter"},
		"kind":         {func(f *gguftest.File) { f.Set("adapter.type", "ia3") }, "ia3"},
		"architecture": {func(f *gguftest.File) { f.Set("general.architecture", "qwen2") }, "qwen2"},
		"alpha":        {func(f *gguftest.File) { f.Set("adapter.lora.alpha", uint32(4)) }, "alpha"},
		"half":         {func(f *gguftest.File) { f.Tensors = f.Tensors[1:] }, "but not"},
		"unknown":      {func(f *gguftest.File) { f.Tensors[0].Name = "blk.9.attn_q.weight.lora_a" }, "does not have"},
		"norm":         {func(f *gguftest.File) { f.Tensors[0].Name = "blk.0.attn_norm.weight" }, "as a whole"},
		"shape":        {func(f *gguftest.File) { f.Tensors[0].Shape = []uint64{32, 8} }, "does not fit"},
		"embedding":    {func(f *gguftest.File) { f.Tensors[0].Name = "token_embd.weight.lora_a" }, "output layer"},
		"none":         {func(f *gguftest.File) { f.Tensors = nil }, "no weights"},
	} {
		t.Run(name, func(t *testing.T) {
			f := gguftest.Adapter(1)
			c.change(f)
			err := gguf.CheckAdapter(base, read(t, f))
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

// FuzzRead feeds the reader broken files: it must neither panic nor reserve much more than it was given.
func FuzzRead(f *testing.F) {
	model := gguftest.Model(1)
	model.Tensors = model.Tensors[:1]
	model.Tensors[0].Shape, model.Tensors[0].Values = []uint64{4, 2}, make([]float32, 8)
	f.Add(model.Bytes())
	adapter := gguftest.Adapter(1)
	adapter.Tensors = adapter.Tensors[:2]
	f.Add(adapter.Bytes())
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		_ = file.CheckModel()
		_ = gguf.CheckAdapter(file, file)
		if file.CheckModel() == nil {
			if err := gguf.Compatible(file, file); err != nil {
				t.Errorf("a file does not fit itself: %v", err)
			}
		}
	})
}

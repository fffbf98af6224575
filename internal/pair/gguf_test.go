package pair

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realign/internal/fault"
)

// file builds a small GGUF file.
type file struct {
	bytes.Buffer
}

func (f *file) put(values ...any) *file {
	for _, v := range values {
		switch v := v.(type) {
		case string:
			binary.Write(f, binary.LittleEndian, uint64(len(v)))
			f.WriteString(v)
		case []string:
			f.put(uint32(8), uint64(len(v)))
			for _, s := range v {
				f.put(s)
			}
		default:
			binary.Write(f, binary.LittleEndian, v)
		}
	}
	return f
}

func model(tokens ...string) []byte {
	f := &file{}
	f.WriteString("GGUF")
	f.put(uint32(3), uint64(1), uint64(5))
	f.put("general.architecture", uint32(8), "llama")
	f.put("tokenizer.ggml.model", uint32(8), "gpt2")
	f.put("tokenizer.ggml.tokens", uint32(9), tokens)
	f.put("tokenizer.ggml.eos_token_id", uint32(4), uint32(1))
	f.put("some.float", uint32(6), float32(1))
	f.put("blk.0.attn_q.weight", uint32(2), uint64(4), uint64(6), uint32(0), uint64(0))
	for f.Len()%32 != 0 {
		f.WriteByte(0)
	}
	f.Write(make([]byte, 4*6*4))
	return f.Bytes()
}

func adapter(in, out uint64) []byte {
	f := &file{}
	f.WriteString("GGUF")
	f.put(uint32(3), uint64(2), uint64(2))
	f.put("general.architecture", uint32(8), "llama", "general.type", uint32(8), "adapter")
	f.put("blk.0.attn_q.weight.lora_a", uint32(2), in, uint64(1), uint32(0), uint64(0))
	f.put("blk.0.attn_q.weight.lora_b", uint32(2), uint64(1), out, uint32(0), uint64(32))
	f.Write(make([]byte, 256))
	return f.Bytes()
}

func TestHeader(t *testing.T) {
	whole := model("a", "b", "c")
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := ReadHeader(path)
	if err != nil {
		t.Fatal(err)
	}
	if h.Architecture != "llama" || len(h.Tokens) != 3 || h.Special["tokenizer.ggml.eos_token_id"] != 1 || len(h.Tensors) != 1 {
		t.Errorf("%+v", h)
	}
	for n := range whole {
		if _, err := ParseHeader(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Fatalf("a file cut off after %d of %d bytes was accepted", n, len(whole))
		}
	}
	os.WriteFile(path, []byte("GGML and so on"), 0o644)
	if _, err := ReadHeader(path); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "not a GGUF") {
		t.Errorf("wrong magic: %v", err)
	}
}

func TestCompatible(t *testing.T) {
	read := func(data []byte) *Header {
		h, err := ParseHeader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	base := read(model("a", "b", "c"))
	for _, test := range []struct {
		name    string
		aligned *Header
		want    string // part of the error; "" for none
	}{
		{"itself", base, ""},
		{"a token", read(model("a", "x", "c")), `token 1 differs: "b" and "x"`},
		{"a longer vocabulary", read(model("a", "b", "c", "d")), "3 and 4 entries"},
		{"adapter", read(adapter(4, 6)), ""},
		{"adapter of another size", read(adapter(4, 7)), "does not fit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Compatible(base, test.aligned)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(model("a", "b"))
	f.Add(adapter(4, 6))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ParseHeader(bytes.NewReader(data), int64(len(data)))
		if (h == nil) == (err == nil) {
			t.Fatal("either a header or an error")
		}
		if h != nil {
			_ = Compatible(h, h) // must not panic
		}
	})
}

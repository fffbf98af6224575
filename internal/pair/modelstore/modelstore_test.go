package modelstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/filecache"
	"realign/internal/gguf/gguftest"
)

// home is a user's folder with stores in it.
type home struct {
	t   testing.TB
	dir string
	env map[string]string
}

func newHome(t testing.TB) *home { return &home{t, t.TempDir(), map[string]string{}} }

func (h *home) write(path string, data []byte) string {
	h.t.Helper()
	path = filepath.Join(h.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func (h *home) link(target, path string) {
	h.t.Helper()
	path = filepath.Join(h.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		h.t.Fatal(err)
	}
}

// ollama puts a manifest with layers (media type, data) into Ollama's store.
func (h *home) ollama(manifest string, layers ...any) {
	type layer struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	var all []layer
	for i := 0; i < len(layers); i += 2 {
		data := layers[i+1].([]byte)
		sum := sha256.Sum256(data)
		digest := hex.EncodeToString(sum[:])
		h.write(".ollama/models/blobs/sha256-"+digest, data)
		all = append(all, layer{layers[i].(string), "sha256:" + digest, len(data)})
	}
	data, err := json.Marshal(map[string]any{"schemaVersion": 2, "layers": all})
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(".ollama/models/manifests/"+manifest, data)
}

// hub puts a file into the Hugging Face cache: a blob and a link to it.
func (h *home) hub(repository, commit, file string, data []byte) {
	dir := ".cache/huggingface/hub/models--" + strings.Replace(repository, "/", "--", 1)
	sum := sha256.Sum256(data)
	blob := hex.EncodeToString(sum[:])
	h.write(dir+"/blobs/"+blob, data)
	up := strings.Repeat("../", 2+strings.Count(file, "/"))
	h.link(up+"blobs/"+blob, dir+"/snapshots/"+commit+"/"+file)
	h.write(dir+"/refs/main", []byte(commit))
}

func (h *home) scan() Listing {
	h.t.Helper()
	l, err := Scan(context.Background(), h.stores(), filecache.Open[Remembered](""))
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func (h *home) stores(folders ...string) []Store {
	return Stores(func(key string) string { return h.env[key] }, h.dir, folders...)
}

func (l Listing) names() []string {
	names := make([]string, len(l.Models))
	for i, m := range l.Models {
		names[i] = m.Name
	}
	return names
}

func model(seed uint64) []byte { return gguftest.Model(seed).Bytes() }

// split is a model cut into parts as llama.cpp names them; only the first has a head worth reading.
func (h *home) split(dir, name string, parts int) {
	first := gguftest.Model(9)
	first.Set("split.count", uint32(parts))
	for i := 1; i <= parts; i++ {
		data := first.Bytes()
		if i > 1 {
			data = []byte("GGUF, but only the first part is opened")
		}
		h.write(fmt.Sprintf("%s/%s-%05d-of-%05d.gguf", dir, name, i, parts), data)
	}
}

func TestEveryStoreIsScanned(t *testing.T) {
	h := newHome(t)
	adapter := gguftest.Adapter(3).Bytes()
	h.ollama("registry.ollama.ai/library/tiny/latest", ollamaModel, model(1), "application/vnd.ollama.image.license", []byte("MIT"))
	h.ollama("registry.ollama.ai/me/tuned/v2", ollamaModel, model(1), ollamaAdapter, adapter)
	h.ollama("hf.co/org/repo/Q8_0", ollamaModel, model(2))
	h.ollama("registry.ollama.ai/library/mlx/latest", ollamaTensor, []byte("x"))
	h.hub("org/base", "aaaa", "base-Q8_0.gguf", model(4))
	h.hub("org/base", "aaaa", "sub/base-F16.gguf", model(5))
	h.hub("org/folder", "bbbb", "config.json", []byte(`{"architectures":["LlamaForCausalLM"],"max_position_embeddings":2048}`))
	h.hub("org/folder", "bbbb", "model.safetensors", []byte("weights"))
	h.hub("org/lora", "cccc", "adapter_config.json", []byte(`{"base_model_name_or_path":"org/folder"}`))
	h.hub("org/lora", "cccc", "adapter_model.safetensors", []byte("weights"))
	h.write(".cache/llama.cpp/org_old_old-q4_k_m.gguf", model(6))
	h.write(".cache/llama.cpp/manifest=org=old=Q4.json", []byte("{}"))
	h.write(".lmstudio/models/publisher/model/file.gguf", model(7))
	h.write(".lmstudio/models/ignored.gguf", model(8)) // not two folders deep
	h.split(".lmstudio/models/publisher/large", "large", 3)
	h.write(".lmstudio/models/publisher/model/mmproj.gguf", func() []byte {
		f := gguftest.Model(1)
		f.Set("general.architecture", "clip")
		return f.Bytes()
	}())

	l := h.scan()
	at := func(p string) string { return filepath.Join(h.dir, filepath.FromSlash(p)) }
	want := []string{
		at(".cache/llama.cpp/org_old_old-q4_k_m.gguf"),
		at(".lmstudio/models/publisher/large/large-00001-of-00003.gguf"),
		at(".lmstudio/models/publisher/model/file.gguf"),
		"hf:org/base:base-Q8_0.gguf", "hf:org/base:sub/base-F16.gguf", "hf:org/folder", "hf:org/lora",
		"ollama:hf.co/org/repo:Q8_0", "ollama:me/tuned:v2", "ollama:me/tuned:v2#adapter", "ollama:tiny:latest",
	}
	slices.Sort(want)
	if got := l.names(); !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(l.Broken) != 1 || !strings.Contains(l.Broken[0].Reason, "single tensors") {
		t.Errorf("broken: %+v", l.Broken)
	}
	for _, m := range l.Models {
		switch {
		case m.Parts == 3:
			if m.Size <= int64(len(model(9))) {
				t.Errorf("a split model's size is %d", m.Size)
			}
		case m.Name == "ollama:me/tuned:v2#adapter":
			if !m.Adapter || m.Base != "ollama:me/tuned:v2" {
				t.Errorf("adapter: %+v", m)
			}
		case m.Format == GGUF && !m.Adapter && (m.Tokenizer == "" || m.Architecture != "llama" || m.Tokens == 0 || m.Parameters == 0 || m.Context != gguftest.Context):
			t.Errorf("%s: %+v", m.Name, m.Head)
		}
	}
}

func TestOtherPlacesOfStores(t *testing.T) {
	h := newHome(t)
	for key, dir := range map[string]string{"OLLAMA_MODELS": "o", "HF_HOME": "hf", "LLAMA_CACHE": "l"} {
		h.env[key] = filepath.Join(h.dir, dir)
	}
	h.write("hf/hub/models--a--b/snapshots/c/x.gguf", model(1))
	h.write("l/y.gguf", model(2))
	if got := h.scan().names(); len(got) != 2 || got[1] != "hf:a/b:x.gguf" {
		t.Errorf("found %v", got)
	}
	h.env["HF_HUB_CACHE"] = filepath.Join(h.dir, "elsewhere") // does not exist: HF_HOME's is not taken for it
	if got := h.scan().names(); len(got) != 1 {
		t.Errorf("found %v", got)
	}
}

// A scan stays inside of a store and opens nothing but what may be a model; what is broken is listed.
func TestScanStaysInside(t *testing.T) {
	h := newHome(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret.gguf"), model(1), 0o600); err != nil {
		t.Fatal(err)
	}
	h.link(filepath.Join(outside, "secret.gguf"), "models/linked.gguf")
	h.link(outside, "models/folder")
	h.link("../../../../../../etc/passwd", "models/passwd.gguf")
	h.link("loop.gguf", "models/loop.gguf")
	h.write("models/cut.gguf", model(1)[:100])
	h.write("models/text.gguf", []byte("not a model"))
	h.write("models/part-00001-of-00002.gguf", model(2))
	h.write("models/good.gguf", model(3))
	h.write("models/notes.txt", []byte("nothing"))
	h.write("models/.hidden/x.gguf", model(3))
	l, err := Scan(context.Background(), []Store{{Folder, filepath.Join(h.dir, "models")}}, filecache.Open[Remembered](""))
	if err != nil {
		t.Fatal(err)
	}
	if got := l.names(); len(got) != 1 || filepath.Base(got[0]) != "good.gguf" {
		t.Errorf("found %v", got)
	}
	var broken []string
	for _, b := range l.Broken {
		broken = append(broken, filepath.Base(b.Path))
		if b.Reason == "" || strings.Contains(b.Reason, "root:x") {
			t.Errorf("%s: %q", b.Path, b.Reason)
		}
	}
	if want := []string{"cut.gguf", "linked.gguf", "loop.gguf", "part-00001-of-00002.gguf", "passwd.gguf", "text.gguf"}; !slices.Equal(broken, want) {
		t.Errorf("broken: %v, want %v", broken, want)
	}
}

// A file that did not change is not opened again.
func TestHeadsAreRemembered(t *testing.T) {
	h := newHome(t)
	path := h.write("models/a.gguf", model(1))
	cache := filepath.Join(h.dir, "heads.json")
	stores := []Store{{Folder, filepath.Join(h.dir, "models")}}
	first, err := Scan(context.Background(), stores, filecache.Open[Remembered](cache))
	if err != nil || len(first.Models) != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// Other bytes, but as long and as old: only a cache gives the old answer.
	if err := os.WriteFile(path, make([]byte, info.Size()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	second, err := Scan(context.Background(), stores, filecache.Open[Remembered](cache))
	if err != nil || len(second.Models) != 1 || second.Models[0] != first.Models[0] {
		t.Errorf("%+v, %v, before %+v", second, err, first)
	}
	if err := os.WriteFile(path, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if third, _ := Scan(context.Background(), stores, filecache.Open[Remembered](cache)); len(third.Broken) != 1 {
		t.Errorf("%+v", third)
	}
}

func TestResolve(t *testing.T) {
	h := newHome(t)
	h.ollama("registry.ollama.ai/library/tiny/latest", ollamaModel, model(1))
	h.ollama("registry.ollama.ai/library/tuned/1b", ollamaModel, model(1), ollamaAdapter, gguftest.Adapter(1).Bytes())
	h.hub("Org/Base-GGUF", "aaaa", "base-Q8_0.gguf", model(2))
	h.hub("Org/Base-GGUF", "aaaa", "base-Q4_K_M.gguf", model(3))
	h.hub("Org/Broken", "aaaa", "broken.gguf", []byte("GGUF"))
	h.write(".cache/llama.cpp/org_old_old-Q4_0.gguf", model(4))
	h.hub("org/both", "aaaa", "config.json", []byte(`{"architectures":["LlamaForCausalLM"]}`))
	h.hub("org/both", "aaaa", "model.safetensors", []byte("weights"))
	h.hub("org/both", "aaaa", "both.gguf", model(5))
	heads := filecache.Open[Remembered]("")
	for where, want := range map[string]string{
		"hf:org/both":                        "hf:org/both",
		"hf:org/both:both.gguf":              "hf:org/both:both.gguf",
		"ollama:tiny":                        "ollama:tiny:latest",
		"ollama:tuned:1b":                    "ollama:tuned:1b",
		"ollama:tuned:1b#adapter":            "ollama:tuned:1b#adapter",
		"hf:Org/Base-GGUF:Q8_0":              "hf:Org/Base-GGUF:base-Q8_0.gguf",
		"hf:org/base-gguf:q4_k_m":            "hf:Org/Base-GGUF:base-Q4_K_M.gguf",
		"hf:Org/Base-GGUF:base-Q4_K_M.gguf":  "hf:Org/Base-GGUF:base-Q4_K_M.gguf",
		"hf:org/old:Q4_0":                    filepath.Join(h.dir, ".cache/llama.cpp/org_old_old-Q4_0.gguf"),
		filepath.Join(h.dir, "x", "no.gguf"): filepath.Join(h.dir, "x", "no.gguf"), // a path is taken as it is
	} {
		if m, err := Resolve(context.Background(), "--reference", where, h.stores(), heads); err != nil || m.Name != want {
			t.Errorf("%s: %q, %v; want %s", where, m.Name, err, want)
		}
	}
	for where, want := range map[string]struct {
		kind fault.Kind
		word string
	}{
		"hf:Org/Base-GGUF":      {fault.Invalid, "base-Q4_K_M.gguf"}, // either of two: both are named
		"hf:Org/Base-GGUF:Q2_K": {fault.NotFound, "no store"},
		"hf:Org/Broken":         {fault.Invalid, "broken.gguf"},
		"ollama:none":           {fault.NotFound, "no store"},
		"ollama:":               {fault.Invalid, "ollama:NAME"},
		"hf:one":                {fault.Invalid, "hf:ORG/REPO"},
		"hf:../../etc/passwd":   {fault.Invalid, "hf:ORG/REPO"},
	} {
		_, err := Resolve(context.Background(), "--reference", where, h.stores(), heads)
		if f := fault.Of(err); f == nil || f.Kind != want.kind || f.Field != "--reference" || !strings.Contains(f.Message, want.word) {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestPropose(t *testing.T) {
	h := newHome(t)
	h.ollama("registry.ollama.ai/me/tuned/latest", ollamaModel, model(1), ollamaAdapter, gguftest.Adapter(1).Bytes())
	h.hub("org/Tiny-7B-GGUF", "a", "Tiny-7B-Q8_0.gguf", model(2))
	h.hub("org/Tiny-7B-SFT-GGUF", "a", "Tiny-7B-SFT-Q8_0.gguf", model(3))
	h.hub("org/Tiny-7B-SFT-GGUF", "a", "Tiny-7B-SFT-F16.gguf", model(3))
	h.hub("org/Tiny-7B-DPO-GGUF", "a", "Tiny-7B-DPO-Q8_0.gguf", model(4))
	h.hub("org/Tiny-8B-Instruct", "a", "Tiny-8B-Instruct.gguf", model(5)) // has no partner
	other := gguftest.Model(6)
	merges := slices.Clone(other.Get("tokenizer.ggml.merges").([]string))
	if len(merges) == 0 {
		merges = []string{"a b"}
	}
	merges[0] = "z z"
	other.Set("tokenizer.ggml.merges", merges)
	h.hub("org/Other-7B", "a", "Other-7B.gguf", model(7))
	h.hub("org/Other-7B-Chat", "a", "Other-7B-Chat.gguf", other.Bytes()) // another tokenizer
	h.hub("mav23/mistral-7b-sft-beta-GGUF", "a", "mistral-7b-sft-beta.Q8_0.gguf", model(8))
	h.write(".lmstudio/models/TheBloke/zephyr-7B-beta-GGUF/zephyr-7b-beta.Q8_0.gguf", model(9))
	var got []string
	for _, p := range Propose(h.scan().Models) {
		got = append(got, p.Reference+" + "+p.Aligned)
		if !strings.HasPrefix(p.Command, "realign pairs add "+p.Name+" --reference "+p.Reference) || p.Reason == "" {
			t.Errorf("%+v", p)
		}
		if p.Name == "zephyr" && (p.Beta != 0.1 || !strings.HasSuffix(p.Command, ",beta=0.1")) {
			t.Errorf("the catalogue's β is lost: %+v", p)
		}
	}
	slices.Sort(got)
	want := []string{
		"hf:org/Tiny-7B-GGUF:Tiny-7B-Q8_0.gguf + hf:org/Tiny-7B-SFT-GGUF:Tiny-7B-SFT-F16.gguf",
		"hf:org/Tiny-7B-GGUF:Tiny-7B-Q8_0.gguf + hf:org/Tiny-7B-SFT-GGUF:Tiny-7B-SFT-Q8_0.gguf",
		"hf:org/Tiny-7B-SFT-GGUF:Tiny-7B-SFT-Q8_0.gguf + hf:org/Tiny-7B-DPO-GGUF:Tiny-7B-DPO-Q8_0.gguf",
		"hf:mav23/mistral-7b-sft-beta-GGUF:mistral-7b-sft-beta.Q8_0.gguf + " + filepath.Join(h.dir, ".lmstudio/models/TheBloke/zephyr-7B-beta-GGUF/zephyr-7b-beta.Q8_0.gguf"),
		"ollama:me/tuned:latest + ollama:me/tuned:latest#adapter",
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("proposed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// BenchmarkScan is a scan of 1,000 files whose heads are remembered.
func BenchmarkScan(b *testing.B) {
	h := newHome(b)
	data := model(1)
	for i := range 1000 {
		h.write(fmt.Sprintf("models/%d/model-%d.gguf", i%50, i), data)
	}
	stores := []Store{{Folder, filepath.Join(h.dir, "models")}}
	heads := filecache.Open[Remembered](filepath.Join(h.dir, "heads.json"))
	if l, err := Scan(context.Background(), stores, heads); err != nil || len(l.Models) != 1000 {
		b.Fatal(len(l.Models), err)
	}
	b.ResetTimer()
	for range b.N {
		heads := filecache.Open[Remembered](filepath.Join(h.dir, "heads.json"))
		if l, err := Scan(context.Background(), stores, heads); err != nil || len(l.Models) != 1000 {
			b.Fatal(len(l.Models), err)
		}
	}
}

// Folders of safetensors are proposed as pairs, and a PEFT folder with the model that it names: by its repository, or by the path of a
// folder.
func TestProposeFolders(t *testing.T) {
	h := newHome(t)
	tokenizer := func(merges, added string) []byte {
		return []byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":` + merges + `},"added_tokens":[` + added + `]}`)
	}
	folder := func(repository, tokenizer string) {
		h.hub(repository, "aaaa", "config.json", []byte(`{"architectures":["LlamaForCausalLM"]}`))
		h.hub(repository, "aaaa", "model.safetensors", []byte("weights"))
		h.hub(repository, "aaaa", "tokenizer.json", []byte(tokenizer))
	}
	folder("org/Tiny-7B", string(tokenizer(`["a b"]`, ``)))
	folder("org/Tiny-7B-Instruct", string(tokenizer(`[["a","b"]]`, `{"id":2,"content":"<end>"}`))) // as other versions write them
	folder("org/Other-7B", string(tokenizer(`["a b"]`, ``)))
	folder("org/Other-7B-Instruct", string(tokenizer(`["b a"]`, ``)))
	folder("HuggingFaceH4/mistral-7b-sft-beta", string(tokenizer(`["a c"]`, ``)))
	folder("HuggingFaceH4/zephyr-7b-beta", string(tokenizer(`["a c"]`, ``)))
	base := filepath.Join(h.dir, "models", "base")
	h.write("models/base/config.json", []byte(`{"architectures":["LlamaForCausalLM"]}`))
	h.write("models/base/model.safetensors", []byte("weights"))
	h.write("models/dpo-out/adapter_config.json", []byte(`{"base_model_name_or_path":"`+base+`"}`))
	h.write("models/dpo-out/adapter_model.safetensors", []byte("weights"))
	h.hub("me/lora", "aaaa", "adapter_config.json", []byte(`{"base_model_name_or_path":"org/Tiny-7B-Instruct"}`))
	h.hub("me/lora", "aaaa", "adapter_model.safetensors", []byte("weights"))
	l, err := Scan(context.Background(), h.stores(filepath.Join(h.dir, "models")), filecache.Open[Remembered](""))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range Propose(l.Models) {
		got = append(got, strings.TrimPrefix(p.Command, "realign pairs add "))
	}
	want := []string{
		"dpo-out --reference " + base + " --adapter aligned=" + filepath.Join(h.dir, "models", "dpo-out"),
		"lora --reference hf:org/Tiny-7B-Instruct --adapter aligned=hf:me/lora",
		"tiny-7b-instruct --reference hf:org/Tiny-7B --aligned aligned=hf:org/Tiny-7B-Instruct",
		"zephyr --reference hf:HuggingFaceH4/mistral-7b-sft-beta --aligned aligned=hf:HuggingFaceH4/zephyr-7b-beta,beta=0.1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("proposed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A scan opens nothing but what may be a model, and reads no more of it than its head: pipes would keep it waiting, whatever they are
// called, and a file of a terabyte is read as fast as any.
func TestScanReadsHeads(t *testing.T) {
	h := newHome(t)
	h.write("models/good.gguf", model(1))
	large := h.write("models/large.gguf", model(2))
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Skip("no sparse files here: ", err)
	}
	for _, name := range []string{"models/pipe.gguf", "models/pipe.bin", "models/notes.txt", "models/f/config.json", "models/f/model.safetensors", "models/f/tokenizer.json"} {
		path := filepath.Join(h.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o644); err != nil {
			t.Skip("no pipes here: ", err)
		}
	}
	done := make(chan Listing, 1)
	go func() {
		l, _ := Scan(context.Background(), []Store{{Folder, filepath.Join(h.dir, "models")}}, filecache.Open[Remembered](""))
		done <- l
	}()
	select {
	case l := <-done:
		var broken []string
		for _, b := range l.Broken {
			broken = append(broken, filepath.Base(b.Path)+": "+b.Reason)
		}
		if got := l.names(); len(got) != 2 || filepath.Base(got[1]) != "large.gguf" {
			t.Errorf("found %v", got)
		}
		if want := []string{"config.json: not a regular file", "pipe.gguf: not a regular file"}; !slices.Equal(broken, want) {
			t.Errorf("broken: %q, want %q", broken, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the scan waits for a pipe, or reads all of a file")
	}
}

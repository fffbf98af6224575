package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/filecache"
	"realign/internal/gguf/gguftest"
	"realign/internal/pair/fetch/fetchtest"
	"realign/internal/pair/modelstore"
)

// pauses records what was waited for instead of waiting.
type pauses struct {
	mu  sync.Mutex
	all []time.Duration
}

func (p *pauses) wait(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, d)
	return ctx.Err()
}

func random(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

const repository = "org/tiny-GGUF"

// start is a server with one model of 1 MB, and a hub that fetches in ranges of 100 kB.
func start(t *testing.T) (*fetchtest.Server, Hub, *pauses, []byte) {
	t.Helper()
	s := fetchtest.New(t)
	model := random(1 << 20)
	s.Repositories[repository] = map[string][]byte{"tiny-Q8_0.gguf": model, "tiny-Q4_K_M.gguf": random(1000), "README.md": []byte("hello")}
	p := &pauses{}
	return s, Hub{Endpoint: s.URL, Cache: t.TempDir(), Options: Options{Range: 100_000, Wait: p.wait}}, p, model
}

func (h Hub) file(name string) string {
	return filepath.Join(h.Cache, "models--"+strings.Replace(repository, "/", "--", 1), "snapshots", fetchtest.Commit, name)
}

func check(t *testing.T, h Hub, model []byte) {
	t.Helper()
	if got, err := os.ReadFile(h.file("tiny-Q8_0.gguf")); err != nil || !bytes.Equal(got, model) {
		t.Errorf("the file that arrived is not the one that was sent: %d bytes, %v", len(got), err)
	}
	left, _ := filepath.Glob(filepath.Join(h.Cache, "*", "blobs", "*.realign-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Each way of misbehaving that ends well.
func TestPullInSpiteOf(t *testing.T) {
	for name, misbehave := range map[string]func(*fetchtest.Server, *Hub){
		"nothing":                     func(*fetchtest.Server, *Hub) {},
		"a redirect to another host":  func(s *fetchtest.Server, h *Hub) { s.Redirects, s.Token, h.Token = true, "secret", "secret" },
		"connections that are cut":    func(s *fetchtest.Server, _ *Hub) { s.CutAfter, s.Cuts = 7_000, -1 },
		"no ranges":                   func(s *fetchtest.Server, _ *Hub) { s.NoRanges = true },
		"no ranges and one cut":       func(s *fetchtest.Server, _ *Hub) { s.NoRanges, s.CutAfter, s.Cuts = true, 500_000, 3 },
		"429, twice, with a fraction": func(s *fetchtest.Server, _ *Hub) { s.Busy, s.RetryAfter = 2, "20.5" },
		"429 until a date": func(s *fetchtest.Server, _ *Hub) {
			s.Busy, s.RetryAfter = 1, time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, h, p, model := start(t)
			misbehave(s, &h)
			var last Progress
			h.Progress = func(p Progress) { last = p }
			got, err := h.Pull(t.Context(), repository, "q8_0")
			if err != nil || got != "hf:"+repository+":tiny-Q8_0.gguf" {
				t.Fatalf("%q, %v", got, err)
			}
			check(t, h, model)
			if last.Done != last.Total || last.Total != int64(len(model)) {
				t.Errorf("progress ended at %+v", last)
			}
			switch {
			case s.RetryAfter == "20.5" && (len(p.all) != 2 || p.all[0] != 20500*time.Millisecond):
				t.Errorf("waited %v", p.all)
			case strings.Contains(s.RetryAfter, "GMT") && (len(p.all) != 1 || p.all[0] < 25*time.Second || p.all[0] > 31*time.Second):
				t.Errorf("waited %v", p.all)
			}
			if s.Redirects && s.Headers["Authorization"] != "" {
				t.Error("the token went to another host")
			}
			// What is there is not fetched again.
			before := s.Asked
			if _, err := h.Pull(t.Context(), repository, "Q8_0"); err != nil || s.Asked != before {
				t.Errorf("asked %d times more, %v", s.Asked-before, err)
			}
		})
	}
}

// Each way of misbehaving that ends in an error that says what to do.
func TestPullRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		misbehave func(*fetchtest.Server, *Hub)
		want      string // the model
		kind      fault.Kind
		say       string
	}{
		"401":                  {func(s *fetchtest.Server, _ *Hub) { s.Token = "secret" }, "Q8_0", fault.Forbidden, "HF_TOKEN"},
		"gated":                {func(s *fetchtest.Server, _ *Hub) { s.Gated = true }, "Q8_0", fault.Forbidden, "accept its terms"},
		"404":                  {func(s *fetchtest.Server, _ *Hub) { s.Repositories = nil }, "Q8_0", fault.NotFound, "no such model"},
		"wrong bytes":          {func(s *fetchtest.Server, _ *Hub) { s.WrongBytes = true }, "Q8_0", fault.Invalid, "instead of"},
		"429 for ever":         {func(s *fetchtest.Server, _ *Hub) { s.Busy = 1000 }, "Q8_0", fault.Unavailable, "429"},
		"no such quantisation": {func(*fetchtest.Server, *Hub) {}, "Q2_K", fault.NotFound, "fits Q2_K"},
		"a redirect for ever":  {func(s *fetchtest.Server, _ *Hub) { s.Loop = true }, "Q8_0", fault.Unavailable, "redirects"},
		"several models":       {func(*fetchtest.Server, *Hub) {}, "", fault.Invalid, "hf:org/tiny-GGUF:Q4_K_M"},
		"no room": {func(_ *fetchtest.Server, h *Hub) {
			h.Free = func(string) (int64, error) { return 1000, nil }
		}, "Q8_0", fault.Unavailable, "left"},
	} {
		t.Run(name, func(t *testing.T) {
			s, h, _, _ := start(t)
			test.misbehave(s, &h)
			_, err := h.Pull(t.Context(), repository, test.want)
			if f := fault.Of(err); f == nil || f.Kind != test.kind || !strings.Contains(f.Error(), test.say) {
				t.Errorf("%v", err)
			}
			if _, err := os.Stat(h.file("tiny-Q8_0.gguf")); err == nil {
				t.Error("a file was put in place")
			}
		})
	}
}

// A download that was stopped goes on where it was.
func TestPullResumes(t *testing.T) {
	s, h, _, model := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.Parallel = 1
	h.Progress = func(p Progress) {
		if p.Done > 550_000 {
			cancel()
		}
	}
	h.Range = 50_000
	if _, err := h.Pull(ctx, repository, "Q8_0"); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	s.Lock()
	s.Sent = 0
	s.Unlock()
	h.Progress = nil
	if _, err := h.Pull(t.Context(), repository, "Q8_0"); err != nil {
		t.Fatal(err)
	}
	check(t, h, model)
	if s.Sent > 550_000 {
		t.Errorf("%d bytes were fetched again", s.Sent)
	}
}

func TestPullSafetensorsAndParts(t *testing.T) {
	s, h, _, _ := start(t)
	s.Repositories["org/folder"] = map[string][]byte{
		"config.json": []byte(`{"architectures":["LlamaForCausalLM"]}`), "model.safetensors": random(1000),
		"tokenizer.json": []byte("{}"), "original/weights.pth": random(10), "README.md": []byte("x"),
	}
	if name, err := h.Pull(t.Context(), "org/folder", ""); err != nil || name != "hf:org/folder" {
		t.Fatalf("%q, %v", name, err)
	}
	s.Repositories["org/parts"] = map[string][]byte{}
	for i := 1; i <= 3; i++ {
		s.Repositories["org/parts"][fmt.Sprintf("big/big-Q8_0-%05d-of-00003.gguf", i)] = random(1000 + i)
	}
	if name, err := h.Pull(t.Context(), "org/parts", "Q8_0"); err != nil || name != "hf:org/parts:big/big-Q8_0-00001-of-00003.gguf" {
		t.Fatalf("%q, %v", name, err)
	}
	parts, _ := filepath.Glob(filepath.Join(h.Cache, "models--org--parts", "snapshots", "*", "big", "*.gguf"))
	files, _ := filepath.Glob(filepath.Join(h.Cache, "models--org--folder", "snapshots", "*", "*"))
	if len(parts) != 3 || len(files) != 3 {
		t.Errorf("%v, %v", parts, files)
	}
}

// What is fetched is found by the model store, from both sides.
func TestPulledIsFound(t *testing.T) {
	s := fetchtest.New(t)
	model, adapter := gguftest.Model(1).Bytes(), gguftest.Adapter(1).Bytes()
	s.Repositories[repository] = map[string][]byte{"tiny.gguf": model}
	s.Models["library/tiny:1b"] = []fetchtest.Layer{
		{MediaType: "application/vnd.ollama.image.model", Content: model}, {MediaType: "application/vnd.ollama.image.adapter", Content: adapter},
		{MediaType: "application/vnd.ollama.image.license", Content: []byte("MIT")},
	}
	s.Models["library/cloud:latest"] = []fetchtest.Layer{{MediaType: "application/vnd.ollama.image.license", Content: []byte("MIT")}}
	home := t.TempDir()
	h := Hub{Endpoint: s.URL, Cache: filepath.Join(home, ".cache", "huggingface", "hub")}
	g := Registry{Endpoint: s.URL, Store: filepath.Join(home, ".ollama", "models")}
	names := map[string]bool{}
	for _, pull := range []func() (string, error){
		func() (string, error) { return h.Pull(t.Context(), repository, "") },
		func() (string, error) { return g.Pull(t.Context(), "tiny:1b") },
	} {
		name, err := pull()
		if err != nil {
			t.Fatal(err)
		}
		names[name] = true
	}
	stores := modelstore.Stores(func(string) string { return "" }, home)
	for name := range names {
		if _, err := modelstore.Resolve(t.Context(), "--reference", name, stores, filecache.Open[modelstore.Remembered]("")); err != nil {
			t.Error(err)
		}
	}
	for model, kind := range map[string]fault.Kind{"cloud": fault.Invalid, "none": fault.NotFound, "a/b/c/d": fault.Invalid, "../x": fault.Invalid, "": fault.Invalid} {
		if _, err := g.Pull(t.Context(), model); fault.KindOf(err) != kind {
			t.Errorf("%q: %v", model, err)
		}
	}
}

// A hub cannot make files outside of the cache.
func TestHostileListing(t *testing.T) {
	s, h, _, _ := start(t)
	s.Repositories[repository] = map[string][]byte{"../../../../escape.gguf": random(10), "/abs.gguf": random(11), "a/../../b.gguf": random(12)}
	if _, err := h.Pull(t.Context(), repository, ""); fault.KindOf(err) != fault.NotFound {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"", "x", "a/b/c", "../..", "a/..b", "a b/c"} {
		if _, err := h.Pull(t.Context(), name, ""); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

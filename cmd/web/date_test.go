//go:build cgo && !nollama

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/gguf/gguftest"
	"realign/internal/pair"
	"realign/internal/run"
	"realign/internal/share"
	"realign/internal/store"
)

// engineDecoder has one engine decode whatever it is asked.
type engineDecoder struct{ engine *decode.Engine }

func (d engineDecoder) Decode(_ context.Context, _ string, r decode.Request, sink func(decode.Event)) (run.Job, error) {
	return d.engine.Start(r, sink)
}

// A run made long ago by a model whose template writes the date and the time replays now, on a worker in another time zone; so
// does its continuation, and without the recorded date it would not.
func TestDatedTemplateReplays(t *testing.T) {
	dir := t.TempDir()
	file := gguftest.Model(1)
	file.Set("tokenizer.chat_template", "Today is {{ strftime_now('%d %b %Y %H:%M %Z') }}.{% if not enable_thinking %} Do not think.{% endif %}\n"+
		"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n")
	files := map[string][]byte{"r.gguf": file.Bytes(), "a.gguf": gguftest.Adapter(2).Bytes(),
		pair.ManifestName: []byte(`{"name":"dated","reference":{"file":"r.gguf"},"template_variables":{"enable_thinking":true},"aligned":[{"name":"a","adapter":"a.gguf"}]}`)}
	for name, data := range files {
		if err := os.MkdirAll(filepath.Join(dir, "dated"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "dated", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	library := pair.NewLibrary(dir)
	p, err := library.Find("dated")
	if err != nil {
		t.Fatal(err)
	}
	worker := func(zone string) (engineDecoder, decode.Vocabulary) {
		t.Setenv("TZ", zone)
		models, err := openModels(t.Context(), p, modelFlags{Threads: 1, Cells: 1024, GPULayers: "0"}, func(float64) {})
		if err != nil {
			t.Fatal(err)
		}
		e := decode.NewEngine(models, decode.Config{})
		t.Cleanup(func() { e.Close() })
		return engineDecoder{e}, models.Vocabulary()
	}
	then, vocabulary := worker("America/Phoenix")
	db, err := store.Open(t.Context(), store.Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	made := time.Date(2024, 7, 6, 23, 30, 0, 0, time.FixedZone("", -7*3600))
	pairs := pair.Resolver{Library: library, Sums: pair.OpenSums("")}
	hub := run.NewHub(run.Config{Store: db, Decoder: then, Pairs: pairs, Now: func() time.Time { return made }})
	defer hub.Close()
	decoded := func(spec run.Spec, sessionID string) (run.Run, *share.Snapshot) {
		t.Helper()
		started, err := hub.Start(t.Context(), "ann", sessionID, spec)
		if err != nil {
			t.Fatal(err)
		}
		for started.Status != run.Ended {
			time.Sleep(10 * time.Millisecond)
			if started, err = db.Run(t.Context(), "ann", started.ID); err != nil {
				t.Fatal(err)
			}
		}
		transcript, err := run.ReadTranscript(t.Context(), db, started)
		if err != nil {
			t.Fatal(err)
		}
		snapshot, err := share.NewSnapshot(started, transcript, nil, made)
		if err != nil {
			t.Fatal(err)
		}
		return started, snapshot
	}
	sampling := decode.DefaultSampling()
	sampling.MaxTokens = 6
	spec := run.Spec{Pair: "dated", Prompt: "the hen", Mode: run.Chat, Sampling: sampling, Lanes: []decode.Lane{{Lambda: decode.Vector{0.5}}}}
	started, snapshot := decoded(spec, "")
	spec.Parent = &run.Parent{Run: started.ID}
	spec.Rendering.Variables = map[string]any{"enable_thinking": false}
	made = made.Add(48 * time.Hour)
	_, next := decoded(spec, started.Session)

	now, _ := worker("Asia/Tokyo")
	for _, s := range []*share.Snapshot{snapshot, next} {
		var prompt strings.Builder
		for _, token := range s.PromptTokens {
			prompt.Write(vocabulary.Piece(token))
		}
		if !strings.HasPrefix(prompt.String(), "Today is 06 Jul 2024 23:30 -0700.") || strings.Contains(prompt.String(), "Do not think.") != (s == next) {
			t.Fatalf("the prompt is %q", prompt.String())
		}
		v, err := share.Verify(t.Context(), now, pairs, s)
		if err != nil || !v.Identical || v.Tokens == 0 {
			t.Errorf("%+v, %v", v, err)
		}
		undated := *s
		undated.Rendering.Date = time.Time{}
		if v, err := share.Verify(t.Context(), now, pairs, &undated); err != nil || v.What != share.DiffPrompt {
			t.Errorf("without its date: %+v, %v", v, err)
		}
	}
}

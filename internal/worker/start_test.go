package worker

import (
	"context"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// stuck is a table that never ends tokenising the text "stuck", and whose chat template never ends.
type stuck struct{ decode.Pair }

func (p stuck) Vocabulary() decode.Vocabulary { return stuckVocabulary{p.Pair.Vocabulary()} }

type stuckVocabulary struct{ decode.Vocabulary }

func (v stuckVocabulary) EncodePlain(text string) ([]decode.Token, error) {
	if text == "stuck" {
		select {}
	}
	return v.Vocabulary.EncodePlain(text)
}

func (stuckVocabulary) EncodeChat([]decode.Message) ([]decode.Token, error) { select {} }

// A start that the worker never answers ends, and others are served beside it.
func TestStartWithoutAnswer(t *testing.T) {
	t.Parallel() // with others that wait
	p := newPool(t, Config{Pairs: library(t, "stuck"), Command: process, Wait: 5 * time.Second})
	ready, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Ready(ready, "stuck"); err != nil {
		t.Fatal(err)
	}
	r := request(1, 5)
	r.Prompt.Text = "stuck"
	ended := make(chan error, 1)
	go func() {
		_, err := p.Decode(t.Context(), "stuck", r, func(decode.Event) {})
		ended <- err
	}()
	job, err := p.Decode(t.Context(), "stuck", request(1, 5), func(decode.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	<-job.Done()
	select {
	case err := <-ended:
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "did not answer in time") {
			t.Errorf("error is %v", err)
		}
	case <-ready.Done():
		t.Fatal("the start holds its place for ever")
	}
}

package llamacpp

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"realign/internal/fault"
	"realign/internal/gguf"
	"realign/internal/gguf/gguftest"
)

// lastRow opens a pair and gives the logits of one of its models after a few tokens; "" is the reference.
func lastRow(t *testing.T, spec Spec, name string) []float32 {
	t.Helper()
	p, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m := p.Reference()
	if name != "" {
		m = open(t, p, name)
	}
	return forward(t, m, rows(0, 0, 5, 80, 90, 100))
}

// A model in parts gives the same logits as in one file.
func TestSplitModel(t *testing.T) {
	model := gguftest.Model(1)
	want := lastRow(t, Spec{Reference: model.Write(t, "whole.gguf"), Options: small}, "")
	got := lastRow(t, Spec{Reference: model.WriteSplit(t, "model", 3)[0], Options: small}, "")
	if !slices.Equal(got, want) {
		t.Error("the model in parts is another")
	}
}

// Scale multiplies an adapter's strength, as another alpha would.
func TestAdapterScale(t *testing.T) {
	reference := gguftest.Model(1).Write(t, "reference.gguf")
	adapter := gguftest.Adapter(3)
	path := adapter.Write(t, "adapter.gguf")
	alpha := adapter.Get("adapter.lora.alpha").(float32)
	logits := func(path string, scale float64) []float32 {
		return lastRow(t, Spec{Reference: reference, Aligned: []Aligned{{Name: "a", Path: path, Scale: scale}}, Options: small}, "a")
	}
	adapter.Set("adapter.lora.alpha", 0.5*alpha)
	half := adapter.Write(t, "half.gguf")
	if !slices.Equal(logits(path, 0.5), logits(half, 0)) {
		t.Error("scale 0.5 is not half of alpha")
	}
	if !slices.Equal(logits(path, 0), logits(path, 1)) || slices.Equal(logits(path, 1), logits(path, 0.5)) {
		t.Error("no scale is 1, and not 0.5")
	}
}

// A recurrent model decodes, and its states take what the planner counts for as many sequences as were asked for.
func TestRecurrentModel(t *testing.T) {
	lines := &lines{}
	before := slog.Default()
	slog.SetDefault(slog.New(lines))
	defer slog.SetDefault(before)
	reference := gguftest.Mamba(1).Write(t, "mamba.gguf")
	options := small
	options.Sequences = 24
	p, err := Open(Spec{Reference: reference, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	row := forward(t, p.Reference(), rows(0, 0, 5, 80, 90, 100))
	if again := forward(t, p.Reference(), rows(1, 0, 5, 80, 90, 100)); !slices.Equal(row, again) {
		t.Error("two sequences of the same tokens differ")
	}
	head, err := gguf.Open(reference)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%.2f", float64(24*head.State())/(1<<20))
	found := regexp.MustCompile(`llama_memory_recurrent: size = +([0-9.]+) MiB`).FindStringSubmatch(lines.text())
	if found == nil || found[1] != want {
		t.Errorf("llama.cpp reserves %v MiB for states, the head of the file says %s", found, want)
	}
	if n := p.Reference().Limits().Sequences; n != 24 {
		t.Errorf("%d sequences", n)
	}
}

// The states of a recurrent model are bounded when nothing is said.
func TestSequencesFor(t *testing.T) {
	for state, want := range map[int64]int{0: 128, 1: 128, 8 << 20: 128, 25 << 20: 40, 1 << 30: 16, 1 << 40: 16} {
		if got := sequencesFor(state, 128); got != want {
			t.Errorf("%d bytes of state: %d sequences, want %d", state, got, want)
		}
	}
	p, err := Open(Spec{Reference: gguftest.Mamba(1).Write(t, "mamba.gguf"), Options: Options{Cells: 512}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if n := p.Reference().Limits().Sequences; n != 128 {
		t.Errorf("%d sequences of a small state", n)
	}
}

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex // guards all
	all []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r.Message)
	return nil
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// A quantised model is smaller, of the type asked for, and decodes to nearly the same logits.
func TestQuantize(t *testing.T) {
	in := gguftest.Model(1).Write(t, "in.gguf")
	out := filepath.Join(t.TempDir(), "out.gguf")
	done, total := 0, 0
	if err := Quantize(in, out, "Q8_0", 1, func(d, n int) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	head, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	if w, _ := head.Tensor("blk.0.attn_q.weight"); w.Type.String() != "Q8_0" || done != len(head.Tensors) || total != done {
		t.Errorf("weights are %v, and progress was %d of %d", w.Type, done, total)
	}
	want, got := lastRow(t, Spec{Reference: in, Options: small}, ""), lastRow(t, Spec{Reference: out, Options: small}, "")
	if slices.Equal(want, got) || decodeDistance(want, got) > 0.05 {
		t.Errorf("logits are %g of their range away", decodeDistance(want, got))
	}
	if err := Quantize(in, out, "q9", 1, nil); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "q4_k_m") {
		t.Errorf("an unknown type: %v", err)
	}
	if err := Quantize(out, filepath.Join(t.TempDir(), "again.gguf"), "q4_0", 1, nil); fault.KindOf(err) != fault.Invalid {
		t.Errorf("quantised twice: %v", err)
	}
}

// decodeDistance is the largest difference, relative to the largest value.
func decodeDistance(a, b []float32) (d float64) {
	most := 0.0
	for i := range a {
		d = max(d, float64(max(a[i]-b[i], b[i]-a[i])))
		most = max(most, float64(max(a[i], -a[i])))
	}
	return d / most
}

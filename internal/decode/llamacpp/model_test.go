package llamacpp

import (
	"math"
	"slices"
	"sync"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf/gguftest"
)

// small are options of models with a context each: what is measured to be faster would differ from run to run.
var small = Options{Cells: 512, Batch: 64, Sequences: 8, OnePass: OnePassOff}

// openSmall opens a random pair: "other" is a model of its own, "adapted" a LoRA adapter.
func openSmall(t testing.TB, o Options) *Pair {
	t.Helper()
	p, err := Open(Spec{
		Reference: gguftest.Model(1).Write(t, "reference.gguf"),
		Aligned: []Aligned{
			{Name: "other", Path: gguftest.Model(2).Write(t, "other.gguf")},
			{Name: "adapted", Path: gguftest.Adapter(3).Write(t, "adapted.gguf")},
		},
		Options: o,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func open(t testing.TB, p decode.Pair, name string) decode.Model {
	t.Helper()
	m, err := p.Aligned(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// rows are tokens of one sequence from a position on; the last wants logits.
func rows(seq decode.Seq, pos int, tokens ...decode.Token) []decode.Row {
	var rows []decode.Row
	for i, t := range tokens {
		rows = append(rows, decode.Row{Token: t, Pos: pos + i, Seq: seq, Want: i == len(tokens)-1})
	}
	return rows
}

// forward decodes rows and returns a copy of the last row's logits.
func forward(t testing.TB, m decode.Model, rows []decode.Row) []float32 {
	t.Helper()
	if err := m.Forward(rows); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(m.Logits(len(rows) - 1))
}

// gap is the largest difference between two rows of logits.
func gap(t testing.TB, a, b []float32) float64 {
	t.Helper()
	if len(a) == 0 || len(a) != len(b) {
		t.Fatalf("rows of %d and %d logits", len(a), len(b))
	}
	largest := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			t.Fatalf("logit %d is %v and %v", i, a[i], b[i])
		}
		largest = max(largest, d)
	}
	return largest
}

// tolerance is what other shapes of batches may change in the logits of the random models, which are
// around 10 in size.
const tolerance = 0.05

func TestChunksAgree(t *testing.T) {
	m := openSmall(t, small).Reference()
	prompt := []decode.Token{70, 80, 90, 100, 110, 120, 130, 140, 150}
	whole := forward(t, m, rows(0, 0, prompt...))
	for _, size := range []int{1, 2, 4} {
		m.Trim(0, 0)
		var last []float32
		for pos := 0; pos < len(prompt); pos += size {
			last = forward(t, m, rows(0, pos, prompt[pos:min(pos+size, len(prompt))]...))
		}
		if d := gap(t, whole, last); d > tolerance {
			t.Errorf("in chunks of %d the logits differ by %g", size, d)
		}
	}
}

// Every row of a pass that wants logits gets its own, whatever the order of sequences.
func TestRowsOfManySequences(t *testing.T) {
	m := openSmall(t, small).Reference()
	want := map[decode.Seq][]float32{}
	for seq := range decode.Seq(4) {
		want[seq] = forward(t, m, rows(seq, 0, 50, 60, decode.Token(70+seq)))
		m.Trim(seq, 0)
	}
	var mixed []decode.Row
	for pos := range 3 {
		for _, seq := range []decode.Seq{2, 0, 3, 1} {
			token := []decode.Token{50, 60, decode.Token(70 + seq)}[pos]
			mixed = append(mixed, decode.Row{Token: token, Pos: pos, Seq: seq, Want: pos == 2 && seq != 3})
		}
	}
	if err := m.Forward(mixed); err != nil {
		t.Fatal(err)
	}
	for i, row := range mixed {
		got := m.Logits(i)
		if !row.Want {
			if got != nil {
				t.Errorf("row %d has logits that it did not want", i)
			}
			continue
		}
		if d := gap(t, want[row.Seq], got); d > tolerance {
			t.Errorf("sequence %d differs by %g", row.Seq, d)
		}
	}
	if m.Logits(-1) != nil || m.Logits(len(mixed)) != nil {
		t.Error("a row that is not there has logits")
	}
}

func TestForkThenDiverge(t *testing.T) {
	p := openSmall(t, small)
	for _, m := range []decode.Model{p.Reference(), open(t, p, "other"), open(t, p, "adapted")} {
		forward(t, m, rows(0, 0, 40, 41, 42, 43))
		m.Copy(1, 0, 4)
		m.Copy(2, 0, 2) // a shorter prefix
		forked := [][]float32{
			forward(t, m, rows(0, 4, 100, 101)),
			forward(t, m, rows(1, 4, 200, 201)),
			forward(t, m, rows(2, 2, 150, 151)),
		}
		for seq := range decode.Seq(3) {
			m.Trim(seq, 0)
		}
		alone := [][]float32{
			forward(t, m, rows(5, 0, 40, 41, 42, 43, 100, 101)),
			forward(t, m, rows(6, 0, 40, 41, 42, 43, 200, 201)),
			forward(t, m, rows(7, 0, 40, 41, 150, 151)),
		}
		for i := range alone {
			if d := gap(t, alone[i], forked[i]); d > tolerance {
				t.Errorf("fork %d differs by %g", i, d)
			}
		}
	}
}

// A copy lives on when its source is emptied, and replaces what its place held.
func TestCopyOwnsItsPositions(t *testing.T) {
	m := openSmall(t, small).Reference()
	want := forward(t, m, rows(3, 0, 10, 11, 12, 13))
	forward(t, m, rows(0, 0, 10, 11, 12))
	forward(t, m, rows(1, 0, 99, 98, 97, 96, 95))
	m.Copy(1, 0, 3)
	m.Trim(0, 0)
	if d := gap(t, want, forward(t, m, rows(1, 3, 13))); d > tolerance {
		t.Errorf("the copy differs by %g", d)
	}
	m.Copy(1, 1, 2)
	if err := m.Forward(rows(1, 2, 12)); err != nil {
		t.Errorf("a copy onto itself should trim: %v", err)
	}
}

func TestTrimThenRedo(t *testing.T) {
	m := openSmall(t, small).Reference()
	first := forward(t, m, rows(0, 0, 10, 20, 30, 40))
	if !m.Trim(0, 3) {
		t.Fatal("a transformer can forget a suffix")
	}
	again := forward(t, m, rows(0, 3, 40))
	if d := gap(t, first, again); d > tolerance {
		t.Errorf("redone logits differ by %g", d)
	}
	if !m.Trim(0, 3) || !m.Trim(0, 100) {
		t.Error("trimming failed")
	}
	other := forward(t, m, rows(0, 3, 50))
	if gap(t, first, other) < tolerance {
		t.Error("another token gives the same logits")
	}
}

// Other kernels and a cache in full precision give the same logits, nearly.
func TestOptionsAgree(t *testing.T) {
	prompt := []decode.Token{33, 44, 55, 66}
	want := forward(t, openSmall(t, small).Reference(), rows(0, 0, prompt...))
	for _, o := range []Options{{NoFlash: true}, {Float32Cache: true}, {Float32Cache: true, NoFlash: true}} {
		o.Cells, o.Batch, o.Sequences = small.Cells, small.Batch, small.Sequences
		if d := gap(t, want, forward(t, openSmall(t, o).Reference(), rows(0, 0, prompt...))); d > tolerance {
			t.Errorf("with %+v logits differ by %g", o, d)
		}
	}
}

// A cache in full precision is used in full precision: fused kernels would round its keys and values.
func TestFloat32CacheIsNotRounded(t *testing.T) {
	prompt := []decode.Token{33, 44, 55, 66}
	logits := func(o Options) []float32 {
		o.Cells, o.Batch, o.Sequences = small.Cells, small.Batch, small.Sequences
		return forward(t, openSmall(t, o).Reference(), rows(0, 0, prompt...))
	}
	if full := logits(Options{Float32Cache: true}); gap(t, logits(Options{}), full) == 0 || gap(t, full, logits(Options{Float32Cache: true, NoFlash: true})) != 0 {
		t.Error("keys and values are rounded to half precision")
	}
}

// Adapters change only the context they are applied to, and both contexts work at once.
func TestAdapterOnSharedWeights(t *testing.T) {
	p := openSmall(t, small)
	reference, adapted := p.Reference(), open(t, p, "adapted")
	prompt := []decode.Token{33, 44, 55, 66}
	r, a := forward(t, reference, rows(0, 0, prompt...)), forward(t, adapted, rows(0, 0, prompt...))
	if gap(t, r, a) < tolerance {
		t.Fatal("the adapter changes nothing")
	}

	// The same adapter added into the weights gives the same logits.
	merged, err := Open(Spec{Reference: merge(gguftest.Model(1), gguftest.Adapter(3)).Write(t, "merged.gguf"), Options: small})
	if err != nil {
		t.Fatal(err)
	}
	defer merged.Close()
	if d := gap(t, a, forward(t, merged.Reference(), rows(0, 0, prompt...))); d > tolerance {
		t.Errorf("the adapter and its sum with the weights differ by %g", d)
	}

	var both sync.WaitGroup
	for m, want := range map[decode.Model][]float32{reference: r, adapted: a} {
		both.Go(func() {
			for range 50 {
				m.Trim(0, 0)
				if err := m.Forward(rows(0, 0, prompt...)); err != nil {
					t.Error(err)
					return
				}
				if d := gap(t, want, m.Logits(len(prompt)-1)); d > tolerance {
					t.Errorf("decoded at the same time, logits differ by %g", d)
				}
			}
		})
	}
	both.Wait()
}

// merge adds alpha/rank · BA to the weights.
func merge(model, adapter *gguftest.File) *gguftest.File {
	find := func(f *gguftest.File, name string) *gguftest.Tensor {
		i := slices.IndexFunc(f.Tensors, func(t gguftest.Tensor) bool { return t.Name == name })
		if i < 0 {
			return nil
		}
		return &f.Tensors[i]
	}
	for i := range model.Tensors {
		w := &model.Tensors[i]
		a, b := find(adapter, w.Name+".lora_a"), find(adapter, w.Name+".lora_b")
		if a == nil {
			continue
		}
		in, rank, out := a.Shape[0], a.Shape[1], b.Shape[1]
		scale := adapter.Get("adapter.lora.alpha").(float32) / float32(rank)
		for o := range out {
			for i := range in {
				for r := range rank {
					w.Values[o*in+i] += scale * b.Values[o*rank+r] * a.Values[r*in+i]
				}
			}
		}
	}
	return model
}

// Rows that llama.cpp would end the process for are errors, and change nothing.
func TestForwardRefuses(t *testing.T) {
	m := openSmall(t, small).Reference()
	before := forward(t, m, rows(0, 0, 10, 20))
	limits := m.Limits()
	many := make([]decode.Token, limits.Batch+1)
	for name, c := range map[string]struct {
		rows []decode.Row
		kind fault.Kind
	}{
		"too many rows":          {rows(1, 0, many...), fault.Internal},
		"token too large":        {rows(0, 2, decode.Token(limits.Vocab)), fault.Invalid},
		"negative token":         {rows(0, 2, -1), fault.Invalid},
		"sequence too large":     {rows(decode.Seq(limits.Sequences), 0, 1), fault.Internal},
		"negative sequence":      {rows(-1, 0, 1), fault.Internal},
		"gap in positions":       {rows(0, 3, 1), fault.Internal},
		"position again":         {rows(0, 1, 1), fault.Internal},
		"negative position":      {rows(0, -1, 1), fault.Internal},
		"second row is at fault": {append(rows(0, 2, 1), rows(0, 2, 1)...), fault.Internal},
		"new sequence not at 0":  {rows(4, 7, 1), fault.Internal},
	} {
		if err := m.Forward(c.rows); fault.KindOf(err) != c.kind {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	m.Copy(100, 0, 1)
	m.Copy(0, -1, 1)
	if m.Trim(-1, 0) || m.Trim(100, 0) || m.Trim(0, -1) {
		t.Error("a sequence that is not there was trimmed")
	}
	if err := m.Forward(nil); err != nil {
		t.Errorf("no rows: %v", err)
	}
	m.Trim(0, 1)
	if d := gap(t, before, forward(t, m, rows(0, 1, 20))); d > tolerance {
		t.Errorf("after refusals logits differ by %g", d)
	}
}

// A full cache is reported, keeps what it holds, and works again when room is made.
func TestCacheFull(t *testing.T) {
	m := openSmall(t, Options{Cells: 256, Batch: 64, Sequences: 8}).Reference()
	cells := m.Limits().Cells
	chunk := make([]decode.Token, 64)
	for i := range chunk {
		chunk[i] = decode.Token(20 + i)
	}
	for i := range cells / 64 {
		forward(t, m, rows(decode.Seq(i%4), i/4*64, chunk...))
	}
	if err := m.Forward(rows(5, 0, 1)); fault.KindOf(err) != fault.Busy {
		t.Fatalf("error is %v", err)
	}
	if err := m.Forward(rows(0, 64, chunk...)); fault.KindOf(err) != fault.Busy {
		t.Fatalf("error is %v", err)
	}
	m.Trim(1, 63)
	if err := m.Forward(rows(0, 64, 1)); err != nil {
		t.Errorf("with one free cell: %v", err)
	}
	if err := m.Forward(rows(0, 65, 1)); fault.KindOf(err) != fault.Busy {
		t.Errorf("error is %v", err)
	}
}

func TestClose(t *testing.T) {
	p := openSmall(t, small)
	m, other := p.Reference(), open(t, p, "other")
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Forward(rows(0, 0, 1)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("error is %v", err)
	}
	m.Copy(1, 0, 1)
	if m.Trim(0, 0) || m.Logits(0) != nil || other.Close() != nil {
		t.Error("a closed model does something")
	}
	if _, err := p.Vocabulary().Encode("a", false); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("error is %v", err)
	}
	if name := p.Vocabulary().Name(gguftest.MessageEnd); name != "<|im_end|>" {
		t.Errorf("after closing, a token is called %q", name)
	}
	if _, err := p.Aligned("adapted"); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("error is %v", err)
	}
}

package study

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/intake"
	"realign/internal/preference"
)

// MaxImportBytes is how large the file of a study may be, whether it is exported or imported.
const MaxImportBytes = 128 << 20

// Limits on what is imported, beside that.
const (
	maxImportLine = 4 << 20 // bytes of a line
	maxOutputText = 1 << 20 // bytes

	maxImportItems = 2 * MaxItems // catch trials among them
)

// lineShape is what a line may unfold to.
func lineShape() intake.Shape {
	return intake.Shape{Depth: 8, Entries: 64, Named: map[string]int{"bias": 1 << 18, "history": 1000, "turns": 1000, "other": 1000}}
}

// Import reads an exported study twice: once to check all of it, once to hand it to the store, within which the second
// reading takes place. It is closed, belongs to owner and has ids of its own. It returns the study and how many ratings it
// has. Every error about the file is Invalid and names the line.
func Import(file io.ReadSeeker, owner string, now time.Time, keep func(fill func(Importing) error) error) (Study, int, error) {
	checked := newParser(owner, now, nil)
	if err := checked.read(file); err != nil {
		return Study{}, 0, err
	}
	p := checked
	err := keep(func(to Importing) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return fault.Wrap(err, fault.Internal, "the file cannot be read again")
		}
		p = newParser(owner, now, to)
		return p.read(file)
	})
	return p.study, p.ratings, err
}

// parser takes a study apart, line by line. Names of the file lead to places in the lists. It keeps what later lines are
// checked by: no texts.
// It belongs to one call of Import.
type parser struct {
	to         Importing // nil: only checks
	study      Study     // as the first line has it, with what Import gives it
	prompts    int       // so far, as are all that follow
	outputs    []Output  // without texts
	items      []Item    // each once, in the order of their first ratings
	annotators []rater   // each once, in the order of their first ratings
	ratings    int
	last       time.Time // when the last rating was made

	outputOf    map[string]int      // place in outputs, by the name in the file
	decoded     map[[4]float64]bool // prompt, λ, sample, broken
	itemOf      map[string]int      // place in items
	annotatorOf map[string]int      // place in annotators, by folded name
	rated       map[[2]int]bool     // by item and annotator
	prefix      string              // of the ids of ratings, which go on in order
}

// rater is an annotator with how many ratings there were.
type rater struct {
	Annotator
	places int // ratings so far: the place of the last assignment
}

// newParser is ready for the first line. to is nil where the file is only checked.
func newParser(owner string, now time.Time, to Importing) *parser {
	return &parser{
		to: to, study: Study{Owner: owner, Status: Closed, UpdatedAt: now, ClosedAt: now}, prefix: id.New()[:8],
		outputOf: map[string]int{}, decoded: map[[4]float64]bool{}, itemOf: map[string]int{},
		annotatorOf: map[string]int{}, rated: map[[2]int]bool{},
	}
}

// read reads a file to its end.
func (p *parser) read(r io.Reader) error {
	lines := bufio.NewScanner(io.LimitReader(r, MaxImportBytes+1))
	lines.Buffer(nil, maxImportLine)
	read, line := 0, 0
	for lines.Scan() {
		line++
		read += len(lines.Bytes()) + 1
		if read > MaxImportBytes+1 {
			return fault.Field("file", "more than %d MiB", MaxImportBytes>>20)
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := p.line(lines.Bytes()); err != nil {
			if fault.KindOf(err) != fault.Invalid {
				return err
			}
			return fault.Field("file", "line %d: %s", line, fault.Of(err).Error())
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fault.Field("file", "line %d: longer than %d MiB", line+1, maxImportLine>>20)
	}
	if err := lines.Err(); err != nil {
		return fault.Wrap(err, fault.Invalid, "the file cannot be read")
	}
	if p.study.ID == "" {
		return fault.Field("file", "is empty, where an exported study is expected")
	}
	if p.prompts == 0 {
		return fault.Field("file", "has no prompts")
	}
	return nil
}

// put hands something on, unless this only checks.
func put[T any](p *parser, to func(Importing, T) error, v T) error {
	if p.to == nil {
		return nil
	}
	return to(p.to, v)
}

// line takes one line. Errors name the field.
func (p *parser) line(b []byte) error {
	if !utf8.Valid(b) {
		return fault.New(fault.Invalid, "is not valid UTF-8")
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := lineShape().Check(b); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		return fault.New(fault.Invalid, "is not a JSON object: %s", err)
	}
	if (kind.Type == "study") != (p.study.ID == "") {
		return fault.Field("type", "%.20q, where a study begins with one line of type \"study\"", kind.Type)
	}
	switch kind.Type {
	case "study":
		return take(b, p.head)
	case "prompt":
		return take(b, p.prompt)
	case "output":
		return take(b, p.output)
	case "rating":
		return take(b, p.rating)
	}
	return fault.Field("type", "%.20q is none of prompt, output, rating", kind.Type)
}

// take decodes a line and hands it to what checks that kind of line.
func take[T any](b []byte, then func(*T) error) error {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return fault.New(fault.Invalid, "cannot be read: %s", err)
	}
	return then(&v)
}

// head takes the first line: the study itself.
func (p *parser) head(h *exportedHead) error {
	if h.Format != ExportFormat {
		return fault.Field("format", "%.40q, where %q is expected", h.Format, ExportFormat)
	}
	if h.Version != ExportVersion {
		return fault.Field("version", "%d, where this program reads %d", h.Version, ExportVersion)
	}
	if !(h.Beta >= 0) || math.IsInf(h.Beta, 0) {
		return fault.Field("beta", "%g is not a finite number from 0", h.Beta)
	}
	if err := checkTime("created_at", h.CreatedAt); err != nil {
		return err
	}
	if b, err := hex.DecodeString(h.Secret); err != nil || len(b) != 0 && len(b) != sha256.Size {
		return fault.Field("secret", "is not %d bytes in hexadecimal", sha256.Size)
	}
	if err := h.Setup.Validate(); err != nil {
		return err
	}
	h.Setup.Secret = h.Secret
	s := &p.study
	s.ID, s.Setup, s.Beta, s.Files, s.Build, s.CreatedAt = id.New(), h.Setup, h.Beta, h.Files, h.Build, h.CreatedAt
	return put(p, Importing.Study, *s)
}

// checkTime refuses what no clock of a server says.
func checkTime(field string, t time.Time) error {
	if y := t.Year(); y < 2000 || y > 9999 {
		return fault.Field(field, "is not between the years 2000 and 9999")
	}
	return nil
}

// prompt takes a prompt, whose place must be the next.
func (p *parser) prompt(line *exportedPrompt) error {
	q := line.Prompt
	if len(p.outputs)+p.ratings > 0 {
		return fault.Field("type", "a prompt after outputs or ratings")
	}
	if want := p.prompts + 1; q.Place != want || want > MaxPrompts {
		return fault.Field("place", "%d, where %d is expected and at most %d", q.Place, want, MaxPrompts)
	}
	if q.Text == "" {
		return fault.Field("prompt", "is empty")
	}
	for field, text := range map[string]string{"prompt": q.Text, "system": q.System} {
		if n := len(text); n > decode.MaxPromptBytes {
			return fault.Field(field, "%d bytes, at most %d", n, decode.MaxPromptBytes)
		}
	}
	if len(q.History) > 0 { // roles and size
		spec := p.study.Setup.spec(&q)
		spec.Lanes = []decode.Lane{{Lambda: decode.Vector{p.study.Setup.Grid[0]}}}
		if err := spec.Validate(); err != nil {
			return err
		}
	}
	p.prompts++
	return put(p, Importing.Prompt, q)
}

// output takes an output of a prompt and λ that there are. Its text is handed on and not kept.
func (p *parser) output(line *exportedOutput) error {
	o := line.Output
	if p.ratings > 0 {
		return fault.Field("type", "an output after ratings")
	}
	if _, ok := p.outputOf[o.ID]; ok || o.ID == "" {
		return fault.Field("id", "%.20q is empty or there twice", o.ID)
	}
	if o.Prompt < 1 || o.Prompt > p.prompts {
		return fault.Field("prompt", "there is no prompt %d", o.Prompt)
	}
	if !slices.Contains(p.study.Setup.Grid, o.Lambda) {
		return fault.Field("lambda", "%g is not in the grid", o.Lambda)
	}
	if o.Sample < 0 || o.Sample > MaxSamples { // same-λ trials show one more than the setup asks for
		return fault.Field("sample", "%d is outside 0 to %d", o.Sample, MaxSamples)
	}
	if o.Tokens < 0 || len(o.Text) > maxOutputText {
		return fault.Field("text", "more than %d bytes, or fewer than no tokens", maxOutputText)
	}
	if len(o.Reason) > 20 {
		return fault.Field("reason", "%.20q is none of stop, length", o.Reason)
	}
	key := [4]float64{float64(o.Prompt), o.Lambda, float64(o.Sample), 0}
	if o.Broken {
		key[3] = 1
	}
	if p.decoded[key] {
		return fault.Field("sample", "prompt %d has sample %d at λ %g twice", o.Prompt, o.Sample, o.Lambda)
	}
	if len(p.outputs) >= 2*MaxOutputs {
		return fault.Field("id", "more than %d outputs", 2*MaxOutputs)
	}
	p.decoded[key] = true
	p.outputOf[o.ID] = len(p.outputs)
	o.ID, o.Done = id.New(), true
	slim := o
	slim.Text, slim.Reason = "", ""
	p.outputs = append(p.outputs, slim)
	return put(p, Importing.Output, o)
}

// rating takes a rating, with its item and annotator where they are new. Ratings come in the order in which they
// were made.
func (p *parser) rating(r *exportedRating) error {
	item, shown, err := p.item(r)
	if err != nil {
		return err
	}
	annotator, err := p.annotator(r.Annotator, r.AskedAt)
	if err != nil {
		return err
	}
	for field, at := range map[string]time.Time{"asked_at": r.AskedAt, "at": r.At} {
		if err := checkTime(field, at); err != nil {
			return err
		}
	}
	if p.ratings > 0 && r.At.Before(p.last) {
		return fault.Field("at", "is before the rating above it")
	}
	if err := r.Answer.Check(&p.study.Setup, &p.items[item]); err != nil {
		return err
	}
	if p.rated[[2]int{item, annotator}] {
		return fault.Field("annotator", "%s rated item %.20s twice", r.Annotator, r.Item)
	}
	p.rated[[2]int{item, annotator}] = true
	p.ratings++
	p.last = r.At
	who := &p.annotators[annotator]
	who.places++
	a := Assignment{
		ID: fmt.Sprintf("%s%08d", p.prefix, p.ratings), Place: who.places, Study: p.study.ID, Item: p.items[item].ID, Annotator: who.ID,
		Shown: shown, State: Answered, AskedAt: r.AskedAt, Expires: r.At, At: r.At, Answer: r.Answer,
	}
	if r.Answer.Skip != "" {
		a.State = Skipped
	}
	return put(p, Importing.Assignment, a)
}

// item finds or makes the item that a rating is about, and the ids of what was shown.
func (p *parser) item(r *exportedRating) (int, []string, error) {
	it := Item{Kind: r.Kind, Prompt: r.Prompt, Catch: r.Catch}
	var shown []string
	var sides []*Output
	if len(r.Lambda) != len(r.Shown) {
		return 0, nil, fault.Field("lambda", "%d values for %d outputs", len(r.Lambda), len(r.Shown))
	}
	for i, name := range r.Shown {
		k, ok := p.outputOf[name]
		if !ok {
			return 0, nil, fault.Field("shown", "there is no output %.20q", name)
		}
		o := &p.outputs[k]
		if o.Prompt != r.Prompt || o.Lambda != r.Lambda[i] || slices.Contains(shown, o.ID) {
			return 0, nil, fault.Field("shown", "output %.20s is of another prompt or λ, or there twice", name)
		}
		shown, sides = append(shown, o.ID), append(sides, o)
	}
	if err := it.fill(sides, &p.study.Setup); err != nil {
		return 0, nil, err
	}
	if k, ok := p.itemOf[r.Item]; ok {
		known := p.items[k]
		it.ID = known.ID
		if known.Kind != it.Kind || known.Prompt != it.Prompt || known.Catch != it.Catch || !slices.Equal(known.Outputs, it.Outputs) {
			return 0, nil, fault.Field("item", "item %.20s was another question above", r.Item)
		}
		return k, shown, nil
	}
	if r.Item == "" || len(p.items) >= maxImportItems {
		return 0, nil, fault.Field("item", "is empty, or there are more than %d", maxImportItems)
	}
	it.ID = id.New()
	p.itemOf[r.Item] = len(p.items)
	p.items = append(p.items, it)
	return p.itemOf[r.Item], shown, put(p, Importing.Item, it)
}

// fill gives an item the outputs that a rating shows, in the item's own order, and checks that they are a
// question of its kind. A catch trial comes as it was shown.
func (it *Item) fill(shown []*Output, s *Setup) error {
	least, most, asked := 2, 2, s.Pairwise
	switch it.Kind {
	case AskPairwise:
	case AskLikert:
		least, most, asked = 1, 1, s.Likert != nil
	case AskRanking:
		most, asked = preference.MaxRanked, s.Ranked > 0
	default:
		return fault.Field("question", "%.20q is none of pairwise, likert, ranking", string(it.Kind))
	}
	if !asked {
		return fault.Field("question", "the setup has none of kind %s", it.Kind)
	}
	if n := len(shown); n < least || n > most {
		return fault.Field("shown", "%d outputs in a question of kind %s", n, it.Kind)
	}
	// Which trial it is follows from the outputs; the file must say the same.
	want, err := s.caught(it.Kind, shown)
	if err != nil {
		return err
	}
	if it.Catch != want {
		return fault.Field("catch", "%.20q, where the outputs make it %q", string(it.Catch), string(want))
	}
	if it.Catch == preference.BrokenA {
		it.Catch = preference.BrokenB // of an item: the spoilt one is last, wherever it was shown
	}
	// Items list their outputs by λ, whatever order they were shown in.
	ordered := slices.Clone(shown)
	slices.SortFunc(ordered, func(a, b *Output) int {
		switch {
		case a.Broken != b.Broken:
			return map[bool]int{true: 1, false: -1}[a.Broken]
		case a.Lambda < b.Lambda:
			return -1
		case a.Lambda > b.Lambda:
			return 1
		}
		return a.Sample - b.Sample
	})
	for _, o := range ordered {
		it.Outputs = append(it.Outputs, o.ID)
	}
	it.Low, it.High = ordered[0].Lambda, ordered[0].Lambda
	for _, o := range ordered {
		it.Low, it.High = min(it.Low, o.Lambda), max(it.High, o.Lambda)
	}
	return nil
}

// caught is what the outputs of a question, as they were shown, make of it: a spoilt one a trial with a spoilt answer,
// one λ twice a trial of the same λ, as does a score of a sample that only such trials show.
func (s *Setup) caught(kind Kind, shown []*Output) (preference.Catch, error) {
	catch, lambdas := preference.NoCatch, map[float64]bool{}
	for i, o := range shown {
		if o.Broken && catch != preference.NoCatch {
			return catch, fault.Field("shown", "more than one spoilt output")
		}
		if o.Broken {
			catch = preference.Broken
			if kind == AskPairwise {
				catch = []preference.Catch{preference.BrokenA, preference.BrokenB}[i]
			}
		}
		lambdas[o.Lambda] = true
	}
	twice := len(lambdas) < len(shown)
	if kind == AskLikert {
		twice = shown[0].Sample >= s.Samples
	}
	if catch == preference.NoCatch && twice {
		return preference.SameLambda, nil
	}
	return catch, nil
}

// annotator finds or makes an annotator.
func (p *parser) annotator(name string, at time.Time) (int, error) {
	clean, err := CleanName(name)
	if err != nil || len(strings.Fields(name)) != len(strings.Split(name, " ")) {
		return 0, fault.Field("annotator", "%.70q is not a display name of 1 to %d characters", name, MaxName)
	}
	name = clean // exports of earlier versions were not normalised
	key := FoldName(name)
	if k, ok := p.annotatorOf[key]; ok {
		if p.annotators[k].Name != name {
			return 0, fault.Field("annotator", "%q and %q differ only in their letters' case", name, p.annotators[k].Name)
		}
		return k, nil
	}
	if len(p.annotators) >= MaxAnnotators {
		return 0, fault.Field("annotator", "%.70q is one of more than %d annotators", name, MaxAnnotators)
	}
	a := Annotator{ID: id.New(), Study: p.study.ID, Name: name, JoinedAt: at}
	p.annotatorOf[key] = len(p.annotators)
	p.annotators = append(p.annotators, rater{Annotator: a})
	return p.annotatorOf[key], put(p, Importing.Annotator, a)
}

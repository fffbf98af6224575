package llamacpp

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"realign/internal/decode"
	"realign/internal/gguf"
)

//go:embed probes.txt
var probeTexts string

// Probes are texts that two tokenizers should make the same tokens of if they are one: scripts, code, numbers, emoji, spaces, and
// the spellings of special tokens.
func Probes() []string {
	var all []string
	for line := range strings.Lines(probeTexts) {
		line = strings.TrimRight(line, "\n")
		all = append(all, line, " "+line, line+"\n", strings.ToUpper(line))
	}
	for n := range 18 { // runs of white space of every length are tokens of their own in many vocabularies
		all = append(all, "a"+strings.Repeat(" ", n)+"b", strings.Repeat("\n", n)+"x", "\t"+strings.Repeat(" ", n)+"return")
	}
	for n := 1; n < 1e9; n = n*7 + 3 {
		all = append(all, fmt.Sprint(n), fmt.Sprintf("%d.%d", n, n%97), fmt.Sprintf("-%d%%", n))
	}
	return all
}

// CheckTokens compares how an aligned model's own tokenizer and the reference's take the probes apart. Adapters and prompts have the
// reference's. The first text that becomes other tokens is named, with how many there are.
func (p *Pair) CheckTokens(name string) ([]gguf.Finding, error) {
	a := p.aligned[name]
	if a == nil || a.isAdapter {
		return nil, nil
	}
	w, err := loadVocabulary(a.path)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return compareTokenizers(p.vocabulary, newVocabulary(w, "")), nil
}

// compareTokenizers is what differs between the tokens of probes. Ordinary text that differs makes mixing wrong; spellings of
// special tokens matter where a template writes them.
func compareTokenizers(reference, aligned *vocabulary) (findings []gguf.Finding) {
	probes := Probes()
	if text, r, a, n := firstDifference(reference, aligned, probes, false); n > 0 {
		findings = append(findings, gguf.Finding{Level: gguf.Fault, Text: fmt.Sprintf(
			"%d of %d probing texts become other tokens than in the reference, the first %.60q: %v, not %v", n, len(probes), text, a, r)})
	}
	var spellings []string
	for _, v := range []*vocabulary{reference, aligned} {
		for _, s := range v.special {
			if s.text != "" && len(spellings) < 400 {
				spellings = append(spellings, s.text, "a"+s.text+" b")
			}
		}
	}
	if text, r, a, n := firstDifference(reference, aligned, spellings, true); n > 0 {
		findings = append(findings, gguf.Finding{Level: gguf.Note, Text: fmt.Sprintf(
			"%d texts with special tokens become other tokens than in the reference, whose are used, the first %.60q: %v, not %v", n, text, a, r)})
	}
	return findings
}

// firstDifference is the first text that two vocabularies take apart otherwise, both ways, and the number of such texts.
func firstDifference(reference, aligned *vocabulary, texts []string, special bool) (text string, r, a []decode.Token, n int) {
	for _, x := range texts {
		one, errOne := reference.Encode(x, special)
		other, errOther := aligned.Encode(x, special)
		if (errOne == nil) == (errOther == nil) && slices.Equal(one, other) {
			continue
		}
		if n++; n == 1 {
			text, r, a = x, one, other
		}
	}
	return text, r, a, n
}

// CheckVocabularies loads the vocabularies of a pair, without weights, and tells what CheckTokens and CheckChat find: by the name of the aligned
// model, and for the chat template under "". The error is Invalid for files that cannot be loaded together.
func CheckVocabularies(spec Spec) (found map[string][]gguf.Finding, err error) {
	p, template, err := prepare(spec)
	if err != nil {
		return nil, err
	}
	if p.weights, err = loadVocabulary(spec.Reference); err != nil {
		return nil, err
	}
	defer p.weights.Close()
	if p.vocabulary, err = p.newVocabulary(template); err != nil {
		return nil, err
	}
	defer p.vocabulary.chat.Close()
	found = map[string][]gguf.Finding{}
	for name := range p.aligned {
		list, err := p.CheckTokens(name)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			found[name] = list
		}
	}
	notes, err := p.vocabulary.CheckChat()
	for _, note := range notes {
		found[""] = append(found[""], gguf.Finding{Level: gguf.Note, Text: note})
	}
	if err != nil {
		found[""] = append(found[""], gguf.Finding{Level: gguf.Fault, Text: err.Error()})
	}
	return found, nil
}

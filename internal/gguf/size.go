package gguf

import (
	"fmt"
	"slices"
	"strings"
)

// Tokens is the number of entries in the vocabulary, padding included.
func (f *File) Tokens() int { return len(f.tokens()) }

// compareSizes tells of tokens that only one of two models has, and of ends of a generation among them.
func compareSizes(reference, aligned *File) (findings []Finding) {
	r, a := reference.tokens(), aligned.tokens()
	if len(r) == len(a) {
		return nil
	}
	note := func(format string, args ...any) {
		findings = append(findings, Finding{Note, fmt.Sprintf(format, args...)})
	}
	both := min(len(r), len(a))
	file, longer, whose, at := reference, r, "the reference", "λ = 0"
	if len(a) > len(r) {
		file, longer, whose, at = aligned, a, "it", "λ = 1"
	}
	if i := file.spoken(both); i >= 0 {
		return []Finding{{Fault, fmt.Sprintf("it has %d tokens, the reference %d: token %d, %q, which texts become part of, only %s has", len(a), len(r), i, longer[i], whose)}}
	}
	note("it has %d tokens, the reference %d: what is mixed is the %d that both have; those from %d on, %q, which only %s has, can be said at %s alone",
		len(a), len(r), both, both, longer[both], whose, at)
	for _, end := range slices.Concat(reference.Ends(), aligned.Ends()) {
		if end >= both {
			note("token %d, %q, ends a generation, and only %s has it: in a mixture a lane does not end by it", end, longer[end], whose)
			break
		}
	}
	return findings
}

// spoken is the first token, from one on, that a text without special tokens may become: what a merge makes, or, where there are no
// merges, an ordinary one. It is −1 if there is none: padding, and tokens that are spelled out to be meant.
func (f *File) spoken(from int) int {
	tokens, types := f.tokens(), f.types()
	merged := map[string]bool{}
	for _, m := range f.merges() {
		left, right, _ := strings.Cut(m, " ")
		merged[left+right] = true
	}
	for i := from; i < len(tokens); i++ {
		if merged[tokens[i]] || len(merged) == 0 && i < len(types) && types[i] == Normal {
			return i
		}
	}
	return -1
}

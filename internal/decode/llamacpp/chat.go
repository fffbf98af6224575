package llamacpp

import (
	"cmp"
	"slices"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
)

// EncodeChat renders messages with the model's template and tokenises the result.
//
// A special token's spelling inside a message is text like any other. To keep it so, its first character
// is replaced by one that occurs nowhere else while the template is rendered and special tokens are
// looked for, and put back before the text around it is tokenised.
func (v *vocabulary) EncodeChat(messages []decode.Message) ([]decode.Token, error) {
	return v.EncodeRendered(messages, decode.Rendering{})
}

// EncodeRendered is EncodeChat with a date and variables for the template.
func (v *vocabulary) EncodeRendered(messages []decode.Message, with decode.Rendering) ([]decode.Token, error) {
	if v.chat == nil && v.closing >= 0 {
		return v.encodeMessage(messages)
	}
	if v.chat == nil {
		return nil, fault.New(fault.Invalid, "the model has no chat template: use a plain text to complete")
	}
	if len(messages) == 0 {
		return nil, fault.Field("messages", "give at least one")
	}
	for i, m := range messages {
		if m.Role != "system" && m.Role != "user" && m.Role != "assistant" {
			return nil, fault.Field("messages", "message %d has role %q, not system, user or assistant", i+1, m.Role)
		}
	}
	// A variable is the caller's, and no caller may write special tokens.
	for name, value := range with.Variables {
		text, _ := value.(string)
		if i := slices.IndexFunc(v.special, func(s special) bool { return s.text != "" && strings.Contains(text, s.text) }); i >= 0 {
			return nil, fault.Field("variables", "%s has %q, which is a token of the model's own", name, v.special[i].text)
		}
	}
	disguise := newDisguise(v.special, messages)
	text, err := v.chat.render(disguise.wear(messages), with)
	if err != nil {
		return nil, err
	}
	// Nothing in the messages looks like a special token: the text is tokenized as a whole.
	if !disguise.needed() {
		tokens, err := v.Encode(text, true)
		if err != nil {
			return nil, err
		}
		return v.EndPrompt(v.started(tokens)), nil
	}
	// Only special tokens that the template wrote are tokens; those in messages were disguised, and become text again.
	var tokens []decode.Token
	for _, part := range split(text, v.special) {
		if part.token >= 0 {
			tokens = append(tokens, part.token)
			continue
		}
		plain, err := v.Encode(disguise.remove(part.text), false)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, plain...)
	}
	return v.EndPrompt(v.started(tokens)), nil
}

// encodeMessage is how an encoder–decoder model without a template takes a conversation: one message is its text. Such models were not
// taught what a longer one looks like.
func (v *vocabulary) encodeMessage(messages []decode.Message) ([]decode.Token, error) {
	if len(messages) != 1 {
		return nil, fault.Field("messages", "the model reads a text with an encoder and has no chat template: give one message, which is taken as the text, not %d", len(messages))
	}
	return v.EncodePlain(messages[0].Content)
}

// disguise hides the spellings of special tokens: spelling i starts with character first+i instead of its
// own.
type disguise struct {
	hidden []string // spellings that occur in the messages, longest first
	first  rune     // a character for private use
}

// newDisguise finds the spellings that messages contain, and characters that they do not.
func newDisguise(all []special, messages []decode.Message) *disguise {
	d := &disguise{}
	for _, s := range all {
		occurs := func(m decode.Message) bool { return strings.Contains(m.Content, s.text) }
		if s.text != "" && slices.ContainsFunc(messages, occurs) {
			d.hidden = append(d.hidden, s.text)
		}
	}
	// A run of characters for private use that no message contains. There are 65,534 of them in one plane.
	for d.first = 0xF0000; d.clashes(messages); d.first += rune(len(d.hidden)) {
	}
	return d
}

// clashes reports whether a message contains one of the characters.
func (d *disguise) clashes(messages []decode.Message) bool {
	used := func(r rune) bool { return r >= d.first && r < d.first+rune(len(d.hidden)) }
	return slices.ContainsFunc(messages, func(m decode.Message) bool { return strings.ContainsFunc(m.Content, used) })
}

// needed reports whether any spelling has to be hidden.
func (d *disguise) needed() bool { return len(d.hidden) > 0 }

// mask is what stands for hidden spelling i.
func (d *disguise) mask(i int) string {
	_, rest := cutRune(d.hidden[i])
	return string(d.first+rune(i)) + rest
}

// wear is the messages with the spellings hidden. The messages themselves are not changed.
func (d *disguise) wear(messages []decode.Message) []decode.Message {
	if !d.needed() {
		return messages
	}
	pairs := make([]string, 0, 2*len(d.hidden))
	for i, text := range d.hidden { // longest first: the replacer prefers earlier pairs
		pairs = append(pairs, text, d.mask(i))
	}
	replacer := strings.NewReplacer(pairs...)
	masked := slices.Clone(messages)
	for i := range masked {
		masked[i].Content = replacer.Replace(masked[i].Content)
	}
	return masked
}

// remove puts the hidden spellings' own first characters back.
func (d *disguise) remove(text string) string {
	pairs := make([]string, 0, 2*len(d.hidden))
	for i, hidden := range d.hidden {
		first, _ := cutRune(hidden)
		pairs = append(pairs, string(d.first+rune(i)), first)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// cutRune splits a text after its first character.
func cutRune(s string) (first, rest string) {
	for i := range s {
		if i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// split cuts a text at special tokens as llama.cpp does: at all occurrences of the longest first. Plain
// text between them has token -1.
func split(text string, all []special) []special {
	parts := []special{{-1, text}}
	for _, s := range all {
		if s.text == "" || !strings.Contains(text, s.text) {
			continue
		}
		var next []special
		for _, p := range parts {
			if p.token >= 0 {
				next = append(next, p)
				continue
			}
			for i, piece := range strings.Split(p.text, s.text) {
				if i > 0 {
					next = append(next, s)
				}
				if piece != "" {
					next = append(next, special{-1, piece})
				}
			}
		}
		parts = next
	}
	return parts
}

// longestFirst sorts special tokens by the length of their spellings, equal lengths in the order of tokens.
func longestFirst(all []special) {
	slices.SortStableFunc(all, func(a, b special) int { return cmp.Compare(len(b.text), len(a.text)) })
}

package templates

import "strings"

// about is what the pair is and what it is aligned to, in short, as the controller writes it, too (web/static/compose/about.ts).
func (v Playground) about() string {
	for _, p := range v.Pairs {
		if p.Name != v.Draft.Pair {
			continue
		}
		var said []string
		for _, m := range p.Aligned {
			if v.uses(m) && m.About != "" {
				said = append(said, "Aligned model: "+m.About)
			}
		}
		said = append(said, p.About)
		return strings.TrimSpace(strings.Join(said, " "))
	}
	return ""
}

// FirstSentence is the first sentence of a description.
func FirstSentence(s string) string {
	first, _, more := strings.Cut(s, ". ")
	if more {
		first += "."
	}
	return first
}

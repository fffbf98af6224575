package preference

import "fmt"

// Scope says whom a result speaks for. Annotators and prompts are samples: what they say speaks for people and prompts
// like them where there are enough to see how much these differ among each other, and otherwise for them alone.
type Scope struct {
	Annotators int  `json:"annotators"`  // whose answers count
	People     bool `json:"people"`      // speaks for people like them
	Prompts    int  `json:"prompts"`     // that the answers are about
	AnyPrompts bool `json:"any_prompts"` // speaks for prompts like them
}

// LeastAnnotators and LeastPrompts are the fewest annotators and prompts that a result generalises from. The exact test of flatness has 2^(n−1) different
// patterns of signs of n annotators: with 5 its least p-value is 1/16.
const (
	LeastAnnotators = 6
	LeastPrompts    = 5
)

// scope is whom the comparisons speak for.
func (t *comparisons) scope() Scope {
	return Scope{t.annotators, t.annotators >= LeastAnnotators, t.prompts, t.prompts >= LeastPrompts}
}

// String is the scope in words: "people like these 12 annotators, prompts like these 40".
func (s Scope) String() string {
	return one(s.People, "people like ", s.Annotators, "annotator") + ", " + one(s.AnyPrompts, "prompts like ", s.Prompts, "prompt")
}

// one is a part of a Scope in words: of annotators or of prompts.
func one(general bool, like string, n int, what string) string {
	these := fmt.Sprintf("these %d %ss", n, what)
	switch {
	case n == 0:
		return "no " + what
	case n == 1:
		these = "this one " + what
	}
	if general {
		if what == "prompt" {
			these = fmt.Sprintf("these %d", n)
		}
		return like + these
	}
	return these
}

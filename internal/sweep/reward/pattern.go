package reward

import (
	"regexp"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// patternParameters are those of pattern, as its Schema describes them.
type patternParameters struct {
	Pattern    string   `json:"pattern"`     // regular expression, RE2; this or Keywords
	Keywords   []string `json:"keywords"`    // words or phrases
	IgnoreCase bool     `json:"ignore_case"` // capitals and small letters are the same
	Absent     bool     `json:"absent"`      // reward what does not occur
}

// maxKeywords bounds a list of keywords.
const maxKeywords = 1000

// pattern is a regular expression (RE2, whose time is linear in the text) or keywords.
func pattern() maker {
	return simple(Info{
		Name: "pattern", Title: "Pattern or keywords", Direction: sweep.Higher,
		About: "1 where the regular expression matches somewhere in the answer and 0 elsewhere; or the share of the keywords that occur as whole words.",
		Schema: []Parameter{
			{"pattern", "regular expression in RE2 syntax; this or keywords", ""},
			{"keywords", "list of words or phrases; this or pattern", ""},
			{"ignore_case", "whether capitals and small letters are the same", "true"},
			{"absent", "whether to reward what does not occur: 1 less the value", "false"},
		},
	}, patternParameters{IgnoreCase: true}, func(p *patternParameters, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		if (p.Pattern == "") == (len(p.Keywords) == 0) {
			return nil, fault.Field("pattern", "either pattern or keywords is needed, and not both")
		}
		if len(p.Keywords) > maxKeywords {
			return nil, fault.Field("keywords", "%d, at most %d", len(p.Keywords), maxKeywords)
		}
		sources, field := []string{p.Pattern}, "pattern"
		if p.Pattern == "" {
			sources, field = nil, "keywords"
			for _, word := range p.Keywords {
				if len(words(word)) == 0 {
					return nil, fault.Field(field, "%q has no letter or digit", word)
				}
				// \b of RE2 knows ASCII only.
				sources = append(sources, `(?:^|[^\pL\pN_])`+regexp.QuoteMeta(word)+`(?:$|[^\pL\pN_])`)
			}
		}
		var compiled []*regexp.Regexp
		for _, source := range sources {
			if len(source) > 1000 {
				return nil, fault.Field(field, "%d bytes, at most 1000", len(source))
			}
			if p.IgnoreCase {
				source = "(?i)" + source
			}
			re, err := regexp.Compile(source)
			if err != nil {
				return nil, fault.Field(field, "is no regular expression: %v", err)
			}
			compiled = append(compiled, re)
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value {
			hits := 0
			for _, re := range compiled {
				if re.MatchString(o.Text) {
					hits++
				}
			}
			share := float64(hits) / float64(len(compiled))
			if p.Absent {
				share = 1 - share
			}
			return sweep.Of(share)
		}, nil
	})
}

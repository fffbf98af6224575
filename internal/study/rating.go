package study

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"realign/internal/fault"
	"realign/internal/preference"
)

// Limits on what annotators may say.
const (
	MaxName    = 60   // characters of a display name
	MaxComment = 2000 // characters
	MaxSkip    = 300  // characters of a reason to skip
)

// Kind of question.
type Kind string

const (
	AskPairwise Kind = "pairwise" // which of two answers is better?
	AskLikert   Kind = "likert"   // how good is this answer, by several criteria?
	AskRanking  Kind = "ranking"  // which is the best of several, and which the worst?
)

// Item is one question about outputs of one prompt. Its outputs have no order of their own.
// Items are made when decoding ends, or imported, and never change.
type Item struct {
	ID      string   // random
	Kind    Kind     // which question it is
	Prompt  int      // its place
	Outputs []string // ids: 2 for pairwise (of ascending λ, a spoilt one last), 1 for Likert
	Low     float64  // the least and the greatest λ
	High    float64
	Catch   preference.Catch // NoCatch, SameLambda, BrokenB where the second of a pair is spoilt, or Broken
}

// Annotator is somebody who joined by the invite link. Names are told apart by FoldName. Whoever has the secret
// that Join returns is this annotator.
type Annotator struct {
	ID       string // random
	Study    string // its id
	Name     string // as CleanName has it; unique in the study
	JoinedAt time.Time
}

// CleanName is a display name as it is kept: one line, in Unicode's normal form KC, so that what looks alike is alike. It is
// Invalid when empty, longer than MaxName, or with characters that cannot be seen or change how what stands around is read.
func CleanName(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", fault.Field("name", "is not valid UTF-8")
	}
	name = strings.Join(strings.Fields(norm.NFKC.String(name)), " ")
	if n := utf8.RuneCountInString(name); n == 0 || n > MaxName {
		return "", fault.Field("name", "has %d characters, where 1 to %d are needed", n, MaxName)
	}
	if strings.ContainsFunc(name, hidden) {
		return "", fault.Field("name", "has characters that cannot be seen, such as controls or marks of the direction of writing: leave them out")
	}
	return name, nil
}

// Characters that join letters of some scripts: they belong to names, and do not tell them apart.
const (
	nonJoiner = '\u200c'
	joiner    = '\u200d'
)

// hidden reports whether a character shows nothing itself.
func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != joiner && r != nonJoiner || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Co)
}

// FoldName is the same for names that a person would take for one: of clean names, without regard to case.
func FoldName(name string) string {
	name = strings.NewReplacer(string(joiner), "", string(nonJoiner), "").Replace(name)
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))
}

// State of an assignment.
type State string

const (
	Asked    State = "asked"    // the annotator has it before them
	Answered State = "answered" // a rating
	Skipped  State = "skipped"  // with a reason; does not count towards the overlap
	Undone   State = "undone"   // was answered or skipped, and taken back: asked again under another id
	Released State = "released" // given back unanswered, or run out
)

// Assignment is an item given to an annotator: a reserved place of its overlap until Expires, and the
// rating once it is answered. Its id is random and says nothing; it is all of the question's identity
// that a browser sees, and the key under which an answer is saved exactly once.
type Assignment struct {
	ID        string    // random
	Study     string    // its id
	Item      string    // its id
	Annotator string    // their id
	Place     int       // among the annotator's assignments, from 1
	Shown     []string  // ids of the outputs in the order shown
	State     State     // see Asked and those after it
	AskedAt   time.Time // when its place was reserved
	Expires   time.Time // of the reservation
	At        time.Time // when it was answered or skipped
	Answer    Answer    // empty until then
}

// Answer is what an annotator said. Which fields are set depends on the item's kind.
type Answer struct {
	Choice  preference.Choice `json:"choice,omitempty"`  // of a pair; "" for other kinds
	Scores  map[string]int    `json:"scores,omitempty"`  // by criterion
	Rank    []int             `json:"rank,omitempty"`    // of each output as shown: 1 the best, the number of outputs the worst, 2 between
	Comment string            `json:"comment,omitempty"` // where the study takes comments
	Skip    string            `json:"skip,omitempty"`    // why it was skipped, instead of all the others
}

// BestWorst is the ranking of n answers of which only the best and the worst are told apart, by their
// places as shown from 0.
func BestWorst(n, best, worst int) []int {
	rank := slices.Repeat([]int{2}, n)
	rank[best], rank[worst] = 1, n
	return rank
}

// Check refuses an answer that does not fit the question. The error is Invalid and names the field.
func (a *Answer) Check(s *Setup, item *Item) error {
	if n := utf8.RuneCountInString(a.Comment); n > MaxComment {
		return fault.Field("comment", "%d characters, at most %d", n, MaxComment)
	}
	if a.Comment != "" && !s.Comments {
		return fault.Field("comment", "this study takes none")
	}
	if a.Skip != "" {
		if n := utf8.RuneCountInString(a.Skip); n > MaxSkip {
			return fault.Field("reason", "%d characters, at most %d", n, MaxSkip)
		}
		return nil
	}
	switch item.Kind {
	case AskPairwise:
		switch a.Choice {
		case preference.PreferA, preference.PreferB, preference.Tie, preference.BothBad:
		case "":
			return fault.Field("choice", "choose one of the four answers")
		default:
			return fault.Field("choice", "%.20q is none of a, b, tie, both_bad", string(a.Choice))
		}
	case AskLikert:
		for _, name := range s.Likert.Criteria {
			score, ok := a.Scores[name]
			if !ok {
				return fault.Field("scores", "%q is not scored", name)
			}
			if score < 1 || score > s.Likert.Points {
				return fault.Field("scores", "%d for %q is not from 1 to %d", score, name, s.Likert.Points)
			}
		}
		if len(a.Scores) != len(s.Likert.Criteria) {
			return fault.Field("scores", "%d scores for %d criteria", len(a.Scores), len(s.Likert.Criteria))
		}
	case AskRanking:
		n := len(item.Outputs)
		if len(a.Rank) != n || !slices.Contains(a.Rank, 1) || !slices.Contains(a.Rank, n) {
			return fault.Field("rank", "choose the best and the worst of the %d answers, not the same one", n)
		}
	}
	return nil
}

// Rating is an answered or skipped assignment with all that it is about.
type Rating struct {
	Assignment
	Name    string           // of the annotator
	Kind    Kind             // which question it was
	Catch   preference.Catch // as shown: BrokenA when the spoilt answer stood first
	Prompt  Prompt           // that the outputs answer
	Outputs []Output         // in the order shown
	Points  int              // of the Likert scale
}

// Pairwise is the rating as the statistics take it; false unless it is an answer of that kind.
func (r *Rating) Pairwise() (preference.Pairwise, bool) {
	if r.Kind != AskPairwise || r.State != Answered {
		return preference.Pairwise{}, false
	}
	return preference.Pairwise{
		Item: r.Item, Prompt: r.Prompt.Key(), Annotator: r.Name, Category: r.Prompt.Category,
		A: r.Outputs[0].Side(), B: r.Outputs[1].Side(), Choice: r.Answer.Choice, Catch: r.Catch,
	}, true
}

// Scores are the rating's scores, one per criterion by name; none unless it is an answer of that kind.
func (r *Rating) Scores() []preference.Likert {
	if r.Kind != AskLikert || r.State != Answered {
		return nil
	}
	var scores []preference.Likert
	for name, score := range r.Answer.Scores {
		scores = append(scores, preference.Likert{
			Item: r.Item, Prompt: r.Prompt.Key(), Annotator: r.Name, Category: r.Prompt.Category,
			Criterion: name, Side: r.Outputs[0].Side(), Score: score, Points: r.Points, Catch: r.Catch,
		})
	}
	slices.SortFunc(scores, func(a, b preference.Likert) int { return strings.Compare(a.Criterion, b.Criterion) })
	return scores
}

// Ranking is the rating as the statistics take it; false unless it is an answer of that kind.
func (r *Rating) Ranking() (preference.Ranking, bool) {
	if r.Kind != AskRanking || r.State != Answered {
		return preference.Ranking{}, false
	}
	ranking := preference.Ranking{Item: r.Item, Prompt: r.Prompt.Key(), Annotator: r.Name, Category: r.Prompt.Category, Rank: r.Answer.Rank, Catch: r.Catch}
	for i := range r.Outputs {
		ranking.Sides = append(ranking.Sides, r.Outputs[i].Side())
		if r.Outputs[i].Broken {
			ranking.Spoilt = i
		}
	}
	return ranking, true
}

// Sort sorts ratings by kind; skipped ones are left out.
func Sort(ratings []Rating) (a preference.Answers) {
	for i := range ratings {
		r := &ratings[i]
		if p, ok := r.Pairwise(); ok {
			a.Pairwise = append(a.Pairwise, p)
		}
		a.Scores = append(a.Scores, r.Scores()...)
		if ranking, ok := r.Ranking(); ok {
			a.Rankings = append(a.Rankings, ranking)
		}
	}
	return a
}

// ShownCatch is a catch trial of an item as it is shown: which of the answers is spoilt.
func ShownCatch(catch preference.Catch, first Output) preference.Catch {
	if catch == preference.BrokenB && first.Broken {
		return preference.BrokenA
	}
	return catch
}

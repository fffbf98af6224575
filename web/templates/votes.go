package templates

import (
	"strconv"
	"strings"
)

// StudyVotes is "/studies/{id}/votes": prompts × λ with the texts that people rated.
type StudyVotes struct {
	Layout
	Study   string
	Name    string
	Lambdas []float64     // columns of the table
	Prompts []VotedPrompt // of this page
	Total   int           // prompts of the study
	Number  int           // of the page, from 1
	Pages   int
}

// VotedPrompt is a prompt with its texts.
type VotedPrompt struct {
	Place    int // from 1
	Text     string
	Category string
	Problem  string        // why it could not be decoded
	Cells    [][]VotedText // by λ: the texts of its samples
	Comments []VotedComment
}

// VotedComment is what an annotator wrote beside an answer.
type VotedComment struct {
	By, Text string // name of the annotator
}

// VotedText is a text with what people said of it, catch trials left out.
type VotedText struct {
	Text                      string
	Compared, Preferred, Ties int     // in comparisons of two
	Ranked, Best, Worst       int     // in best–worst rankings
	Scores                    int     // how many
	Score                     float64 // sum of the scores
}

// words tell the votes.
func (v VotedText) words() string {
	var list []string
	if v.Compared > 0 {
		s := "preferred " + strconv.Itoa(v.Preferred) + " of " + strconv.Itoa(v.Compared)
		if v.Ties > 0 {
			s += ", " + strconv.Itoa(v.Ties) + " even"
		}
		list = append(list, s)
	}
	if v.Ranked > 0 {
		list = append(list, "best "+strconv.Itoa(v.Best)+", worst "+strconv.Itoa(v.Worst)+" of "+strconv.Itoa(v.Ranked))
	}
	if v.Scores > 0 {
		list = append(list, "score "+formatNumber(v.Score/float64(v.Scores), 2)+" of "+count(v.Scores, "answer"))
	}
	if len(list) == 0 {
		return "not rated"
	}
	return strings.Join(list, " · ")
}

// shade is the step of its colour, 0 to 8: the share of comparisons and rankings that it won, a tie being half; -1 without any.
func (v VotedText) shade() int {
	n := v.Compared + v.Ranked
	if n == 0 {
		return -1
	}
	won := float64(v.Preferred) + float64(v.Ties)/2 + float64(v.Best) + float64(v.Ranked-v.Best-v.Worst)/2
	return int(8*won/float64(n) + 0.5)
}

// page is the address of another page of the votes.
func (v StudyVotes) page(n int) string {
	return "/studies/" + v.Study + "/votes?page=" + strconv.Itoa(n)
}

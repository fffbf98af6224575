package reward

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// verdict is what the judge answers. Models write texts for numbers, and sentences for names.
type verdict struct {
	Score  json.RawMessage `json:"score"`  // a number, or a text with one
	Winner json.RawMessage `json:"winner"` // a text with A, B or tie in it
}

// scoreText is a score as models write it: 7, 7.5, 7/10, 7 out of 10.
var scoreText = regexp.MustCompile(`(?i)^(\d+(?:\.\d+)?)\s*(?:/\s*10|out of 10)?\.?$`)

// score is the score from 1 to 10.
func (v *verdict) score() (float64, error) {
	var text string
	if json.Unmarshal(v.Score, &text) != nil {
		text = string(v.Score)
	}
	if m := scoreText.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
		if x, err := strconv.ParseFloat(m[1], 64); err == nil && x >= 1 && x <= 10 {
			return x, nil
		}
	}
	return 0, unreadable{reason: "the judge gave no score from 1 to 10"}
}

// fillers are words around the name of a winner.
var fillers = []string{"answer", "assistant", "response", "the", "is", "better", "winner", "wins", "best", "it", "s"}

// share is 1 where A wins, 0 where B does, and ½ for a tie.
func (v *verdict) share() (float64, error) {
	var text string
	_ = json.Unmarshal(v.Winner, &text) // another kind names nobody
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(words) <= 4 && slices.ContainsFunc(words, func(w string) bool { return w == "tie" || w == "tied" || w == "draw" || w == "equal" || w == "equally" }) {
		return 0.5, nil
	}
	words = slices.DeleteFunc(words, func(w string) bool { return slices.Contains(fillers, w) })
	switch {
	case slices.Equal(words, []string{"a"}):
		return 1, nil
	case slices.Equal(words, []string{"b"}):
		return 0, nil
	}
	return 0, unreadable{reason: "the judge named none of A, B and tie"}
}

// content is the text of a completion: a text, or a list of parts, of which those that are texts count. finish says why it ended.
func content(answer []byte) (text, finish string, err error) {
	var c struct {
		Choices []struct {
			Finish  string `json:"finish_reason"`
			Message struct {
				Content json.RawMessage `json:"content"`
				Refusal string          `json:"refusal"`
			} `json:"message"`
		} `json:"choices"`
	}
	switch err := json.Unmarshal(answer, &c); {
	case err != nil:
		return "", "", unreadable{reason: "the endpoint's answer is not JSON"}
	case len(c.Choices) == 0:
		return "", "", unreadable{reason: "the endpoint's answer has no choices" + tail(answer)}
	case c.Choices[0].Message.Refusal != "":
		return "", "", unreadable{reason: "the judge refused"}
	}
	said := c.Choices[0].Message.Content
	if json.Unmarshal(said, &text) == nil {
		return text, c.Choices[0].Finish, nil
	}
	var parts []struct {
		Type string          `json:"type"`
		Text json.RawMessage `json:"text"`
	}
	if len(said) > 0 && json.Unmarshal(said, &parts) != nil {
		return "", "", unreadable{reason: "the endpoint's answer has a content that is neither a text nor a list of parts"}
	}
	for _, part := range parts {
		var one string
		if (part.Type == "text" || part.Type == "output_text" || part.Type == "") && json.Unmarshal(part.Text, &one) == nil {
			text += one
		}
	}
	return text, c.Choices[0].Finish, nil
}

var (
	thinkingBegins = regexp.MustCompile(`(?i)<(?:think|thinking|thought|reasoning)>`)
	thinkingEnds   = regexp.MustCompile(`(?i)</(?:think|thinking|thought|reasoning)>`)
)

// concluded is a text without what a model thinks aloud before it. ended is false where it thinks to the end.
func concluded(text string) (rest string, ended bool) {
	if ends := thinkingEnds.FindAllStringIndex(text, -1); ends != nil {
		text = text[ends[len(ends)-1][1]:]
	}
	return text, !thinkingBegins.MatchString(text)
}

// maxObjects bounds how often a text is searched for an object.
const maxObjects = 1000

// readVerdict finds the last object in JSON that is a verdict: models put words, examples and fences around it.
func readVerdict(answer []byte, check func(v *verdict) error) error {
	text, finish, err := content(answer)
	if err != nil {
		return err
	}
	text, ended := concluded(text)
	cut := finish == "length"
	if !ended {
		return unreadable{reason: "the judge thought to the end of its answer: raise max_tokens", final: cut}
	}
	objects := verdicts(text)
	slices.Reverse(objects) // the last one that can be used counts
	err = unreadable{reason: "the judge's verdict is not JSON" + tail([]byte(text))}
	for i := range objects {
		wrong := check(&objects[i])
		if wrong == nil {
			return nil
		}
		if i == 0 {
			err = wrong
		}
	}
	if cut {
		return unreadable{reason: fmt.Sprintf("%v; it was cut off: raise max_tokens", err), final: true}
	}
	return err
}

// verdicts are the outermost objects of a text, in order.
func verdicts(text string) (found []verdict) {
	for range maxObjects {
		at := strings.IndexByte(text, '{')
		if at < 0 {
			break
		}
		text = text[at:]
		d := json.NewDecoder(strings.NewReader(text))
		var raw json.RawMessage
		var v verdict
		if d.Decode(&raw) != nil || json.Unmarshal(bytes.TrimSpace(raw), &v) != nil {
			text = text[1:]
			continue
		}
		found = append(found, v)
		text = text[d.InputOffset():]
	}
	return found
}

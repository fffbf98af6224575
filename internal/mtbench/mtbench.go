// Package mtbench runs MT-Bench (Zheng et al. 2023) over λ: questions of two turns in eight categories, both turns decoded at each λ, and judged by a
// language model. Here are its questions, the conversations, and the scores by category; decoding and judging are its caller's.
package mtbench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/sweep"
	"realign/internal/sweep/reward"
)

// Limits of a file of questions: how many there are, and the bytes of one line.
const (
	maxQuestions = 10_000
	maxLine      = 1 << 20
)

// Question is a line of the published file of questions.
type Question struct {
	ID        json.RawMessage `json:"question_id"` // as it is written: a number in the published file
	Category  string          `json:"category"`    // for Temperature and Table
	Turns     []string        `json:"turns"`       // what the user says, turn by turn: 1 to 8
	Reference []string        `json:"reference"`   // a right answer to each turn, of questions that have one
}

// Read reads questions, a JSON object a line. The error is Invalid and names the line.
func Read(r io.Reader) ([]Question, error) {
	var all []Question
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var q Question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return nil, fault.Field("questions", "line %d is not a question in JSON: %v", n, err)
		}
		if len(q.Turns) == 0 || len(q.Turns) > 8 {
			return nil, fault.Field("questions", "line %d has %d turns, where 1 to 8 can be asked", n, len(q.Turns))
		}
		for i, turn := range q.Turns {
			if strings.TrimSpace(turn) == "" {
				return nil, fault.Field("questions", "line %d: turn %d is empty", n, i+1)
			}
		}
		if len(all) == maxQuestions {
			return nil, fault.Field("questions", "more than %d", maxQuestions)
		}
		all = append(all, q)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Field("questions", "cannot be read: %v", err)
	}
	if len(all) == 0 {
		return nil, fault.Field("questions", "there are none")
	}
	return all, nil
}

// Temperature is what a category's answers are sampled at: the published defaults.
func Temperature(category string) float64 {
	switch category {
	case "extraction", "math", "coding", "reasoning":
		return 0
	case "stem", "humanities":
		return 0.1
	}
	return 0.7
}

// Answer is what one λ said in all turns of a question.
type Answer struct {
	Question int       `json:"question"` // its place in the file
	Lambda   float64   `json:"lambda"`
	Turns    []string  `json:"turns"`
	Scores   []float64 `json:"scores"`  // by turn, or of the whole conversation where pairs are judged; 0 where Missing says why there is none
	Missing  []string  `json:"missing"` // of each score; "" where it is there
}

// Decode decodes a request to its end. The replies are in the order of its lanes.
type Decode func(ctx context.Context, r decode.Request) ([]decode.Reply, error)

// Config is how questions are answered.
type Config struct {
	Aligned  string          // name of the aligned model
	Lambdas  []float64       // in the order of the answers
	Sampling decode.Sampling // its temperature is that of the category, unless Fixed
	Fixed    bool            // Sampling's temperature is used for all categories
	Seed     uint64
}

// Ask has one question answered: the first turn on all λ at once, and every further one at each λ, after what that λ had
// said. place is that of the question in the file. An error of any lane is the error of the whole question.
func (c *Config) Ask(ctx context.Context, decodes Decode, place int, q *Question) ([]Answer, error) {
	answers := make([]Answer, len(c.Lambdas))
	histories := make([][]decode.Message, len(c.Lambdas))
	for i, l := range c.Lambdas {
		answers[i] = Answer{Question: place, Lambda: l}
	}
	for turn, text := range q.Turns {
		groups := [][]int{}
		if turn == 0 {
			all := make([]int, len(c.Lambdas))
			for i := range all {
				all[i] = i
			}
			groups = append(groups, all)
		} else {
			for i := range c.Lambdas {
				groups = append(groups, []int{i})
			}
		}
		for _, group := range groups {
			request := decode.Request{
				Aligned: []string{c.Aligned}, Sampling: c.Sampling, Seed: c.Seed, SeedByPrompt: true, Trace: decode.Trace{Off: true},
				Prompt: decode.Prompt{Messages: append(histories[group[0]][:len(histories[group[0]]):len(histories[group[0]])], decode.Message{Role: "user", Content: text})},
			}
			if !c.Fixed {
				request.Sampling.Temperature = Temperature(q.Category)
			}
			for k, i := range group {
				request.Lanes = append(request.Lanes, decode.Lane{Index: k, Lambda: decode.Vector{c.Lambdas[i]}})
			}
			replies, err := decodes(ctx, request)
			if err != nil {
				return nil, fmt.Errorf("question %d, turn %d: %w", place+1, turn+1, err)
			}
			for k, i := range group {
				if replies[k].Error != nil {
					return nil, fault.New(fault.Internal, "question %d, turn %d: %s", place+1, turn+1, replies[k].Error.Message)
				}
				answers[i].Turns = append(answers[i].Turns, replies[k].Text)
				histories[i] = append(histories[i], decode.Message{Role: "user", Content: text}, decode.Message{Role: "assistant", Content: said(replies[k].Text)})
			}
		}
	}
	return answers, nil
}

// said is a reply as the conversation goes on after it: without what the model thought, and an empty one cannot stand in it.
func said(text string) string {
	text = decode.Said(text)
	if strings.TrimSpace(text) == "" {
		return "…"
	}
	return text
}

// Score gives the answers to one question their scores by a judge: single answers are graded turn by turn from 1 to 10,
// each after the conversation before it; pairs are whole conversations against that at λ = 1, 1 for a win in both orders
// and ½ for λ = 1 itself. It fills Scores and Missing of answers.
func Score(ctx context.Context, judge reward.Reward, pairwise bool, q *Question, answers []Answer) {
	var rows []sweep.Row
	var outputs []sweep.Output
	for i := range answers {
		a := &answers[i]
		if pairwise {
			rows = append(rows, sweep.Row{Text: numbered("The user's turn", q.Turns), Reference: numbered("Reply to turn", q.Reference), Category: q.Category})
			outputs = append(outputs, sweep.Output{Cell: sweep.Cell{Prompt: a.Question, Lambda: a.Lambda}, Text: numbered("Reply to turn", allSaid(a.Turns)), Finish: decode.EndStop})
			continue
		}
		var history []decode.Message
		for turn, text := range a.Turns {
			row := sweep.Row{Text: q.Turns[turn], History: history[:len(history):len(history)], Category: q.Category}
			if turn < len(q.Reference) {
				row.Reference = q.Reference[turn]
			}
			rows = append(rows, row)
			outputs = append(outputs, sweep.Output{Cell: sweep.Cell{Prompt: a.Question, Lambda: a.Lambda}, Text: decode.Said(text), Finish: decode.EndStop})
			history = append(history, decode.Message{Role: "user", Content: q.Turns[turn]}, decode.Message{Role: "assistant", Content: said(text)})
		}
	}
	values := judge.Score(ctx, rows, outputs)
	for i := range answers {
		a := &answers[i]
		n := len(a.Turns)
		if pairwise {
			n = 1
		}
		for _, v := range values[:n] {
			a.Scores, a.Missing = append(a.Scores, v.Value), append(a.Missing, v.Missing)
		}
		values = values[n:]
	}
}

// allSaid is what replies say, without what the model thought.
func allSaid(turns []string) []string {
	texts := make([]string, len(turns))
	for i, text := range turns {
		texts[i] = decode.Said(text)
	}
	return texts
}

// numbered are turns one after another, each under its number.
func numbered(what string, turns []string) string {
	var b strings.Builder
	for i, text := range turns {
		fmt.Fprintf(&b, "%s %d:\n%s\n\n", what, i+1, text)
	}
	return strings.TrimSpace(b.String())
}

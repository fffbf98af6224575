package reward

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"

	"realign/internal/sweep"
	"realign/models/demo"
)

// sentiment is the reward that the warmth models of the demo pair were trained by.
func sentiment() maker {
	return simple(Info{
		Name: "sentiment", Title: "Sentiment (the demo's reward)", Direction: sweep.Higher,
		About: "tanh(logit/2) of a classifier of English words, from −1 to 1: what the demo's warmth models were trained by.",
	}, struct{}{}, func(_ *struct{}, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		c, err := wordClassifier()
		if err != nil {
			return nil, err
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value { return sweep.Of(math.Tanh(c.logit(o.Text) / 2)) }, nil
	})
}

// sentimentCheck is the classifier that took no part in training: an independent evaluation reward.
func sentimentCheck() maker {
	return simple(Info{
		Name: "sentiment-check", Title: "Sentiment (independent check)", Direction: sweep.Higher,
		About: "Probability of “positive” by a classifier of characters that was trained on other sentences and rewarded no model.",
	}, struct{}{}, func(_ *struct{}, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		c, err := characterClassifier()
		if err != nil {
			return nil, err
		}
		return func(_ *sweep.Row, o *sweep.Output) sweep.Value { return sweep.Of(c.probability(o.Text)) }, nil
	})
}

// byWords is logistic regression on words and pairs of words: models/demo/sentiment.md.
type byWords struct {
	Centre  float64            `json:"centre"`        // taken off the sum of weights
	Scale   float64            `json:"scale"`         // by which the rest is divided
	Pattern string             `json:"token_pattern"` // regular expression of a word
	Stop    []string           `json:"stop_words"`    // words that are no feature, nor are pairs of them
	Weights map[string]float64 `json:"weights"`       // of words and of pairs of words

	// Examples are texts with what the training program made of them, for a test.
	Examples []struct {
		Text  string  `json:"text"`
		Logit float64 `json:"logit"`
	} `json:"examples"`

	token *regexp.Regexp
	stop  map[string]bool
}

// wordClassifier reads the file once: it is the same for every sweep.
var wordClassifier = sync.OnceValues(func() (*byWords, error) {
	var c byWords
	if err := json.Unmarshal(demo.Sentiment, &c); err != nil {
		return nil, fmt.Errorf("the sentiment classifier: %w", err)
	}
	token, err := regexp.Compile(c.Pattern)
	if err != nil {
		return nil, fmt.Errorf("the sentiment classifier: %w", err)
	}
	c.token, c.stop = token, map[string]bool{}
	for _, w := range c.Stop {
		c.stop[w] = true
	}
	return &c, nil
})

// logit is above 0 where a text is positive.
func (c *byWords) logit(text string) float64 {
	features := map[string]bool{}
	before := ""
	for i, w := range c.token.FindAllString(strings.ToLower(text), -1) {
		if !c.stop[w] {
			features[w] = true
		}
		if i > 0 && !(c.stop[before] && c.stop[w]) {
			features[before+" "+w] = true
		}
		before = w
	}
	var hits []float64
	for f := range features {
		if w, ok := c.Weights[f]; ok {
			hits = append(hits, w)
		}
	}
	slices.Sort(hits) // the same sum every time
	sum := 0.0
	for _, w := range hits {
		sum += w
	}
	return (sum/math.Sqrt(float64(max(1, len(features)))) - c.Centre) / c.Scale
}

// byCharacters is logistic regression on TF-IDF of n-grams of characters: models/demo/sentiment-check.md.
type byCharacters struct {
	Ngrams    [2]int                `json:"ngrams"`    // shortest and longest n-gram, in characters
	Sentences float64               `json:"sentences"` // that it was trained on, for TF-IDF
	Bias      float64               `json:"bias"`      // of the logit
	Weights   map[string][2]float64 `json:"weights"`   // sentences with it, weight

	// Examples are texts with what the training program made of them, for a test.
	Examples []struct {
		Text        string  `json:"text"`
		Probability float64 `json:"probability"`
	} `json:"examples"`
}

// characterClassifier reads the file once: it is the same for every sweep.
var characterClassifier = sync.OnceValues(func() (*byCharacters, error) {
	var c byCharacters
	r, err := gzip.NewReader(bytes.NewReader(demo.SentimentCheck))
	if err == nil {
		err = json.NewDecoder(r).Decode(&c)
	}
	if err != nil {
		return nil, fmt.Errorf("the check classifier: %w", err)
	}
	return &c, nil
})

// probability is that of “positive”.
func (c *byCharacters) probability(text string) float64 {
	counts := map[string]float64{}
	for _, word := range strings.Fields(strings.ToLower(text)) {
		w := []rune(" " + word + " ")
		for n := c.Ngrams[0]; n <= c.Ngrams[1]; n++ {
			for i := range max(1, len(w)-n+1) {
				counts[string(w[i:min(i+n, len(w))])]++
			}
			if len(w) <= n {
				break
			}
		}
	}
	var known []string
	for gram := range counts {
		if _, ok := c.Weights[gram]; ok {
			known = append(known, gram)
		}
	}
	slices.Sort(known) // the same sum every time
	var square, dot float64
	for _, gram := range known {
		weight := c.Weights[gram]
		x := (1 + math.Log(counts[gram])) * (math.Log((1+c.Sentences)/(1+weight[0])) + 1)
		square += x * x
		dot += x * weight[1]
	}
	if square > 0 {
		dot /= math.Sqrt(square)
	}
	return 1 / (1 + math.Exp(-dot-c.Bias))
}

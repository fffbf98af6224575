package study

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"realign/internal/decode"
	"realign/internal/id"
	"realign/internal/preference"
)

// Streams of random numbers that a study draws from its seed. Their numbers are part of every order that was drawn:
// they do not change.
const (
	streamSame    = iota + 1 // λ of same-λ trials
	streamBroken             // λ of spoilt trials, and how their texts are shuffled
	streamWindows            // which λ are ranked together
	streamShown              // the order of a question's outputs
	streamKind               // kinds of questions
	streamTurn               // catch trials' turns, and which item is next
	streamPair               // which pair of λ is next, of those asked equally often
)

// random is a generator that depends on the study's seed and secret, a stream and names.
func (s *Setup) random(stream uint64, names ...string) *rand.Rand {
	h := fnv.New64a()
	for _, name := range names {
		_, _ = h.Write([]byte(name))
		_, _ = h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(mix(s.secretSeed("order"), stream), h.Sum64()))
}

// Outputs are what a study has to decode, by prompt, sample and λ: the grid for every prompt and sample, and
// for same-λ trials one λ of each prompt, in turn, under the noise of a sample more.
func (s *Setup) Outputs(prompts []Prompt) []Output {
	var outputs []Output
	for i := range prompts {
		place := prompts[i].Place
		for sample := range s.Samples {
			for _, lambda := range s.Grid {
				outputs = append(outputs, s.output(place, lambda, sample))
			}
		}
		if s.SameEvery > 0 {
			outputs = append(outputs, s.output(place, s.turn(streamSame, place), s.Samples))
		}
	}
	return outputs
}

// output is an output that is still to be decoded. place counts prompts from 1.
func (s *Setup) output(place int, lambda float64, sample int) Output {
	return Output{ID: id.New(), Prompt: place, Source: place - 1, Lambda: lambda, Sample: sample, Seed: s.PromptSeed(place)}
}

// turn is the λ of a prompt's catch trial: prompts take turns, from one that depends on the seed.
func (s *Setup) turn(stream uint64, place int) float64 {
	return s.Grid[(s.random(stream).IntN(len(s.Grid))+place)%len(s.Grid)]
}

// Items are the questions of a study whose outputs were decoded, and the spoilt outputs that some of them
// show. Prompts with a problem are left out. Two equal texts are not compared: there is nothing to prefer.
// The answers of a question are of one sample, which shares its noise, so that they differ because of λ
// alone. Catch trials are of every kind of question that the study asks, so that nobody tells them by it.
func (s *Setup) Items(prompts []Prompt, outputs []Output) (items []Item, broken []Output) {
	found := make(map[decodedAt]*Output, len(outputs))
	for i := range outputs {
		if o := &outputs[i]; o.Done && !o.Broken {
			found[decodedAt{o.Prompt, o.Sample, o.Lambda}] = o
		}
	}
	for i := range prompts {
		p := &prompts[i]
		if p.Problem != "" {
			continue
		}
		for sample := range s.Samples {
			at := func(lambda float64) *Output { return found[decodedAt{p.Place, sample, lambda}] }
			if s.Pairwise {
				for _, two := range preference.Pairs(s.Grid) {
					items = appendItem(items, AskPairwise, preference.NoCatch, at(two.Low), at(two.High))
				}
			}
			if s.Likert != nil {
				for _, lambda := range s.Grid {
					items = appendItem(items, AskLikert, preference.NoCatch, at(lambda))
				}
			}
			for _, window := range s.windows(p.Place, sample) {
				items = appendItem(items, AskRanking, preference.NoCatch, different(window, at)...)
			}
		}
		// Both kinds of trial are of the prompt's first sample.
		at := func(lambda float64) *Output { return found[decodedAt{p.Place, 0, lambda}] }
		if lambda := s.turn(streamSame, p.Place); s.SameEvery > 0 {
			items = s.trials(items, preference.SameLambda, preference.SameLambda, p.Place, at, at(lambda), found[decodedAt{p.Place, s.Samples, lambda}])
		}
		if lambda := s.turn(streamBroken, p.Place); s.BrokenEvery > 0 {
			next := s.Grid[(slices.Index(s.Grid, lambda)+1)%len(s.Grid)]
			if spoilt, ok := s.spoil(at(next)); ok {
				broken = append(broken, spoilt)
				items = s.trials(items, preference.BrokenB, preference.Broken, p.Place, at, at(lambda), &spoilt)
			}
		}
	}
	return items, broken
}

// decodedAt is which output of a study is meant.
type decodedAt struct {
	prompt, sample int
	lambda         float64
}

// trials appends the catch trials of a prompt that hold the odd output against a sound one: two in a pair, the odd
// one by itself in a score, both among others in a ranking.
func (s *Setup) trials(items []Item, ofTwo, ofOther preference.Catch, place int, at func(float64) *Output, sound, odd *Output) []Item {
	if sound == nil || odd == nil || sound.Said() == odd.Said() {
		return items
	}
	if s.Pairwise {
		items = appendItem(items, AskPairwise, ofTwo, sound, odd)
	}
	if s.Likert != nil {
		items = appendItem(items, AskLikert, ofOther, odd)
	}
	if s.Ranked > 0 {
		ranked := []*Output{sound, odd}
		for _, o := range different(s.windows(place, 0)[0], at) {
			if o.ID != sound.ID && o.Said() != sound.Said() && o.Said() != odd.Said() && len(ranked) < s.Ranked {
				ranked = append(ranked, o)
			}
		}
		if len(ranked) > 2 {
			items = appendItem(items, AskRanking, ofOther, ranked...)
		}
	}
	return items
}

// appendItem appends a question about outputs of one prompt, unless one is missing or there is nothing to compare.
func appendItem(items []Item, kind Kind, catch preference.Catch, outputs ...*Output) []Item {
	if slices.Contains(outputs, nil) || len(outputs) == 0 || kind != AskLikert && (len(outputs) < 2 || outputs[0].Said() == outputs[1].Said()) {
		return items
	}
	it := Item{ID: id.New(), Kind: kind, Prompt: outputs[0].Prompt, Low: outputs[0].Lambda, High: outputs[0].Lambda, Catch: catch}
	for _, o := range outputs {
		it.Outputs, it.Low, it.High = append(it.Outputs, o.ID), min(it.Low, o.Lambda), max(it.High, o.Lambda)
	}
	return append(items, it)
}

// windows are the sets of λ whose answers are ranked together: the grid in a random order, cut into sets
// that go round, so that every λ is ranked and, over prompts, every two meet equally often.
func (s *Setup) windows(place, sample int) [][]float64 {
	if s.Ranked == 0 {
		return nil
	}
	order := slices.Clone(s.Grid)
	random := rand.New(rand.NewPCG(mix(s.secretSeed("order"), streamWindows), mix(uint64(place), uint64(sample))))
	random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	var windows [][]float64
	for from := 0; from < len(order); from += s.Ranked {
		var window []float64
		for i := range s.Ranked {
			window = append(window, order[(from+i)%len(order)])
		}
		windows = append(windows, window)
	}
	return windows
}

// different are the outputs of a window whose texts differ.
func different(window []float64, at func(float64) *Output) (outputs []*Output) {
	for _, lambda := range window {
		o := at(lambda)
		if o != nil && !slices.ContainsFunc(outputs, func(p *Output) bool { return p.Said() == o.Said() }) {
			outputs = append(outputs, o)
		}
	}
	return outputs
}

// spoil makes an answer that is obviously broken: the words of an output in a random order, or the characters
// of one that is written without spaces. Of a text that has too few of either none is made.
func (s *Setup) spoil(o *Output) (Output, bool) {
	if o == nil {
		return Output{}, false
	}
	parts, space := strings.Fields(o.Said()), " "
	if len(parts) < 4 {
		parts, space = strings.Split(strings.TrimSpace(o.Said()), ""), ""
	}
	if len(parts) < 4 || space == "" && len(parts) < 12 {
		return Output{}, false
	}
	whole := strings.Join(parts, space)
	random := s.random(streamBroken, o.Text)
	for range 10 {
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		if text := strings.Join(parts, space); text != whole {
			return Output{
				ID: id.New(), Prompt: o.Prompt, Source: o.Source, Lambda: o.Lambda, Sample: o.Sample, Seed: o.Seed,
				Broken: true, Done: true, Text: text, Tokens: o.Tokens, Reason: o.Reason,
			}, true
		}
	}
	return Output{}, false // the same word, again and again
}

// Shown is the order in which an annotator sees an item's outputs: random, and the same whenever it is asked.
func (s *Setup) Shown(annotator string, it *Item) []string {
	shown := slices.Clone(it.Outputs)
	s.random(streamShown, annotator, it.ID).Shuffle(len(shown), func(i, j int) { shown[i], shown[j] = shown[j], shown[i] })
	return shown
}

// decimal is a number as a name for random.
func decimal(n int) string { return strconv.Itoa(n) }

// mix hashes two numbers.
func mix(a, b uint64) uint64 { return decode.SplitMix(a + 0x9e3779b97f4a7c15*(b+1)) }

package study

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"realign/internal/session"
)

// Streams of random numbers that a study draws from its seed.
const (
	streamSame = iota + 1
	streamBroken
	streamWindows
	streamShown
	streamKind
	streamTurn
	streamPair
)

// random is a generator that depends on the study's seed, a stream and names.
func (s *Setup) random(stream uint64, names ...string) *rand.Rand {
	h := fnv.New64a()
	for _, name := range names {
		_, _ = h.Write([]byte(name))
		_, _ = h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(mix(s.Seed, stream), h.Sum64()))
}

// Outputs are what a study has to decode, by prompt, sample and λ: the grid for every prompt and sample, and
// for same-λ trials one λ of each prompt, in turn, under further noise.
func (s *Setup) Outputs(prompts []Prompt) []Output {
	var outputs []Output
	for i := range prompts {
		place := prompts[i].Place
		for sample := range s.Samples {
			for _, lambda := range s.Grid {
				outputs = append(outputs, s.output(place, lambda, sample))
			}
		}
		if s.Pairwise && s.SameEvery > 0 && s.Samples == 1 {
			outputs = append(outputs, s.output(place, s.turn(streamSame, place), 1))
		}
	}
	return outputs
}

func (s *Setup) output(place int, lambda float64, sample int) Output {
	return Output{ID: session.NewID(), Prompt: place, Lambda: lambda, Sample: sample, Seed: s.PromptSeed(place)}
}

// turn is the λ of a prompt's catch trial: prompts take turns, from one that depends on the seed.
func (s *Setup) turn(stream uint64, place int) float64 {
	return s.Grid[(s.random(stream).IntN(len(s.Grid))+place)%len(s.Grid)]
}

// Items are the questions of a study whose outputs were decoded, and the spoilt outputs that some of them
// show. Prompts with a problem are left out. Two equal texts are not compared: there is nothing to prefer.
// Both answers of a question are of one sample, which shares its noise, so that they differ because of λ
// alone.
func (s *Setup) Items(prompts []Prompt, outputs []Output) (items []Item, broken []Output) {
	type key struct {
		prompt, sample int
		lambda         float64
	}
	found := make(map[key]*Output, len(outputs))
	for i := range outputs {
		if o := &outputs[i]; o.Done && !o.Broken {
			found[key{o.Prompt, o.Sample, o.Lambda}] = o
		}
	}
	pair := func(a, b *Output, catch Catch) {
		if a != nil && b != nil && a.Text != b.Text {
			items = append(items, Item{
				ID: session.NewID(), Kind: AskPairwise, Prompt: a.Prompt, Outputs: []string{a.ID, b.ID},
				Low: a.Lambda, High: b.Lambda, Catch: catch,
			})
		}
	}
	for i := range prompts {
		p := &prompts[i]
		if p.Problem != "" {
			continue
		}
		for sample := range s.Samples {
			at := func(lambda float64) *Output { return found[key{p.Place, sample, lambda}] }
			if s.Pairwise {
				for _, two := range Pairs(s.Grid) {
					pair(at(two.Low), at(two.High), NoCatch)
				}
			}
			for _, lambda := range s.Grid {
				if o := at(lambda); s.Likert != nil && o != nil {
					items = append(items, Item{ID: session.NewID(), Kind: AskLikert, Prompt: p.Place, Outputs: []string{o.ID}, Low: lambda, High: lambda})
				}
			}
			for _, window := range s.windows(p.Place, sample) {
				if it, ok := ranking(window, at); ok {
					items = append(items, it)
				}
			}
		}
		if !s.Pairwise {
			continue
		}
		if lambda := s.turn(streamSame, p.Place); s.SameEvery > 0 {
			pair(found[key{p.Place, 0, lambda}], found[key{p.Place, 1, lambda}], SameLambda)
		}
		if lambda := s.turn(streamBroken, p.Place); s.BrokenEvery > 0 {
			i := slices.Index(s.Grid, lambda)
			sound, source := found[key{p.Place, 0, lambda}], found[key{p.Place, 0, s.Grid[(i+1)%len(s.Grid)]}]
			if sound == nil || source == nil {
				continue
			}
			if spoilt, ok := s.spoil(source); ok {
				broken = append(broken, spoilt)
				pair(sound, &broken[len(broken)-1], BrokenB)
			}
		}
	}
	return items, broken
}

// windows are the sets of λ whose answers are ranked together: the grid in a random order, cut into sets
// that go round, so that every λ is ranked and, over prompts, every two meet equally often.
func (s *Setup) windows(place, sample int) [][]float64 {
	if s.Ranked == 0 {
		return nil
	}
	order := slices.Clone(s.Grid)
	random := rand.New(rand.NewPCG(mix(s.Seed, streamWindows), mix(uint64(place), uint64(sample))))
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

// ranking is the item of a window: its different texts, two at least.
func ranking(window []float64, at func(float64) *Output) (Item, bool) {
	it := Item{ID: session.NewID(), Kind: AskRanking, Low: slices.Min(window), High: slices.Max(window)}
	var texts []string
	for _, lambda := range window {
		if o := at(lambda); o != nil && !slices.Contains(texts, o.Text) {
			texts = append(texts, o.Text)
			it.Outputs, it.Prompt = append(it.Outputs, o.ID), o.Prompt
		}
	}
	return it, len(texts) >= 2
}

// spoil makes an answer that is obviously broken: the words of an output in a random order, or the characters
// of one that is written without spaces. Of a text that has too few of either none is made.
func (s *Setup) spoil(o *Output) (Output, bool) {
	parts, space := strings.Fields(o.Text), " "
	if len(parts) < 4 {
		parts, space = strings.Split(strings.TrimSpace(o.Text), ""), ""
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
				ID: session.NewID(), Prompt: o.Prompt, Lambda: o.Lambda, Sample: o.Sample, Seed: o.Seed,
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

func decimal(n int) string { return strconv.Itoa(n) }

package modelstore

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"realign/internal/pair/catalogue"
)

// Proposal is a pair that could be made of models that were found.
type Proposal struct {
	Name      string `json:"name"`              // for the pair
	Reference string `json:"reference"`         // name of the model at λ = 0
	Aligned   string `json:"aligned"`           // and of the model or adapter at λ = 1
	Adapter   bool   `json:"adapter,omitempty"` // Aligned is an adapter

	Beta    float64 `json:"beta,omitempty"` // KL strength that the aligned model was trained with, where the catalogue knows it
	Reason  string  `json:"reason"`         // why they are thought to be a pair
	Command string  `json:"command"`        // that adds it
}

// stage is how far a model's training went, as its name tells: 0 for a pretrained one.
func stage(words []string) int {
	most := 0
	for _, w := range words {
		switch w {
		case "sft":
			most = max(most, 1)
		case "dpo", "ppo", "kto", "ipo", "orpo", "simpo", "grpo", "rlhf", "apo":
			most = max(most, 2)
		case "instruct", "it", "chat", "rlvr", "aligned":
			most = max(most, 3)
		}
	}
	return most
}

// words cuts a name into lower-case words. Quantisations and what tells stages are no part of the stem, which models that
// were made from each other have in common.
func words(name string) (all, stem []string) {
	name = strings.TrimSuffix(strings.ToLower(name), ".gguf")
	all = strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("-_./: ", r) })
	quant := strings.FieldsFunc(strings.ToLower(Quantisation(name)), func(r rune) bool { return r == '_' })
	for _, w := range all {
		switch {
		case slices.Contains(quant, w), stage([]string{w}) > 0, w == "base", w == "pt", w == "latest", w == "gguf", w == "full", w == "beta":
		default:
			stem = append(stem, w)
		}
	}
	return all, stem
}

// called is what a model is called, without the folder or the owner of its repository.
func called(m Model) string {
	name := strings.TrimPrefix(strings.TrimPrefix(m.Name, ollamaPrefix), huggingFacePrefix)
	if m.Store == HuggingFace {
		repo, file, _ := strings.Cut(name, ":")
		if file == "" {
			return path.Base(repo)
		}
		if !strings.Contains(strings.ToLower(file), strings.ToLower(strings.TrimSuffix(path.Base(repo), "-GGUF"))) {
			return path.Base(repo) + "-" + path.Base(file)
		}
		return path.Base(file)
	}
	if m.Store == Ollama {
		return path.Base(strings.Replace(name, ":", "-", 1))
	}
	return path.Base(strings.ReplaceAll(name, `\`, "/"))
}

// Propose makes pairs of models that the catalogue knows as one, of adapters and the models that they were made for, and of models
// of one tokenizer, architecture and stem with the one that was trained next: a pretrained one with a fine-tuned one, that
// with an aligned one.
func Propose(models []Model) []Proposal {
	proposals := []Proposal{}
	all := make([]named, len(models))
	for i, m := range models {
		all[i] = nameOf(m)
	}
	for i, m := range models {
		if m.Adapter {
			proposals = append(proposals, adapterPairs(m, all)...)
		} else if p, ok := knownPair(m, models); ok {
			proposals = append(proposals, p)
		} else if p, ok := modelPair(all[i], all); ok {
			proposals = append(proposals, p)
		}
	}
	slices.SortFunc(proposals, func(a, b Proposal) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reference, b.Reference), cmp.Compare(a.Aligned, b.Aligned))
	})
	taken := map[string]bool{}
	for i := range proposals { // names of pairs are unique
		name := proposals[i].Name
		for n := 2; taken[proposals[i].Name]; n++ {
			proposals[i].Name = fmt.Sprintf("%s-%d", name, n)
		}
		taken[proposals[i].Name] = true
	}
	for i := range proposals {
		proposals[i].Command = proposals[i].command()
	}
	return proposals
}

// named is a model with what its name tells.
type named struct {
	Model
	stem  []string // of its name, as words cuts it
	stage int      // as stage tells it
}

// nameOf is a model with its stem and stage.
func nameOf(m Model) named {
	all, stem := words(called(m))
	return named{m, stem, stage(all)}
}

// adapterPairs are an adapter with each model that it may be for: the one that its store or its file names.
func adapterPairs(a Model, models []named) (out []Proposal) {
	for _, m := range models {
		if m.Adapter || m.Format == PEFT {
			continue
		}
		reason := ""
		switch {
		case a.Base != "" && a.Base == m.Name:
			reason = "the store keeps the adapter with this model"
		case a.Base == "" && a.BaseModel != "" && (a.BaseModel == m.Path || sameName(a.BaseModel, m)):
			reason = "the adapter says that it was made for " + a.BaseModel
		}
		if reason != "" {
			out = append(out, Proposal{Name: pairName(called(a)), Reference: m.Name, Aligned: a.Name, Adapter: true, Reason: reason})
		}
	}
	return out
}

// sameName reports whether a base model's name, a repository or a folder, is a model's.
func sameName(base string, m named) bool {
	all, stem := words(strings.ToLower(path.Base(strings.TrimRight(base, "/"))))
	return len(stem) > 0 && slices.Equal(stem, m.stem) && stage(all) == m.stage
}

// modelPair is a model with the one it was made from: of its stem, at the nearest earlier stage, of the same quantisation
// where there is a choice.
func modelPair(aligned named, models []named) (Proposal, bool) {
	if aligned.stage == 0 || aligned.Tokenizer == "" || len(aligned.stem) == 0 {
		return Proposal{}, false
	}
	best, at, same := Model{}, -1, false
	for _, m := range models {
		if m.Adapter || m.Format != aligned.Format || m.Tokenizer != aligned.Tokenizer || m.Architecture != aligned.Architecture ||
			m.stage >= aligned.stage || !slices.Equal(aligned.stem, m.stem) {
			continue
		}
		if s := storedAlike(m.Model, aligned.Model); m.stage > at || m.stage == at && s && !same {
			best, at, same = m.Model, m.stage, s
		}
	}
	if at < 0 {
		return Proposal{}, false
	}
	return Proposal{
		Name: pairName(called(aligned.Model)), Reference: best.Name, Aligned: aligned.Name,
		Reason: "one tokenizer and architecture, and names that differ by the training alone",
	}, true
}

// knownPair is a model with its reference as the catalogue has them.
func knownPair(aligned Model, models []Model) (Proposal, bool) {
	for _, p := range catalogue.Pairs() {
		for _, a := range p.Aligned {
			if !isKnown(a.Model, aligned) {
				continue
			}
			var best *Model
			for i, m := range models {
				if m.Format == aligned.Format && !m.Adapter && isKnown(p.Reference, m) && (best == nil || storedAlike(m, aligned)) {
					best = &models[i]
				}
			}
			if best != nil {
				return Proposal{Name: p.Name, Reference: best.Name, Aligned: aligned.Name, Beta: a.Beta(), Reason: "the catalogue knows them: " + a.Explain()}, true
			}
		}
	}
	return Proposal{}, false
}

// isKnown reports whether a model that was found is one of the catalogue, by its repository or its file.
func isKnown(known catalogue.Model, m Model) bool {
	if repo, _, _ := strings.Cut(strings.TrimPrefix(m.Name, huggingFacePrefix), ":"); m.Store == HuggingFace && known.Is(repo) {
		return true
	}
	file := strings.TrimSuffix(path.Base(strings.ReplaceAll(m.Path, `\`, "/")), ".gguf")
	if q := Quantisation(file); q != "" {
		file = strings.TrimRight(file[:max(0, strings.LastIndex(strings.ToUpper(file), q))], "-._")
	}
	return m.Store != Ollama && file != "" && known.Is(file)
}

// storedAlike reports whether two models' weights have the same types, as far as file names and heads tell.
func storedAlike(a, b Model) bool {
	return a.Quantisation == b.Quantisation && Quantisation(called(a)) == Quantisation(called(b))
}

// pairName makes the name of a pair out of a model's: lower case, of the characters that pair.CheckName allows, at
// most 60.
func pairName(name string) string {
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gguf"), "-")
	name = strings.Map(func(r rune) rune {
		if r < 128 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, name)
	name = strings.TrimLeft(strings.ToLower(name), "._-")
	if name == "" {
		name = "pair"
	}
	return name[:min(len(name), 60)]
}

// command is the line for a shell that adds the pair.
func (p Proposal) command() string {
	flag := "--aligned"
	if p.Adapter {
		flag = "--adapter"
	}
	beta := ""
	if p.Beta > 0 {
		beta = fmt.Sprintf(",beta=%g", p.Beta)
	}
	return fmt.Sprintf("realign pairs add %s --reference %s %s %s", p.Name, quote(p.Reference), flag, quote("aligned="+p.Aligned+beta))
}

// quote makes one word of a shell's of it.
func quote(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("._-/:=@+#,", r))
	}) && !strings.HasPrefix(s, "#") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

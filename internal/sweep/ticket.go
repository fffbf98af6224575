package sweep

import (
	"fmt"
	"strconv"
	"strings"
)

// Ticket is what a sweep recommends: the β to train with next, the evidence for it, and what was assumed.
type Ticket struct {
	Sweep   string   `json:"sweep,omitempty"`
	Pair    string   `json:"pair"`
	Aligned string   `json:"aligned"`
	Reward  Judge    `json:"reward"`
	Lambda  Interval `json:"lambda"`          // the best one
	Beta0   float64  `json:"beta0,omitempty"` // that the aligned model was trained with
	Beta    *Beta    `json:"beta,omitempty"`  // the effective one: nil where β₀ is unknown or λ is 0 or below

	Best       Best       `json:"best"`
	Checked    *Checked   `json:"checked,omitempty"`
	Evaluation string     `json:"evaluation,omitempty"`
	Prompts    int        `json:"prompts"`
	Outputs    int        `json:"outputs"`
	Tokens     int        `json:"tokens"`
	Points     []Point    `json:"points"`
	Strengths  []Strength `json:"strengths"`

	Evidence    []string `json:"evidence"`
	Assumptions []string `json:"assumptions"`
	TRL         string   `json:"trl,omitempty"` // Python: the parameter of the next training
}

// Beta is an effective β, β₀/λ: Low belongs to the upper end of λ.
type Beta struct {
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	NoHigh   bool    `json:"no_high"` // the lower end of λ is 0 or below, where no β corresponds to it: High means nothing
}

// EffectiveBeta is β₀/λ (Liu et al. 2024, §3.2), nil where β₀ is unknown or λ is 0 or below.
func EffectiveBeta(beta0 float64, lambda Interval) *Beta {
	if beta0 <= 0 || lambda.Estimate <= 0 || lambda.High <= 0 {
		return nil
	}
	b := &Beta{Estimate: beta0 / lambda.Estimate, Low: beta0 / lambda.High, NoHigh: lambda.Low <= 0}
	if !b.NoHigh {
		b.High = beta0 / lambda.Low
	}
	return b
}

// String is the β with its interval, for people.
func (b *Beta) String() string {
	high := "no upper end"
	if !b.NoHigh {
		high = number(b.High)
	}
	return fmt.Sprintf("%s [%s, %s]", number(b.Estimate), number(b.Low), high)
}

// String is the estimate with its interval, for people.
func (i Interval) String() string {
	return fmt.Sprintf("%s [%s, %s]", number(i.Estimate), number(i.Low), number(i.High))
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }

// newTicket draws the conclusion of a report, nil where there is no best λ.
func newTicket(s *Setup, r *Report) *Ticket {
	if r.Best == nil {
		return nil
	}
	objective := r.Reward(r.Objective)
	t := &Ticket{
		Sweep: r.Name, Pair: r.Pair, Aligned: r.Aligned, Reward: objective.Judge, Lambda: r.Best.Lambda, Beta0: s.Beta,
		Beta: EffectiveBeta(s.Beta, r.Best.Lambda), Best: *r.Best, Checked: r.Checked, Evaluation: r.Evaluation,
		Prompts: r.Prompts, Outputs: r.Outputs, Tokens: r.Tokens, Points: objective.Points, Strengths: r.Lambdas,
	}
	t.Evidence = evidence(r, objective)
	t.Assumptions = assumptions(s, r)
	if t.Beta != nil {
		t.TRL = t.snippet()
	}
	return t
}

func evidence(r *Report, objective *Rewarded) []string {
	best := r.Best
	list := []string{
		fmt.Sprintf("%d answers to %d prompts at %d λ, %d tokens; intervals are 95%%, by resampling prompts.", r.Outputs, r.Prompts, len(r.Lambdas), r.Tokens),
		fmt.Sprintf("%s at the best λ: %v; KL to the reference %s nats per answer.", objective.Name, best.Value, number(best.KL)),
	}
	if r.Cost > 0 {
		list = append(list, fmt.Sprintf("Judging cost %s, at the prices that the rewards' parameters state.", number(r.Cost)))
	}
	if best.Gain != nil {
		list = append(list, fmt.Sprintf("It is better than at λ = 1 by %v.", *best.Gain))
	}
	if turn := objective.Turn; turn != nil && turn.Sure {
		list = append(list, fmt.Sprintf("More λ makes it worse: by %v up to the highest λ.", turn.Loss))
	}
	if c := r.Checked; c != nil {
		list = append(list, fmt.Sprintf("%s, which was not optimised, is %v there, short of its own best by %v.", r.Evaluation, c.At, c.Loss))
		if c.Overoptimised {
			list = append(list, "The two disagree: by the independent reward the best λ is surely lower. The objective is over-optimised at its own best λ.")
		}
	}
	missing := 0
	for _, reason := range objective.Missing {
		missing += reason.Cells
	}
	if missing > 0 {
		list = append(list, fmt.Sprintf("%d answers have no value of %s, most often: %s.", missing, objective.Name, objective.Missing[0].Reason))
	}
	return list
}

func assumptions(s *Setup, r *Report) []string {
	best := r.Best
	list := []string{fmt.Sprintf("Decoding mixes the models token by token, which leaves out how the rest of the answer would be "+
		"normalised. Its gauge, mean |log Z|, is %s nats per token at the best λ; at 0 nothing would be left out.", number(best.LogZ))}
	if s.Beta > 0 {
		list = append(list, fmt.Sprintf("β₀/λ takes the aligned model for the optimum of its reward at β₀ = %s. A model whose "+
			"training stopped short of that stands for a larger β, and so will the next.", number(s.Beta)))
	} else {
		list = append(list, "Nobody says which β the aligned model was trained with, so there is no effective β; λ is relative to that model.")
	}
	if best.Lambda.High > 1 {
		list = append(list, "λ above 1 extrapolates beyond the aligned model: what was decoded there no trained model has said.")
	}
	if best.Lambda.Low <= 0 {
		list = append(list, "The interval reaches λ = 0, the reference itself: that alignment helps at all is not shown.")
	}
	list = append(list, best.Edges()...)
	if r.Reweighted {
		list = append(list, "Between the λ that were decoded, samples are reweighted, where their effective number allows.")
	} else {
		list = append(list, "The sampling is greedy, truncated or penalised, so samples at one λ say nothing about another: between the λ that were decoded the best is interpolated.")
	}
	if s.Config.Refine.Rounds > 0 {
		list = append(list, "Refinement chose λ by earlier outcomes; intervals take the choice as given.")
	}
	return list
}

// snippet is the training command's parameter. In TRL the strength is called beta by all of these.
func (t *Ticket) snippet() string {
	var b strings.Builder
	high := "no upper end"
	if !t.Beta.NoHigh {
		high = number(t.Beta.High)
	}
	fmt.Fprintf(&b, "# effective β = β₀/λ = %s/%s; 95%% interval %s to %s\n", number(t.Beta0), number(t.Lambda.Estimate), number(t.Beta.Low), high)
	fmt.Fprintf(&b, "from trl import DPOConfig  # or GRPOConfig, RLOOConfig, KTOConfig: the method that the aligned model was trained by\n\n")
	fmt.Fprintf(&b, "args = DPOConfig(output_dir=%q, beta=%s)\n", "b"+number(t.Beta.Estimate), number(t.Beta.Estimate))
	return b.String()
}

// Markdown is the ticket as a document.
func (t *Ticket) Markdown() string {
	var b strings.Builder
	name := t.Sweep
	if name == "" {
		name = t.Reward.Name
	}
	fmt.Fprintf(&b, "# β ticket: %s\n\n", escape(name))
	fmt.Fprintf(&b, "| | |\n| --- | --- |\n| pair | %s, %s |\n| reward | %s, %s is better |\n| best λ | %v |\n",
		escape(t.Pair), escape(t.Aligned), escape(t.Reward.Name), t.Reward.Direction, t.Lambda)
	if t.Beta != nil {
		fmt.Fprintf(&b, "| **effective β = β₀/λ** | **%v** (β₀ = %s) |\n", t.Beta, number(t.Beta0))
	}
	section := func(title string, lines []string) {
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		for _, line := range lines {
			fmt.Fprintf(&b, "- %s\n", escape(line))
		}
	}
	section("Evidence", t.Evidence)
	fmt.Fprintf(&b, "\n| λ | %s | against λ = 1 | KL, nats | mean \\|log Z\\| | answers |\n| --: | --: | --: | --: | --: | --: |\n", escape(t.Reward.Name))
	for k, p := range t.Points {
		s := t.Strengths[k]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d |\n", number(p.Lambda), show(p.Mean), show(p.Difference), show(s.KL), show(s.LogZ), p.Values)
	}
	section("Assumed", t.Assumptions)
	if t.TRL != "" {
		fmt.Fprintf(&b, "\n## Next training\n\n```python\n%s```\n", t.TRL)
	}
	return b.String()
}

func show(i *Interval) string {
	if i == nil {
		return "–"
	}
	return i.String()
}

// escape keeps names from being read as markup or breaking a table.
func escape(text string) string {
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "*", "\\*", "_", "\\_", "`", "\\`", "<", "&lt;", "[", "\\[", "\n", " ").Replace(text)
}

package sweep

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"realign/internal/decode"
	"realign/internal/stat"
)

// Recommendation is what a sweep recommends: the β to train with next, the evidence for it, and what was assumed. Where λ does not
// surely move the reward it recommends nothing, and NoBest says why.
type Recommendation struct {
	Sweep     string         `json:"sweep,omitempty"` // its name
	Pair      string         `json:"pair"`
	Aligned   string         `json:"aligned"`
	Reward    RewardInfo     `json:"reward"`            // the objective
	NoBest    string         `json:"no_best,omitempty"` // why no best λ was found
	Lambda    *stat.Interval `json:"lambda,omitempty"`  // the best one
	Beta0     float64        `json:"beta0,omitempty"`   // that the aligned model was trained with
	Beta      *Beta          `json:"beta,omitempty"`    // the effective one: nil where β₀ is unknown or λ is 0 or below
	Reference bool           `json:"reference"`         // the best λ is 0 or below: the reference is best, and no β stands for that

	Movement    Movement      `json:"movement"`             // whether λ surely moves the reward
	Best        *Best         `json:"best,omitempty"`       // by the objective
	Holdout     *Holdout      `json:"checked,omitempty"`    // what the evaluation reward says of that λ
	Evaluation  string        `json:"evaluation,omitempty"` // name of that reward
	Prompts     int           `json:"prompts"`              // that have an output
	Outputs     int           `json:"outputs"`              // failed ones included
	Tokens      int           `json:"tokens"`               // decoded
	Points      []Point       `json:"points"`               // of the objective's curve
	LambdaStats []LambdaStats `json:"strengths"`            // what each λ costs
	Whole       *Whole        `json:"whole,omitempty"`      // what whole replies would say

	Notes       []string `json:"notes,omitempty"` // sentences: what is to be known before the numbers are believed
	Evidence    []string `json:"evidence"`        // what speaks for it
	Assumptions []string `json:"assumptions"`     // what was taken for granted
	TRL         string   `json:"trl,omitempty"`   // Python: the parameter of the next training
}

// Beta is an effective β, β₀/λ: Low belongs to the upper end of λ.
type Beta struct {
	Estimate float64 `json:"estimate"`        // β₀ over the best λ
	Low      float64 `json:"low"`             // β₀ over the upper end of λ
	High     float64 `json:"high"`            // β₀ over the lower end of λ
	NoLow    bool    `json:"no_low"`          // the interval of λ reaches the end of what is known above: Low means nothing
	NoHigh   bool    `json:"no_high"`         // it reaches the end below, or 0, where no β corresponds to λ: High means nothing
	Bound    string  `json:"bound,omitempty"` // "or less" or "or more": the best λ is at an end of what is known, and the estimate is a bound
}

// The bounds.
const (
	orLess = "or less"
	orMore = "or more"
)

// EffectiveBeta is β₀/λ (Liu et al. 2024, §3.2), nil where β₀ is unknown or λ is 0 or below.
func EffectiveBeta(beta0 float64, best *Best) *Beta {
	lambda := best.Lambda
	if beta0 <= 0 || best.Reference() || lambda.High <= 0 {
		return nil
	}
	b := &Beta{
		Estimate: beta0 / lambda.Estimate,
		NoLow:    best.AtHigh || best.BlindHigh, NoHigh: lambda.Low <= 0 || best.AtLow || best.BlindLow,
	}
	if !b.NoLow {
		b.Low = beta0 / lambda.High
	}
	if !b.NoHigh {
		b.High = beta0 / lambda.Low
	}
	switch best.End {
	case HighEnd:
		b.Bound = orLess
	case LowEnd:
		b.Bound = orMore
	}
	return b
}

// String is the β with its interval, for people.
func (b *Beta) String() string {
	text := stat.Format(b.Estimate)
	if b.Bound != "" {
		text += " " + b.Bound
	}
	return fmt.Sprintf("%s [%s, %s]", text, b.low(), b.high())
}

// low is the lower end of the interval, for people.
func (b *Beta) low() string {
	if b.NoLow {
		return "no lower end"
	}
	return stat.Format(b.Low)
}

// high is the upper end of the interval, for people.
func (b *Beta) high() string {
	if b.NoHigh {
		return "no upper end"
	}
	return stat.Format(b.High)
}

// newTicket draws the conclusion of a report, nil where the objective has no value.
func newTicket(s *Setup, r *Report) *Recommendation {
	objective := r.Reward(r.Objective)
	if objective == nil || !objective.judged() {
		return nil
	}
	t := &Recommendation{
		Sweep: r.Name, Pair: r.Pair, Aligned: r.Aligned, Reward: objective.RewardInfo, Beta0: s.Beta, Movement: objective.Movement,
		Evaluation: r.Evaluation, Prompts: r.Prompts, Outputs: r.Outputs, Tokens: r.Tokens, Points: objective.Points,
		LambdaStats: r.Lambdas, Whole: objective.Whole, Notes: r.Notes,
	}
	if r.Best == nil {
		t.NoBest = NoBest(r)
		t.Evidence = append(rests(r), objective.unjudged()...)
		t.Assumptions = sampling(r)
		return t
	}
	t.Lambda, t.Best, t.Holdout, t.Reference = &r.Best.Lambda, r.Best, r.Holdout, r.Best.Reference()
	t.Beta = EffectiveBeta(s.Beta, r.Best)
	t.Evidence = evidence(r, objective)
	t.Assumptions = assumptions(s, r)
	if t.Beta != nil {
		t.TRL = t.snippet()
	}
	return t
}

// judged reports whether any answer has a value.
func (r *RewardReport) judged() bool {
	for _, p := range r.Points {
		if p.Values > 0 {
			return true
		}
	}
	return false
}

// unjudged says how many answers have no value, and why.
func (r *RewardReport) unjudged() []string {
	missing := 0
	for _, reason := range r.Missing {
		missing += reason.Cells
	}
	if missing == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d answers have no value of %s, most often: %s.", missing, r.Name, r.Missing[0].Reason)}
}

// NoBest is why a report names no best λ by its objective, for people.
func NoBest(r *Report) string {
	o := r.Reward(r.Objective)
	if o == nil || !o.judged() {
		return "No best λ found: no answer has a value of " + r.Objective + "."
	}
	return fmt.Sprintf("No best λ found: %s.", o.Movement.Reason)
}

// rests is what a report rests on, and what that cost.
func rests(r *Report) []string {
	list := []string{fmt.Sprintf("%d answers to %d prompts at %d λ, %d tokens; intervals are 95%%, by resampling prompts.", r.Outputs, r.Prompts, len(r.Lambdas), r.Tokens)}
	if r.Cost > 0 {
		list = append(list, fmt.Sprintf("Judging cost %s, at the prices that the rewards' parameters state.", stat.Format(r.Cost)))
	}
	return list
}

// evidence is what speaks for the best λ, in sentences. r.Best is not nil.
func evidence(r *Report, objective *RewardReport) []string {
	best := r.Best
	list := append(rests(r),
		fmt.Sprintf("λ moves %s: differences as large come by chance in fewer than %s of 100 sweeps in which λ does nothing.", objective.Name, stat.Format(math.Ceil(1000*objective.Movement.P)/10)),
		fmt.Sprintf("%s at the best λ: %v%s.", objective.Name, best.Value, r.klWords()),
	)
	if g := best.Gain; g != nil {
		text := fmt.Sprintf("Against λ = 1 it is better by %v.", *g)
		if !(g.Low > 0) {
			text += " That it is better at all is not shown."
		}
		list = append(list, text)
	}
	if turn := objective.Peak; turn != nil && turn.Sure {
		list = append(list, fmt.Sprintf("More λ makes it worse: by %v up to the highest λ.", turn.Loss))
	}
	if c := r.Holdout; c != nil {
		list = append(list, r.checkedWords())
		if c.Overoptimised {
			list = append(list, "The two disagree: by the independent reward the best λ is surely lower. The objective is over-optimised at its own best λ.")
		}
	}
	if w := objective.Whole; w != nil {
		list = append(list, w.words(objective.Name, best, r.Beta)...)
	}
	return append(list, objective.unjudged()...)
}

// KnowsKL reports whether KL to the reference was recorded at any λ.
func (r *Report) KnowsKL() bool {
	return slices.ContainsFunc(r.Lambdas, func(l LambdaStats) bool { return l.KL != nil })
}

// klWords says how far the reference is at the best λ, where that was recorded.
func (r *Report) klWords() string {
	if !r.KnowsKL() {
		return ""
	}
	return fmt.Sprintf("; KL to the reference %s nats per answer", stat.Format(r.Best.KL))
}

// assumptions is what was taken for granted, in sentences. r.Best is not nil.
func assumptions(s *Setup, r *Report) []string {
	best := r.Best
	list := []string{fmt.Sprintf("Decoding mixes the models token by token, which leaves out how the rest of the answer would be "+
		"normalised. Its gauge, mean |log Z|, is %s nats per token at the best λ; at 0 nothing would be left out.", stat.Format(best.LogZ))}
	if s.Config.Sampling.Exact > 0 {
		list[0] = fmt.Sprintf("Replies were decoded with exact λ: each is one of %d particles, distributed as whole replies as their number grows.", s.Config.Sampling.Exact)
	}
	if decode.InWeights(s.Config.Mix) {
		list[0] = "λ is in the weights, θ_ref + λΔ, in place of mixing what two models say: the replies are of one model each, for which β₀/λ is an analogy and no theorem. " +
			"The same sweep with λ in the logits says how far the two part."
	}
	if t := r.trustAt(best.Lambda.Estimate); t != nil {
		list = append(list, t.Words()+" at the decoded λ nearest to the best.")
	}
	if s.Beta > 0 {
		list = append(list, fmt.Sprintf("β₀/λ takes the aligned model for the optimum of its reward at β₀ = %s. A model whose "+
			"training stopped short of that stands for a larger β, and so will the next.", stat.Format(s.Beta)))
	} else {
		list = append(list, "Nobody says which β the aligned model was trained with, so there is no effective β; λ is relative to that model.")
	}
	if best.Lambda.High > 1 {
		list = append(list, "λ above 1 extrapolates beyond the aligned model: what was decoded there no trained model has said.")
	}
	if best.Reference() {
		list = append(list, "The reference itself is best: no β stands for λ = 0 or below, and there is nothing to train.")
	} else if best.Lambda.Low <= 0 {
		list = append(list, "The interval reaches λ = 0, the reference itself: that alignment helps at all is not shown.")
	}
	list = append(list, best.Edges()...)
	list = append(list, sampling(r)...)
	if s.Config.Refine.Rounds > 0 {
		list = append(list, "Refinement chose λ by earlier outcomes; intervals take the choice as given.")
	}
	return list
}

// sampling is what is assumed between the λ that were decoded.
func sampling(r *Report) []string {
	if r.Reweighted {
		return []string{"Between the λ that were decoded, samples are reweighted, where their effective number allows."}
	}
	return []string{"The sampling is greedy, truncated or penalised, so samples at one λ say nothing about another: between the λ that were decoded the best is interpolated."}
}

// checkedWords is what the evaluation reward says, for people.
func (r *Report) checkedWords() string {
	c := r.Holdout
	text := fmt.Sprintf("%s, which was not optimised, is %v there", r.Evaluation, c.At)
	if c.Loss == nil {
		return text + "; λ is not shown to move it."
	}
	return text + fmt.Sprintf(", short of its own best by %v.", *c.Loss)
}

// snippet is the training command's parameter. In TRL the strength is called beta by all of these.
func (t *Recommendation) snippet() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# effective β = β₀/λ = %s/%s; 95%% interval %s to %s\n", stat.Format(t.Beta0), stat.Format(t.Lambda.Estimate), t.Beta.low(), t.Beta.high())
	fmt.Fprintf(&b, "from trl import DPOConfig  # or GRPOConfig, RLOOConfig, KTOConfig: the method that the aligned model was trained by\n\n")
	bound := ""
	if t.Beta.Bound != "" {
		bound = fmt.Sprintf("  # %s: the best λ is at an end of what was judged", t.Beta.Bound)
	}
	fmt.Fprintf(&b, "args = DPOConfig(output_dir=%q, beta=%s)%s\n", "b"+stat.Format(t.Beta.Estimate), stat.Format(t.Beta.Estimate), bound)
	return b.String()
}

// Markdown is the ticket as a document.
func (t *Recommendation) Markdown() string {
	var b strings.Builder
	name := t.Sweep
	if name == "" {
		name = t.Reward.Name
	}
	fmt.Fprintf(&b, "# β ticket: %s\n\n", escape(name))
	fmt.Fprintf(&b, "| | |\n| --- | --- |\n| pair | %s, %s |\n| reward | %s, %s is better |\n| best λ | %s |\n",
		escape(t.Pair), escape(t.Aligned), escape(t.Reward.Name), t.Reward.Direction, show(t.Lambda))
	if t.Beta != nil {
		fmt.Fprintf(&b, "| **effective β = β₀/λ** | **%v** (β₀ = %s) |\n", t.Beta, stat.Format(t.Beta0))
	}
	section := func(title string, lines []string) {
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		for _, line := range lines {
			fmt.Fprintf(&b, "- %s\n", escape(line))
		}
	}
	if t.NoBest != "" {
		fmt.Fprintf(&b, "\n**%s**\n", escape(t.NoBest))
	}
	if t.Reference {
		b.WriteString("\n**The reference is best: no β exists.**\n")
	}
	if len(t.Notes) > 0 {
		section("Before you believe it", t.Notes)
	}
	section("Evidence", t.Evidence)
	fmt.Fprintf(&b, "\n| λ | %s | against λ = 1 | KL, nats | mean \\|log Z\\| | answers |\n| --: | --: | --: | --: | --: | --: |\n", escape(t.Reward.Name))
	for k, p := range t.Points {
		s := t.LambdaStats[k]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d |\n", stat.Format(p.Lambda), show(p.Mean), show(p.Difference), show(s.KL), show(s.LogZ), p.Values)
	}
	section("Assumed", t.Assumptions)
	if t.TRL != "" {
		fmt.Fprintf(&b, "\n## Next training\n\n```python\n%s```\n", t.TRL)
	}
	return b.String()
}

// show is an interval for people; a dash where there is none.
func show(i *stat.Interval) string {
	if i == nil {
		return "–"
	}
	return i.String()
}

// escape keeps names from being read as markup or breaking a table.
func escape(text string) string {
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "*", "\\*", "_", "\\_", "`", "\\`", "<", "&lt;", "[", "\\[", "\n", " ").Replace(text)
}

package templates

// StudyAgreement is "/studies/{id}/agreement": what people preferred beside what rewards said of the same answers.
type StudyAgreement struct {
	Layout
	Study, Name string
	Answer      string // in a sentence
	Facts       []Fact
	Notes       []string // whom the numbers are about
	Plots       []Plot   // u(λ), and each reward, over one λ axis
	Rewards     []RewardAgreement
	Categories  []string // of the prompts, by name
}

// RewardAgreement is one reward against people.
type RewardAgreement struct {
	Title       string
	Sweep, Path string              // that has it
	Share       string              // in percent, with its interval
	Pairs       int                 // of answers that count
	Ties        int                 // of the pairs, with equal rewards
	Unjudged    int                 // answers left out because an output is not judged
	Correlation string              // of u(λ) and the reward's curve, −1 to 1; "–" for none
	Verdict     string              // agrees, disagrees, not told or not known
	Categories  []CategoryAgreement // in the order of StudyAgreement.Categories
}

// CategoryAgreement is one reward against people over the prompts of one category.
type CategoryAgreement struct {
	Share string // in percent, with its interval
	Pairs int
}

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
	Categories  []string
}

// RewardAgreement is one reward against people.
type RewardAgreement struct {
	Title       string
	Sweep, Path string // that has it
	Share       string // with its interval
	Pairs       int
	Ties        int // of the pairs, with equal rewards
	Unjudged    int
	Correlation string
	Verdict     string // agrees, disagrees, not told or not known
	Categories  []CategoryAgreement
}

// CategoryAgreement is one reward against people over the prompts of one category.
type CategoryAgreement struct {
	Share string
	Pairs int
}

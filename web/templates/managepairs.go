package templates

// PairManage is what whoever administers the server finds on the page of pairs beside those that are installed.
type PairManage struct {
	Models    []FoundModel // on this machine
	Proposals []FoundPair  // of those models
	Broken    []Fact       // path and reason
	Pulls     []PullItem   // that go on, or ended
}

// FoundModel is a model on the machine.
type FoundModel struct {
	Name         string // by which it is chosen
	Architecture string
	Quantisation string
	Tokenizer    string // fingerprint
	Bytes        int64  // of all its files
	Adapter      bool   // it is a LoRA adapter
	Usable       bool   // it is GGUF
}

// FoundPair is a pair that two models could be.
type FoundPair struct {
	Reference, Aligned, Reason string // names of the models, and why they could be a pair
	Address                    string // of the form that adds it; "" for folders, which are to be converted
	Command                    string // that adds it
}

// KnownPair is a pair of the catalogue.
type KnownPair struct {
	Name, Title, Licence string
	Facts                []Fact   // what its β means, by aligned model
	Fetch                []string // names of its models that can be fetched
	Commands             []string // that fetch them
}

// PullItem is a model that is being fetched, or was.
type PullItem struct {
	Name, State, Error, Got string // State: running, done, failed or stopped; Error: why; Got: the name it is found under
	Done, Total             int64  // bytes
}

// words say how far a fetch is.
func (p PullItem) words() string {
	switch {
	case p.State == "running" && p.Total > 0:
		return size(p.Done) + " of " + size(p.Total)
	case p.State == "running":
		return "asking"
	case p.State == "failed":
		return "failed: " + p.Error
	case p.State == "done":
		return "fetched, found as " + p.Got
	}
	return "stopped; what has come is kept"
}

// share is how much has come, from 0 to 1.
func (p PullItem) share() float64 {
	if p.Total <= 0 {
		return 0
	}
	return float64(p.Done) / float64(p.Total)
}

// PairForm is "/pairs/add": it adds a pair.
type PairForm struct {
	Layout
	Models   []FoundModel
	Fields   map[string]string // as they were filled in
	Findings []Fact            // of the models that were chosen, by model
	Checked  bool              // the findings are of these fields
	Faulty   bool              // one of them is a fault
	Error    string            // what is wrong with the fields
	Field    string            // which one
}

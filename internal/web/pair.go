package web

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/pair"
	"realign/web/templates"
)

// showPairs is GET /pairs: the pairs, the catalogue, and, for whoever administers them, what is on the machine.
func (s *Server) showPairs(c echo.Context) error {
	pairs, err := s.library.List()
	if err != nil {
		s.log.Warn("some pairs cannot be read", "error", err) // the others are shown
	}
	states := s.states()
	v := templates.PairList{Layout: s.layout(c, "Pairs", "pairs")}
	for _, p := range pairs {
		v.Pairs = append(v.Pairs, s.pairItem(p, states[p.Name]))
	}
	v.Known = knownPairs()
	if s.manager != nil {
		if v.Manage, err = s.manageView(c.Request().Context()); err != nil {
			return err
		}
	}
	return s.page(c, http.StatusOK, v)
}

// showPair is GET /pairs/{name}.
func (s *Server) showPair(c echo.Context) error { return s.pairPage(c, "") }

// pairPage is a pair's page, with what a check has just found.
func (s *Server) pairPage(c echo.Context, checked string) error {
	p, err := s.library.Find(c.Param("name"))
	if err != nil {
		return err
	}
	v := templates.PairPage{
		Layout: s.layout(c, p.Label(), "pairs"), Pair: s.pairItem(p, s.states()[p.Name]),
		Description: p.Description, Card: modelCard(p), CheckLines: checked,
	}
	if s.manager != nil && p.Installed() == nil {
		v.Checkable, v.Removable = true, s.manager.Removable(p) && p.Name != s.defaultPair
	}
	if source, name, err := p.ChatTemplate(); err == nil {
		own := ""
		if t, err := p.Tokenizer(); err == nil && t.Template != nil {
			own = *t.Template
		}
		v.Template, v.TemplateFrom = templateView(source, name, own)
	}
	for _, f := range p.Files() {
		size := int64(0)
		if info, err := os.Stat(f.Path); err == nil {
			size = info.Size()
		}
		v.Files = append(v.Files, templates.File{Role: f.Role, Name: filepath.Base(f.Path), SHA256: f.SHA256, Bytes: size})
	}
	if p.Installed() == nil {
		found, err := s.finder.Find(c.Request().Context(), p)
		if err != nil {
			s.log.Warn("the vocabularies of a pair cannot be loaded", "pair", p.Name, "error", err) // what the heads say is shown
		}
		v.Findings = findingFacts(found)
	}
	for _, at := range s.states()[p.Name].Placement {
		fact := templates.Fact{Name: at.Model, Value: at.Where()}
		if !at.Loaded {
			fact.Value += "; when first used"
		}
		v.Placement = append(v.Placement, fact)
	}
	return s.page(c, http.StatusOK, v)
}

// findingFacts are findings as pages list them.
func findingFacts(found []pair.Found) (facts []templates.Fact) {
	for _, f := range found {
		facts = append(facts, templates.Fact{Name: f.Role, Value: string(f.Level) + ": " + f.Text})
	}
	return facts
}

// states is the workers' states by pair.
func (s *Server) states() map[string]pair.Status {
	states := map[string]pair.Status{}
	status, _ := s.pairs.Status()
	for _, st := range status {
		states[st.Name] = st
	}
	return states
}

// pairItem is a pair as a list shows it.
func (s *Server) pairItem(p *pair.Pair, st pair.Status) templates.PairItem {
	if st.State == "" {
		st.State = pair.Idle
	}
	item := templates.PairItem{
		Name: p.Name, Title: p.Title, State: string(st.State), Progress: st.Progress, Message: st.Message,
		Restarts: st.Restarts, Default: p.Name == s.defaultPair, Aligned: alignedModels(p), Licence: p.Licence,
	}
	for _, f := range p.Files() {
		if info, err := os.Stat(f.Path); err == nil {
			item.Bytes += info.Size()
		}
	}
	return item
}

// defaultSampling is what the default pair recommends.
func (s *Server) defaultSampling() decode.Sampling {
	if p, err := s.library.Find(s.defaultPair); err == nil {
		return p.Sampling
	}
	return decode.DefaultSampling()
}

// pairOptions lists the pairs for the playground's chooser, the default first. One that is still to be
// installed cannot be chosen: /pairs tells how to install it.
func (s *Server) pairOptions() []templates.PairOption {
	pairs, _ := s.library.List() // showPairs tells of broken ones
	states := s.states()
	var options []templates.PairOption
	for _, p := range pairs {
		if p.Installed() != nil && states[p.Name].State != pair.Ready { // a worker elsewhere may have it
			continue
		}
		state := states[p.Name].State
		if state == "" {
			state = pair.Idle
		}
		o := templates.PairOption{Name: p.Name, Title: p.Title, State: string(state), About: templates.FirstSentence(p.Description), Aligned: alignedModels(p), Sampling: samplingView(p.Sampling)}
		if p.Name == s.defaultPair {
			options = append([]templates.PairOption{o}, options...)
		} else {
			options = append(options, o)
		}
	}
	return options
}

// alignedModels are a pair's aligned models, the default first.
func alignedModels(p *pair.Pair) []templates.AlignedModel {
	models := make([]templates.AlignedModel, len(p.Aligned))
	for i, a := range p.Aligned {
		models[i] = templates.AlignedModel{
			Name: a.Name, Title: a.Title, Description: a.Description, About: templates.FirstSentence(a.Description), Reward: a.Reward, Beta: a.Beta, Default: i == 0, Kind: a.Kind(),
		}
		if a.Contrast != nil {
			models[i].Contrast = a.Contrast.System + a.Contrast.Context
		}
	}
	return models
}

// modelCard is the pair's model card, a text beside its manifest.
func modelCard(p *pair.Pair) string {
	const most = 256 << 10
	for _, name := range []string{"CARD.md", "README.md"} {
		data, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err == nil && len(data) <= most {
			return strings.ToValidUTF8(string(data), "\uFFFD")
		}
	}
	return ""
}

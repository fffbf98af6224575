package web

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/web/templates"
)

// mapView is a λ-map as pages show it: the parts of its interval side by side, those that are not known among them.
func mapView(m *run.Map, spec *run.Spec) *templates.Map {
	v := &templates.Map{
		From: m.From, To: m.To, Growing: !m.Ended(), Reason: m.Reason, Covered: m.Covered(), Most: spec.Map.Branches,
		Sampling: samplingView(spec.Sampling),
	}
	if l := spec.Map.Line; l != nil {
		v.Line = &templates.MapLine{From: l.From, To: l.To}
	}
	if m.Error != nil {
		v.Error = m.Error.Message
	}
	for _, f := range m.Forks {
		v.Forks = append(v.Forks, templates.MapFork{
			Lambda: f.Lambda, Index: f.Index, Line: v.Line != nil, Below: candidateView(f.Below), Above: candidateView(f.Above),
		})
	}
	// Between two neighbouring edges lies one text: a branch that has ended, or one that is not known.
	edges := []float64{m.From, m.To}
	for _, f := range m.Forks {
		edges = append(edges, f.Lambda)
	}
	for _, b := range m.Branches {
		edges = append(edges, b.From, b.To)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	ended := m.Branches
	for i := 1; i < len(edges); i++ {
		branch := templates.MapBranch{From: edges[i-1], To: edges[i]}
		for len(ended) > 0 && ended[0].To <= branch.From {
			ended = ended[1:]
		}
		if len(ended) > 0 && ended[0].From <= branch.From {
			b := &ended[0]
			branch.Pieces, branch.Reason = b.Pieces, b.Reason
			for _, id := range b.Tokens {
				branch.IDs = append(branch.IDs, int32(id))
			}
		}
		v.Branches = append(v.Branches, branch)
	}
	return v
}

// candidateView is one side of a fork.
func candidateView(c decode.Candidate) templates.MapCandidate {
	return templates.MapCandidate{Name: c.Name, Reference: c.Logp.Reference, Aligned: c.Logp.Aligned, Noise: c.Noise}
}

// showMap is GET /runs/{id}/map: the section of the page that shows a map, as far as it has grown.
func (s *Server) showMap(c echo.Context) error {
	ctx := c.Request().Context()
	r, err := s.sessions.Run(ctx, owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	if r.Spec.Map == nil {
		return fault.New(fault.NotFound, "this run is not a λ-map")
	}
	t, err := run.ReadTexts(ctx, s.sessions, r)
	if err != nil {
		return err
	}
	v, err := s.runView(r, t)
	if err != nil {
		return err
	}
	return s.fragment(c, "", v.Map.Section())
}

// lanesOf reads λ to open as lanes, "0.5,0.79", or for two aligned models "0.5:0,1:0.2", as "?lanes=" has them.
func lanesOf(text string, sample int) ([]templates.DraftLane, error) {
	parts := strings.Split(text, ",")
	if len(parts) > decode.MaxLanes {
		return nil, fault.Field("lanes", "%d lanes, at most %d", len(parts), decode.MaxLanes)
	}
	var lanes []templates.DraftLane
	for _, part := range parts {
		lane := templates.DraftLane{Sample: sample}
		for one := range strings.SplitSeq(part, ":") {
			x, err := strconv.ParseFloat(one, 64)
			if err != nil || math.IsNaN(x) || x < decode.MinLambda || x > decode.MaxLambda || len(lane.Lambda) == decode.MaxAligned {
				return nil, fault.Field("lanes", "%.40q is not a λ from %v to %v, or up to %d of them with colons between", part, decode.MinLambda, decode.MaxLambda, decode.MaxAligned)
			}
			lane.Lambda = append(lane.Lambda, x)
		}
		lanes = append(lanes, lane)
	}
	return lanes, nil
}

// openLanes puts lanes in place of a map's draft: those asked for, or those that everybody starts from.
func (s *Server) openLanes(d *templates.Draft, spec *run.Spec, asked string) error {
	if asked != "" {
		sample := 0
		if spec.Map != nil {
			sample = spec.Map.Sample
		}
		lanes, err := lanesOf(asked, sample)
		if err != nil {
			return err
		}
		d.Lanes = lanes
	} else if spec.Map != nil {
		d.Lanes = s.emptyDraft().Lanes
	}
	return nil
}

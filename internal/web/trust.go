package web

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/gauge"
	"realign/internal/run"
)

// trust says for each lane of a run how far its reply may be from one of whole replies at its λ: of lanes that were decoded token by token by
// the weights of all samples at that λ, of those with particles whether the reply changed. "" where there is nothing to say: at λ of one
// model, under sampling that no whole-reply distribution is defined for, and for lanes that were moved, forked or cut off.
func trust(spec *run.Spec, lanes []run.Lane) []string {
	words := make([]string, len(lanes))
	s := spec.Sampling
	if s.Temperature != 1 || !whole(&s) {
		return words
	}
	samples := map[string][]float64{} // log weights, by λ
	at := make([]string, len(lanes))
	for i := range lanes {
		l := &lanes[i]
		switch {
		case l.Exact != nil:
			words[i] = exactWords(l.Exact)
		case s.Exact == 0:
			if logWeight, ok := logWeightOf(l); ok {
				at[i] = l.Lambda.String()
				samples[at[i]] = append(samples[at[i]], logWeight)
			}
		}
	}
	for i := range lanes {
		if at[i] != "" {
			words[i] = gauge.Of(samples[at[i]]).Words()
		}
	}
	return words
}

// whole reports whether sampling is one at which a whole reply's density is known: no truncation, penalties and bias.
func whole(s *decode.Sampling) bool {
	return s.TopK == 0 && s.TopP == 1 && s.MinP == 0 && len(s.Bias) == 0 && (s.RepeatPenalty == 0 || s.RepeatPenalty == 1) &&
		s.PresencePenalty == 0 && s.FrequencyPenalty == 0
}

// logWeightOf is Σ log Z of a whole lane at one λ between or beyond the models.
func logWeightOf(l *run.Lane) (sum float64, ok bool) {
	if len(l.Prefix) > 0 || len(l.Changes) > 0 || l.Reason != decode.EndStop && l.Reason != decode.EndLength {
		return 0, false
	}
	one := decode.Request{Sampling: decode.Sampling{Exact: 2}}
	if one.Streams(l.Lane) == 1 {
		return 0, false
	}
	for i := range l.Tokens {
		z := l.Tokens[i].LogZ
		if z == nil {
			return 0, false
		}
		sum += *z
	}
	return sum, true
}

// exactWords say what particles told of a lane.
func exactWords(x *decode.Exact) string {
	same := "It is what token-wise decoding says, too."
	if x.Changed {
		same = "Token-wise decoding says something else."
	}
	return fmt.Sprintf("Exact λ: one of %d particles, effective number %.1f. %s", x.Particles, x.Size, same)
}

// showTrust is GET /runs/{id}/trust: what is to be said of each lane, in their order.
func (s *Server) showTrust(c echo.Context) error {
	ctx := c.Request().Context()
	started, err := s.sessions.Run(ctx, owner(c), c.Param("id"))
	if err != nil {
		return err
	}
	t, err := run.ReadTexts(ctx, s.sessions, started)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, map[string][]string{"lanes": trust(&started.Spec, t.Lanes)})
}

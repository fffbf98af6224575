package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/session"
	"realign/web/templates"
)

// verifyTime is how long a comparison may take to be decoded again.
const verifyTime = 5 * time.Minute

// verify is POST /c/{token}/verify: the comparison decoded again. Programs get the verdict as JSON, people
// the page with it.
func (s *Server) verify(c echo.Context) error {
	ctx := c.Request().Context()
	token := c.Param("token")
	found, snapshot, err := s.shelf.Open(ctx, token)
	if err != nil {
		return err
	}
	if err := s.verifies.allow(network(c), "verifications"); err != nil {
		return err
	}
	result, err := s.verification(c, snapshot)
	if err != nil && (wantsJSON(c.Request()) || fault.KindOf(err) == fault.Internal) {
		return err
	}
	status := http.StatusOK
	if err != nil {
		f, code := outside(err)
		status, result = code, templates.Verification{Error: f.Message}
	}
	if wantsJSON(c.Request()) {
		return c.JSON(http.StatusOK, result)
	}
	v, err := s.comparisonView(c, token, found, snapshot)
	if err != nil {
		return err
	}
	v.Verification = &result
	return s.page(c, status, v)
}

func (s *Server) verification(c echo.Context, snapshot *session.Snapshot) (templates.Verification, error) {
	ctx, stop := context.WithTimeout(c.Request().Context(), verifyTime)
	defer stop()
	select { // few at a time: each is a run that nobody can stop
	case s.verifying <- struct{}{}:
		defer func() { <-s.verifying }()
	default:
		return templates.Verification{}, fault.New(fault.Busy, "other comparisons are being verified: try again in a moment")
	}
	verdict, err := session.Verify(ctx, s.decoder, s.models, snapshot)
	if err != nil {
		if errors.Is(err, ctx.Err()) && ctx.Err() != nil {
			return templates.Verification{}, fault.Wrap(err, fault.Unavailable, "verifying took longer than %v", verifyTime)
		}
		return templates.Verification{}, err
	}
	result := templates.Verification{Identical: verdict.Identical, Tokens: verdict.Tokens, Branches: verdict.Branches, Lane: verdict.Lane, Index: verdict.Index}
	for _, l := range snapshot.Lanes {
		if len(l.Tokens) > 0 {
			result.Lanes++
		}
	}
	if !verdict.Identical {
		result.Stored = storedToken(snapshot, verdict)
		if d := verdict.Map; d != nil {
			result.Lane = d.Branch
			if f := d.Fork; f != nil {
				result.Fork, result.Stored, result.Decoded = true, plainLambda(f.Stored), plainLambda(f.Decoded)
			}
		}
		if verdict.Got != nil {
			result.Decoded = cmp.Or(verdict.Name, fmt.Sprintf("token %d", *verdict.Got))
		}
	}
	if snapshot.Build != s.build {
		result.Note = fmt.Sprintf("It was decoded by build %s; this is %s.", snapshot.Build, s.build)
	}
	return result, nil
}

// storedToken is the snapshot's token at the first difference, as it is shown.
func storedToken(snapshot *session.Snapshot, v session.Verdict) string {
	if v.Expected == nil {
		return ""
	}
	if v.Map != nil {
		return cmp.Or(snapshot.Map.Continue[v.Map.Branch].Pieces[v.Index], fmt.Sprintf("token %d", *v.Expected))
	}
	for _, l := range snapshot.Lanes {
		if l.Index == v.Lane && v.Index < len(l.Tokens) {
			return cmp.Or(l.Tokens[v.Index].Name, l.Tokens[v.Index].Text, fmt.Sprintf("token %d", *v.Expected))
		}
	}
	return fmt.Sprintf("token %d", *v.Expected)
}

// plainLambda is λ with all its digits.
func plainLambda(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

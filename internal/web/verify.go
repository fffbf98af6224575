package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/share"
	"realign/web/templates"
)

// verifyTime is how long a comparison may take to be decoded again.
const verifyTime = 5 * time.Minute

// verify is POST /c/{token}/verify: the comparison decoded again. Programs get the verdict as JSON, people
// the page with it.
func (s *Server) verify(c echo.Context) error {
	ctx := c.Request().Context()
	token := c.Param("token")
	found, snapshot, err := s.shares.Open(ctx, token)
	if err != nil {
		return err
	}
	if err := s.verifyLimiter.allow(network(c), "verifications"); err != nil {
		return err
	}
	result, err := s.verification(c, snapshot)
	if err != nil && (wantsJSON(c.Request()) || fault.KindOf(err) == fault.Internal) {
		return err
	}
	if result.Identical {
		if err := s.shares.Verified(ctx, found); err != nil {
			return err
		}
		found.VerifiedAt = s.now()
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

// verification decodes a comparison again and says what came of it. It is Busy while as many as may run do.
func (s *Server) verification(c echo.Context, snapshot *share.Snapshot) (templates.Verification, error) {
	ctx, stop := context.WithTimeout(c.Request().Context(), verifyTime)
	defer stop()
	select { // few at a time: each is a run that nobody can stop
	case s.verifying <- struct{}{}:
		defer func() { <-s.verifying }()
	default:
		return templates.Verification{}, fault.New(fault.Busy, "other comparisons are being verified: try again in a moment")
	}
	verdict, err := share.Verify(ctx, s.decoder, s.models, snapshot)
	if err != nil {
		if errors.Is(err, ctx.Err()) && ctx.Err() != nil {
			return templates.Verification{}, fault.Wrap(err, fault.Unavailable, "verifying took longer than %v", verifyTime)
		}
		return templates.Verification{}, err
	}
	result := templates.Verification{
		Identical: verdict.Identical, Tokens: verdict.Tokens, Branches: verdict.Branches, Tolerance: share.Tolerance, Deviation: verdict.Deviation,
		What: verdict.What, Lane: verdict.Lane, Index: verdict.Index, Stored: verdict.Stored, Decoded: verdict.Decoded,
	}
	for _, l := range snapshot.Lanes {
		if len(l.Tokens) > 0 {
			result.Lanes++
		}
	}
	if verdict.Identical {
		return result, nil
	}
	if verdict.What == share.DiffPrompt {
		result.Note = "A chat template that writes the date makes other tokens every day."
	}
	if snapshot.Build != s.build {
		result.Note += fmt.Sprintf(" It was decoded by build %s; this is %s.", snapshot.Build, s.build)
	}
	return result, nil
}

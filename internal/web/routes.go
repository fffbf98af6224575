package web

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
)

// routes is the whole HTTP surface.
// Middleware runs in the order in which it is listed.
func (s *Server) routes() (http.Handler, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.handleError
	e.IPExtractor = s.proxies.extractor()
	e.Use(s.base.redirects, s.record, s.rescue, s.headers, s.noteProxy, s.checkHost, s.apiOrigins(), s.checkCrossOrigin, textAddress, s.identify)
	files, err := s.staticFiles()
	if err != nil {
		return nil, err
	}

	small := s.body(maxFormBytes, formCost)
	form := func(next echo.HandlerFunc) echo.HandlerFunc { return small(textForm(next)) }

	// For everybody.
	e.GET("/healthz", s.healthz)
	e.HEAD("/healthz", s.healthz)
	e.GET("/readyz", s.readyz)
	e.HEAD("/readyz", s.readyz)
	e.GET("/static/*", files)
	e.HEAD("/static/*", files)
	e.GET("/key", s.showKey)
	e.GET("/help", s.showHelp)
	e.GET("/help/:name", s.showHelp)
	e.GET("/login", s.showLogin)
	e.POST("/login", s.login, form)
	e.POST("/logout", s.logout, form)
	public := []echo.MiddlewareFunc{noReferrer}
	e.GET("/c/:token", s.showComparison, public...)
	e.HEAD("/c/:token", s.showComparison, public...)
	e.GET("/c/:token/picture.png", s.showPicture, public...)
	e.HEAD("/c/:token/picture.png", s.showPicture, public...)

	e.GET("/r/:token", s.showPublished, public...)
	e.HEAD("/r/:token", s.showPublished, public...)
	e.GET("/r/:token/report", s.publishedReport, public...)
	e.GET("/w/:token", s.showSharedSweep, public...)
	e.HEAD("/w/:token", s.showSharedSweep, public...)
	e.GET("/rate/:token", s.showRate, public...)
	e.POST("/rate/:token/join", s.joinStudy, noReferrer, form)
	e.POST("/rate/:token/answer", s.answerQuestion, noReferrer, form)
	e.POST("/rate/:token/skip", s.skipQuestion, noReferrer, form)
	e.POST("/rate/:token/undo", s.undoAnswer, noReferrer, form)

	// For those who may use the server.
	in := s.requireLogin
	e.GET("/metrics", s.showMetrics(), in)
	e.GET("/ws", s.serveSocket, in)
	e.POST("/c/:token/verify", s.verify, in, noReferrer, form)
	page := []echo.MiddlewareFunc{in, s.ensureOwner}
	e.GET("/", s.showPlayground, page...)
	e.GET("/sessions", s.showSessions, page...)
	e.GET("/history", s.showHistory, page...)
	e.GET("/s/:id", s.showSession, page...)
	e.GET("/runs/:id/map", s.showMap, page...)
	e.GET("/runs/:id/trust", s.showTrust, page...)
	e.GET("/sessions/:id/export", s.exportSession, page...)
	e.GET("/shares", s.showShares, page...)
	e.GET("/pairs", s.showPairs, page...)
	e.GET("/pairs/:name", s.showPair, page...)

	e.GET("/studies", s.showStudies, page...)
	e.GET("/studies/new", s.showStudyForm, page...)
	e.GET("/studies/:id", s.showStudy, page...)
	e.GET("/studies/:id/edit", s.editStudy, page...)
	e.GET("/studies/:id/preview", s.previewStudy, page...)
	e.GET("/studies/:id/results", s.showResults, page...)
	e.GET("/studies/:id/votes", s.showVotes, page...)
	e.GET("/studies/:id/results.json", s.resultsJSON, page...)
	e.GET("/studies/:id/agreement", s.showAgreement, page...)
	e.GET("/studies/:id/agreement.json", s.agreementJSON, page...)
	e.GET("/studies/:id/agreement.csv", s.agreementCSV, page...)
	e.GET("/studies/:id/results/live", s.liveResults, page...)
	e.GET("/studies/:id/results/report", s.showReport, page...)
	e.GET("/studies/:id/export/:file", s.exportStudy, page...)

	s.apiRoutes(e)

	change := []echo.MiddlewareFunc{in, form, checkForm}
	if s.keys != nil {
		e.GET("/keys", s.showKeys, page...)
		e.POST("/keys", s.createKey, change...)
		e.POST("/keys/:id/revoke", s.revokeKey, change...)
	}
	if s.manager != nil {
		s.manageRoutes(e, page, change)
	}
	if s.sweeper != nil {
		s.sweepRoutes(e, page, change, []echo.MiddlewareFunc{in, s.body(maxSweepBytes, promptCost), checkForm})
	}
	e.POST("/prompt", s.renderPrompt, change...)
	e.POST("/sessions/:id/rename", s.renameSession, change...)
	e.POST("/sessions/:id/delete", s.deleteSession, change...)
	e.POST("/sessions/:id/restore", s.restoreSession, change...)
	e.POST("/sessions/:id/pin", s.pinSession, change...)
	e.POST("/runs/:id/rename", s.nameRun, change...)
	e.POST("/runs/:id/pin", s.pinRun, change...)
	e.POST("/runs/:id/delete", s.deleteRun, change...)
	e.POST("/history/delete", s.deleteChosen, change...)
	e.POST("/history/restore", s.restoreChosen, change...)
	e.POST("/sessions/import", s.importSession, in, s.body(maxSessionBytes, fileCost), checkForm)
	e.POST("/runs/:id/share", s.share, change...)
	e.POST("/shares/:id/revoke", s.revokeShare, change...)
	e.POST("/shares/:id/expire", s.expireShare, change...)

	sets := s.body(maxStudyBytes, promptCost)
	e.POST("/studies", s.createStudy, in, sets, checkForm)
	e.POST("/studies/:id/edit", s.reviseStudy, in, sets, checkForm)
	e.POST("/studies/:id/status", s.moveStudy, change...)
	e.POST("/studies/:id/invite", s.inviteAnnotators, change...)
	e.POST("/studies/:id/revoke", s.revokeInvite, change...)
	e.POST("/studies/:id/delete", s.deleteStudy, change...)
	e.POST("/studies/:id/results/share", s.shareResults, change...)
	e.POST("/studies/import", s.importStudy, in, s.body(maxStudyFile, fileCost), checkForm)
	return e, nil
}

// rescue turns a panic in a handler into an internal error.
func (s *Server) rescue(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch r := recover(); r {
			case nil:
			case http.ErrAbortHandler:
				panic(r)
			default:
				err = fault.Wrap(&panicError{r, debug.Stack()}, fault.Internal, "internal error")
			}
		}()
		return next(c)
	}
}

// panicError is a panic of a handler, with the stack that it happened on.
type panicError struct {
	value any
	stack []byte
}

// Error is the panic, for the log.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// noReferrer keeps share tokens out of other sites' logs.
func noReferrer(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Referrer-Policy", "no-referrer")
		return next(c)
	}
}

package web

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/fault"
	"realign/internal/intake"
	"realign/internal/session"
	"realign/internal/study"
	"realign/internal/sweep"
)

// Bounds on bodies of requests. Each is received into little memory first, so that a slow client holds none; what it
// unfolds to is then taken from a budget that all uploads share.
const (
	maxFormBytes    = 1 << 20
	formSpace       = 1 << 20 // what a form adds to a file
	maxSessionBytes = session.MaxFileBytes + formSpace
	maxStudyFile    = study.MaxImportBytes + formSpace
	maxStudyBytes   = 2*study.MaxPromptFile + formSpace // a file, and the field that it is typed in
	maxSweepBytes   = 2*sweep.MaxPromptFile + formSpace // a file, and the configuration

	smallBody   = 64 << 10 // bytes that are kept in memory and taken from no budget
	maxFields   = 4096     // of a form
	maxValues   = 10 << 20 // bytes of a multipart form's fields: net/http's limit
	uploadSpool = 2 << 30  // bytes of files that all uploads together may have on disk
	uploadSpace = 160 << 20
	frameSpace  = 64 << 20
	stepWait    = time.Minute      // for spoolStep bytes of a large body
	spoolStep   = 4 << 20          // bytes of disk that are taken at a time
	uploadWait  = 10 * time.Second // for others to give back
)

// budgets are what all that comes in together may take.
type budgets struct {
	uploads *intake.Budget // memory of bodies
	frames  *intake.Budget // memory of sockets' frames
	spool   *intake.Budget // disk of files that bodies are received into
}

// newBudgets are budgets of which nothing is taken.
func newBudgets() budgets {
	return budgets{
		uploads: intake.NewBudget("memory for uploads", uploadSpace),
		frames:  intake.NewBudget("memory for frames", frameSpace),
		spool:   intake.NewBudget("disk for uploads", uploadSpool),
	}
}

// What a body of so many bytes may take in memory until it is answered, measured by the tests of memory.

// formCost is of fields: the body, its values, and the page that shows them again.
func formCost(size int64) int64 { return 8 * size }

// promptCost is of prompts, in a file or in a field: they are cut into lines, checked, and saved as JSON.
func promptCost(size int64) int64 { return min(uploadSpace, 8*size+(8<<20)) }

// fileCost is of the file of a session or a study, which is read value by value.
func fileCost(size int64) int64 { return min(uploadSpace, size/2+(24<<20)) }

// body receives the body of a request of at most so many bytes, takes what it may cost, and reads it if it is a form. A
// handler finds a form that was read, or a body that is here, and an io.Seeker.
func (s *Server) body(most int64, cost func(int64) int64) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			if r.ContentLength > most {
				return &http.MaxBytesError{Limit: most}
			}
			slow := http.NewResponseController(c.Response())
			more := func() { _ = slow.SetReadDeadline(time.Now().Add(stepWait)) } // where a test's writer cannot, nothing is lost
			b, err := s.receive(http.MaxBytesReader(c.Response(), r.Body, most), more)
			if err != nil {
				return err
			}
			defer b.Close()
			if b.size > smallBody {
				release, err := s.budgets.uploads.Take(r.Context(), cost(b.size), uploadWait)
				if err != nil {
					return err
				}
				defer release()
			}
			r.Body = b
			if err := readForm(r, b.size); err != nil {
				return err
			}
			if r.MultipartForm != nil {
				defer r.MultipartForm.RemoveAll() //nolint:errcheck // the system's folder for such files
			}
			return next(c)
		}
	}
}

// received is a body that is here: in memory, or in a file that has no name any more.
type received struct {
	io.ReadSeeker
	size  int64    // bytes
	close []func() // closes the file and gives back disk, in this order
}

// Close implements io.Closer.
func (b *received) Close() error {
	for _, f := range b.close {
		f()
	}
	b.close = nil
	return nil
}

// receive reads a body to its end. What is larger than smallBody goes to disk as it comes; more is called
// before each step, whose time it sets.
// The caller closes what it returns.
func (s *Server) receive(r io.Reader, more func()) (*received, error) {
	var small bytes.Buffer
	n, err := io.CopyN(&small, r, smallBody+1)
	if errors.Is(err, io.EOF) {
		return &received{ReadSeeker: bytes.NewReader(small.Bytes()), size: n}, nil
	}
	if err != nil {
		return nil, unreadable(err)
	}
	f, err := os.CreateTemp("", "realign-upload-*")
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the upload cannot be kept while it is read")
	}
	b := &received{ReadSeeker: f, close: []func(){func() { _ = f.Close(); _ = os.Remove(f.Name()) }}}
	if err := s.spool(b, f, io.MultiReader(&small, r), more); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// spool copies a body to its file, taking disk as it grows.
func (s *Server) spool(b *received, f *os.File, r io.Reader, more func()) error {
	for {
		release, err := s.budgets.spool.Take(s.ctx, spoolStep, 0)
		if err != nil {
			return err
		}
		b.close = append(b.close, release)
		more()
		n, err := io.CopyN(f, r, spoolStep)
		b.size += n
		if errors.Is(err, io.EOF) {
			_, err = f.Seek(0, io.SeekStart)
			return err
		}
		if err != nil {
			return unreadable(err)
		}
	}
}

// unreadable is why a body cannot be read: it is too large, or it broke off.
func unreadable(err error) error {
	var tooLarge *http.MaxBytesError
	var disk *os.PathError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.As(err, &disk):
		return fault.Wrap(err, fault.Unavailable, "the upload cannot be kept while it is read")
	}
	return fault.Wrap(err, fault.Invalid, "the request broke off")
}

// readForm reads a body that is a form, so that nothing later does with other limits. Other bodies are left as they are.
func readForm(r *http.Request, size int64) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	r.Form = r.URL.Query()
	r.PostForm = url.Values{}
	switch kind {
	case echo.MIMEApplicationForm:
		if size > maxValues {
			return &http.MaxBytesError{Limit: maxValues}
		}
		var text strings.Builder
		text.Grow(int(size))
		if _, err := io.Copy(&text, r.Body); err != nil {
			return fault.Wrap(err, fault.Invalid, "the form cannot be read")
		}
		if n := strings.Count(text.String(), "&"); n >= maxFields {
			return fault.New(fault.Invalid, "the form has %d fields, at most %d", n+1, maxFields)
		}
		if r.PostForm, err = url.ParseQuery(text.String()); err != nil {
			return fault.Wrap(err, fault.Invalid, "the form cannot be read")
		}
	case echo.MIMEMultipartForm:
		r.Form, r.PostForm = nil, nil // net/http fills them together
		err := r.ParseMultipartForm(smallBody)
		if errors.Is(err, http.ErrNotMultipart) {
			return nil
		}
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the form cannot be read: its fields may have %d MiB together, files apart", maxValues>>20)
		}
		return nil
	default:
		return nil
	}
	for name, values := range r.PostForm {
		r.Form[name] = append(values, r.Form[name]...)
	}
	return nil
}

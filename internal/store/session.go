package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"realign/internal/fault"
	"realign/internal/session"
	"realign/internal/title"
)

// sessionRow is a session.Session. TitleFold is searched; times are microseconds since 1970, nil where there is
// none.
type sessionRow struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`

	ID        string `bun:"id,pk"`
	Owner     string `bun:"owner"`
	Title     string `bun:"title"`
	TitleFold string `bun:"title_fold"`
	CreatedAt int64  `bun:"created_at"`
	UpdatedAt int64  `bun:"updated_at"`
	DeletedAt *int64 `bun:"deleted_at"`
	PinnedAt  *int64 `bun:"pinned_at"`
	Runs      int    `bun:"runs,scanonly"`
}

// newSessionRow is a session as it is stored.
func newSessionRow(s session.Session) *sessionRow {
	return &sessionRow{
		ID: s.ID, Owner: s.Owner, Title: s.Title, TitleFold: fold(s.Title),
		CreatedAt: s.CreatedAt.UnixMicro(), UpdatedAt: s.UpdatedAt.UnixMicro(), DeletedAt: micros(s.DeletedAt), PinnedAt: micros(s.PinnedAt),
	}
}

// session is the row as the domain has it.
func (r *sessionRow) session() session.Session {
	return session.Session{
		ID: r.ID, Owner: r.Owner, Title: r.Title, CreatedAt: fromMicros(&r.CreatedAt), UpdatedAt: fromMicros(&r.UpdatedAt),
		DeletedAt: fromMicros(r.DeletedAt), PinnedAt: fromMicros(r.PinnedAt), Runs: r.Runs,
	}
}

// fold is text as it is searched.
func fold(s string) string { return noZeros(strings.ToLower(s)) }

// noZeros is text that PostgreSQL can keep, which has no zero byte.
func noZeros(s string) string { return strings.ReplaceAll(s, "\x00", " ") }

// sessions are an owner's: the deleted ones, or the others.
func (s *Store) sessions(owner string, deleted bool) *bun.SelectQuery {
	q := s.read.NewSelect().Model((*sessionRow)(nil)).Where("s.owner = ?", owner)
	if deleted {
		return q.Where("s.deleted_at IS NOT NULL")
	}
	return q.Where("s.deleted_at IS NULL")
}

// countRuns is the column with how many runs a session has.
const countRuns = "(SELECT COUNT(*) FROM runs AS r WHERE r.session_id = s.id AND r.deleted_at IS NULL) AS runs"

// Session is a session that is not deleted.
func (s *Store) Session(ctx context.Context, owner, id string) (session.Session, error) {
	var row sessionRow
	err := s.sessions(owner, false).Where("s.id = ?", id).ColumnExpr("s.*").ColumnExpr(countRuns).Scan(ctx, &row)
	if err != nil {
		return session.Session{}, wrap(notFound(err, "session"), "read session %s", id)
	}
	return row.session(), nil
}

// HasSession is NotFound unless the owner has that session.
func (s *Store) HasSession(ctx context.Context, owner, id string) error {
	_, err := s.Session(ctx, owner, id)
	return err
}

// Sessions is a page of an owner's sessions.
func (s *Store) Sessions(ctx context.Context, owner string, q session.Query) (session.Page, error) {
	if q.Limit == 0 {
		q.Limit = session.DefaultPage
	}
	if q.Limit < 1 || q.Limit > session.MaxPage {
		return session.Page{}, fault.Field("limit", "%d is outside 1 to %d", q.Limit, session.MaxPage)
	}
	if len(q.Search) > session.MaxSearch {
		return session.Page{}, fault.Field("search", "%d bytes, at most %d", len(q.Search), session.MaxSearch)
	}
	query := s.sessions(owner, q.Deleted)
	if q.Search != "" {
		like := "%" + likeEscaper.Replace(fold(strings.ToValidUTF8(q.Search, "\uFFFD"))) + "%"
		query.Where("(s.title_fold LIKE ? ESCAPE '!' OR EXISTS (SELECT 1 FROM runs AS r"+
			" WHERE r.session_id = s.id AND r.deleted_at IS NULL AND (r.prompt_fold LIKE ? ESCAPE '!' OR r.title_fold LIKE ? ESCAPE '!')))", like, like, like)
	}
	total, err := query.Clone().Count(ctx)
	if err != nil {
		return session.Page{}, wrap(err, "count sessions")
	}
	// Pinned sessions come first; the cursor says in which of the two parts the page before ended.
	if q.Cursor != "" {
		text, pinned := strings.CutPrefix(q.Cursor, pinnedMark)
		at, id, err := parseCursor(text)
		if err != nil {
			return session.Page{}, err
		}
		after := "(s.updated_at < ? OR s.updated_at = ? AND s.id < ?)"
		if pinned {
			query.Where("(s.pinned_at IS NULL OR "+after+")", at, at, id)
		} else {
			query.Where("s.pinned_at IS NULL AND "+after, at, at, id)
		}
	}
	var rows []sessionRow
	// One row more than the page has tells whether there is another page.
	err = query.ColumnExpr("s.*").ColumnExpr(countRuns).OrderExpr("(s.pinned_at IS NULL), s.updated_at DESC, s.id DESC").Limit(int64(q.Limit)+1).Scan(ctx, &rows)
	if err != nil {
		return session.Page{}, wrap(err, "list sessions")
	}
	page := session.Page{Sessions: []session.Session{}, Total: int(total)}
	for i := range rows {
		if i == q.Limit {
			page.Next = cursor(rows[i-1].UpdatedAt, rows[i-1].ID)
			if rows[i-1].PinnedAt != nil {
				page.Next = pinnedMark + page.Next
			}
			break
		}
		page.Sessions = append(page.Sessions, rows[i].session())
	}
	return page, nil
}

// likeEscaper makes a text stand for itself in LIKE … ESCAPE '!'.
var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// pinnedMark begins a cursor after a pinned session.
const pinnedMark = "."

// cursor is where a page of a list ends: the time and the id of its last row.
func cursor(at int64, id string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", at, id))
}

// parseCursor reads what cursor wrote. The error is Invalid.
func parseCursor(cursor string) (at int64, id string, err error) {
	bad := fault.Field("cursor", "is not one that this list gave out")
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, "", bad
	}
	number, id, ok := strings.Cut(string(b), " ")
	if at, err = strconv.ParseInt(number, 10, 64); err != nil || !ok || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return 0, "", bad
	}
	return at, id, nil
}

// RenameSession sets a session's title, as title.Clean leaves it.
func (s *Store) RenameSession(ctx context.Context, owner, id, name string) error {
	name, err := title.Clean(name)
	if err != nil {
		return err
	}
	result, err := s.write.NewUpdate().Model((*sessionRow)(nil)).
		Set("title = ?", name).Set("title_fold = ?", fold(name)).
		Where("id = ? AND owner = ? AND deleted_at IS NULL", id, owner).Exec(ctx)
	return changed(result, err, "session")
}

// DeleteSession hides a session with its runs until RestoreSession or Purge.
func (s *Store) DeleteSession(ctx context.Context, owner, id string, at time.Time) error {
	result, err := s.write.NewUpdate().Model((*sessionRow)(nil)).Set("deleted_at = ?", at.UnixMicro()).
		Where("id = ? AND owner = ? AND deleted_at IS NULL", id, owner).Exec(ctx)
	return changed(result, err, "session")
}

// RestoreSession undoes DeleteSession. It is NotFound for a session that is not deleted, or gone for good.
func (s *Store) RestoreSession(ctx context.Context, owner, id string) error {
	result, err := s.write.NewUpdate().Model((*sessionRow)(nil)).Set("deleted_at = NULL").
		Where("id = ? AND owner = ? AND deleted_at IS NOT NULL", id, owner).Exec(ctx)
	return changed(result, err, "session")
}

// Purge removes, for good, sessions and runs that were deleted and links that were revoked before a time.
func (s *Store) Purge(ctx context.Context, before time.Time) (n session.Purged, err error) {
	at := before.UnixMicro()
	if n.Sessions, err = removed(s.write.NewDelete().Model((*sessionRow)(nil)).Where("deleted_at < ?", at).Exec(ctx)); err != nil {
		return n, wrap(err, "purge sessions")
	}
	if n.Runs, err = removed(s.write.NewDelete().Model((*runRow)(nil)).Where("deleted_at < ?", at).Exec(ctx)); err != nil {
		return n, wrap(err, "purge runs")
	}
	n.Links, err = removed(s.write.NewDelete().Model((*linkRow)(nil)).Where("revoked_at < ?", at).Exec(ctx))
	return n, wrap(err, "purge links")
}

// removed is how many rows a statement removed.
func removed(result sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

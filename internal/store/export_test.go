package store

import "context"

// LimitPages makes the SQLite file as good as full: it may have n pages more than it has; negative is no
// limit.
func (s *Store) LimitPages(ctx context.Context, n int) error {
	limit := 1 << 30
	if n >= 0 {
		var pages int
		if err := s.write.DB.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
			return err
		}
		limit = pages + n
	}
	var set int
	return s.write.NewRaw("PRAGMA max_page_count = ?", limit).Scan(ctx, &set)
}

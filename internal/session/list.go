package session

// Query asks for a page of an owner's sessions, the pinned ones first, then the one changed last.
type Query struct {
	Search  string // a part of the title or of a prompt, in any case; "" is all
	Cursor  string // Page.Next of the page before; "" is the first
	Limit   int    // sessions on the page, 1 to MaxPage; 0 is DefaultPage
	Deleted bool   // the deleted ones instead
}

// Sizes of a page.
const (
	DefaultPage = 50
	MaxPage     = 200
)

// MaxSearch is how many bytes a search may have.
const MaxSearch = 200

// Page is a part of a list.
type Page struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"` // cursor of the next page; "" on the last
	Total    int       `json:"total"`          // sessions that match, on all pages
}

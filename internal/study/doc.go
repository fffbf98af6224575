// Package study asks people about outputs decoded at different λ, blind: what is asked, whom, in which order, how the
// answers are kept, exported and imported. What the answers say about λ is internal/preference's.
//
// The package has no SQL and no HTTP: it says what it needs kept (Store), and its Service is what pages call.
//
// The life of a study is Status's:
//
//	Draft ─→ Decoding ⇄ Halted
//	            └─→ Ready ─→ Open ⇄ Paused
//	                  └────────┴───────┴──→ Closed
//
// The life of an assignment is State's:
//
//	Service.Question   an item that lacks answers is chosen and its place reserved     Asked
//	  Service.Answer     the annotator answers or skips                                  Answered, Skipped
//	  Service.Undo       and takes that back: the item is asked again under another id   Undone
//	  ReserveFor later   without an answer the place is given to somebody else           Released
package study

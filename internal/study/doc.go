// Package study asks people about outputs decoded at different λ, blind: what is asked, whom, in which order, how the
// answers are kept, exported and imported. What the answers say about λ is internal/preference's.
//
// The package has no SQL and no HTTP: it says what it needs kept (Store), and its Service is what pages call.
package study

package templates

import "strings"

// Document is "/help/{name}": a text of the project, or its words.
type Document struct {
	Layout
	Name    string // in its address
	Heading string
	HTML    string         // of the project itself
	Words   []WordGroup    // of "words"
	Others  []DocumentLink // all documents, this one included
}

// DocumentLink leads to another document.
type DocumentLink struct {
	Name, Title string // in its address; Title: as shown
}

// WordGroup is words about one thing.
type WordGroup struct {
	Title string
	Words []Word
}

// Word is what a word means; Meaning is HTML of the project itself.
type Word struct {
	ID, Word, Meaning string
}

// WordID is the place of a word on the page of words: the first of those that mean the same, without what stands in brackets.
func WordID(word string) string {
	word, _, _ = strings.Cut(word, ", ")
	word, _, _ = strings.Cut(word, " (")
	word = strings.NewReplacer("λ", "lambda", "β", "beta", "α", "alpha").Replace(strings.ToLower(word))
	return slug(word)
}

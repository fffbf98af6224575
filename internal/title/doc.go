// Package title makes and checks the titles of what people keep: one line, without control characters.
package title

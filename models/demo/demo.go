// Package demo holds the two sentiment classifiers of the demo pair, which sweeps can judge by on any pair. The models
// themselves are read from their files and not embedded. Licences and data are in sentiment.md and sentiment-check.md.
package demo

import _ "embed"

// Sentiment is the reward classifier, as JSON: see sentiment.md.
//
//go:embed sentiment.json
var Sentiment []byte

// SentimentCheck is the check classifier, as compressed JSON: see sentiment-check.md.
//
//go:embed sentiment-check.json.gz
var SentimentCheck []byte

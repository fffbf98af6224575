// Package id makes identifiers and secrets: random, and as the hash by which a secret is kept.
package id

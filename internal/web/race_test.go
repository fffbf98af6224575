//go:build race

package web

// raceEnabled: everything takes several times as long.
const raceEnabled = true

//go:build race

package web

// raceEnabled says that everything takes several times as long.
const raceEnabled = true

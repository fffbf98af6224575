//go:build race

package study

// raceEnabled says that everything takes several times as long.
const raceEnabled = true

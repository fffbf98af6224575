//go:build race

package sandbox

// detectsRaces is true in programs with the race detector, whose shadow memory is many times what a computation needs.
const detectsRaces = true

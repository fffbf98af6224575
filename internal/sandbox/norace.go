//go:build !race

package sandbox

// detectsRaces is true in programs with the race detector.
const detectsRaces = false

//go:build race

package racetest

// Enabled says whether the program was built with the race detector.
const Enabled = true

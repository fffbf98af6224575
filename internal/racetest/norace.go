//go:build !race

// Package racetest says to tests whether the race detector is on, under which everything takes several times as long.
package racetest

// Enabled says whether the program was built with the race detector.
const Enabled = false

//go:build !race

package store_test

// raceEnabled says that everything takes several times as long.
const raceEnabled = false

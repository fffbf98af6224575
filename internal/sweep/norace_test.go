//go:build !race

package sweep

// raceEnabled says that everything takes several times as long.
const raceEnabled = false

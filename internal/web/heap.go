package web

import (
	"context"
	"math"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// Bounds of the heap, and how often it is looked at.
const (
	// quietHeap is what the process may hold before memory is collected more often than Go does by itself, which lets a heap
	// grow to twice what is in use.
	quietHeap  = 320 << 20
	heapGrowth = 1.5 // of what is in use, where that is more: collecting without a pause would free nothing
	heapLook   = 500 * time.Millisecond
)

// holdMemory keeps the process from holding much more than it uses, until ctx is done. A limit that GOMEMLIMIT has set stays.
func holdMemory(ctx context.Context) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	defer debug.SetMemoryLimit(math.MaxInt64)
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	look := time.NewTicker(heapLook)
	defer look.Stop()
	for {
		runtimemetrics.Read(live)
		debug.SetMemoryLimit(max(quietHeap, int64(heapGrowth*float64(live[0].Value.Uint64()))))
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

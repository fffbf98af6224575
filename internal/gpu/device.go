package gpu

import (
	"fmt"
	"strings"
)

// Device is a GPU as its backend describes it.
type Device struct {
	Name        string `json:"name"`        // unique, as the backend calls it: Vulkan0, CUDA1
	Description string `json:"description"` // of the card
	Backend     string `json:"backend"`
	ID          string `json:"id,omitempty"` // bus address; equal for one card that two backends see, "" if unknown
	Integrated  bool   `json:"integrated"`   // it shares the processor's memory
	Total       int64  `json:"total"`        // bytes of memory
	Free        int64  `json:"free"`         // bytes, when the device was asked
}

// String is the device for a message.
func (d Device) String() string {
	return fmt.Sprintf("%s (%s, %s of %s free)", d.Name, d.Description, size(d.Free), size(d.Total))
}

// names lists devices for a message.
func names(devices []Device) string {
	list := make([]string, len(devices))
	for i, d := range devices {
		list[i] = d.String()
	}
	return strings.Join(list, ", ")
}

// size is a number of bytes for people.
func size(bytes int64) string {
	switch x := float64(bytes); {
	case x >= 1e9:
		return fmt.Sprintf("%.1f GB", x/1e9)
	case x >= 1e6:
		return fmt.Sprintf("%.1f MB", x/1e6)
	default:
		return fmt.Sprintf("%.0f kB", x/1e3)
	}
}

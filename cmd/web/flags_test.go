package main

import (
	"reflect"
	"testing"

	"github.com/alecthomas/kong"
)

// Another process of the program gets every flag of its models: each is told, and read as it was.
func TestArgsAreTheFlags(t *testing.T) {
	want := modelFlags{
		Threads: 3, Cells: 512, Sequences: 7, GPULayers: "5", Devices: "CUDA0=3,CUDA1=1", OnePass: "off", PlainAttention: true, PlainProducts: true, Speculate: true, F32Cache: true,
	}
	standard := parsed(t)
	for i := range reflect.TypeFor[modelFlags]().NumField() {
		if reflect.ValueOf(want).Field(i).Equal(reflect.ValueOf(standard).Field(i)) {
			t.Errorf("%s is as without flags: this test does not try it", reflect.TypeFor[modelFlags]().Field(i).Name)
		}
	}
	if got := parsed(t, want.args()...); got != want {
		t.Errorf("%+v, of %+v", got, want)
	}
	if got := parsed(t, standard.args()...); got != standard {
		t.Errorf("%+v, of %+v", got, standard)
	}
}

func parsed(t *testing.T, args ...string) (flags modelFlags) {
	t.Helper()
	parser, err := kong.New(&flags)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

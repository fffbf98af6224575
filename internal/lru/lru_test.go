package lru

import "testing"

func TestCache(t *testing.T) {
	c := Cache[int]{Most: 2}
	if _, ok := c.Get("a"); ok {
		t.Error("an empty cache has something")
	}
	c.Put("a", 1)
	c.Put("b", 2)
	if v, ok := c.Get("a"); v != 1 || !ok {
		t.Errorf("a is %d, %v", v, ok)
	}
	if v := c.Of("c", func() int { return 3 }); v != 3 { // b was not used for longest
		t.Errorf("c is %d", v)
	}
	if _, ok := c.Get("b"); ok || c.Len() != 2 {
		t.Errorf("b is kept, of %d", c.Len())
	}
	if v := c.Of("c", func() int { t.Error("made again"); return 0 }); v != 3 {
		t.Errorf("c is %d", v)
	}
	c.Put("a", 4)
	c.Put("d", 5)
	if v, ok := c.Get("a"); v != 4 || !ok {
		t.Errorf("a is %d, %v", v, ok)
	}
	c.Delete("a")
	c.Delete("a")
	if _, ok := c.Get("a"); ok || c.Len() != 1 {
		t.Errorf("a is kept, of %d", c.Len())
	}
	sized := Cache[int]{Most: 10, Size: func(v int) int { return v }}
	sized.Put("a", 4)
	sized.Put("b", 5)
	sized.Put("a", 5)
	sized.Put("c", 5)
	if _, ok := sized.Get("b"); ok || sized.Len() != 2 {
		t.Errorf("%d values of 5 are kept in 10", sized.Len())
	}
	sized.Put("d", 11)
	if sized.Len() != 0 {
		t.Errorf("%d values are kept beside one that has no room", sized.Len())
	}
	var many Cache[int]
	for i := range 100 {
		many.Put(string(rune('a'+i)), i)
	}
	if many.Len() != 32 {
		t.Errorf("%d values are kept", many.Len())
	}
}

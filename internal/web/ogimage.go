package web

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"realign/internal/fault"
	"realign/internal/lru"
)

// Size of the picture that other sites show for a shared comparison.
const (
	pictureWidth  = 1200
	pictureHeight = 630
	pictureMargin = 64
	pictureLanes  = 5 // as many as stay readable
)

// Colours of the picture.
var (
	paper = color.RGBA{0xfb, 0xfa, 0xf7, 0xff}
	ink   = color.RGBA{0x1d, 0x1d, 0x24, 0xff}
	muted = color.RGBA{0x5c, 0x5c, 0x6a, 0xff}
	rule  = color.RGBA{0xdd, 0xda, 0xd2, 0xff}

	// lane colours run from the reference's blue to the aligned model's orange.
	coldest = color.RGBA{0x2b, 0x5f, 0xb4, 0xff}
	warmest = color.RGBA{0xc2, 0x4d, 0x14, 0xff}
)

// ogImage is what the picture of a comparison shows.
type ogImage struct {
	Prompt string
	Pair   string
	Lanes  []cardLane
}

// cardLane is one lane of such a picture.
type cardLane struct {
	Label  string  // λ as shown
	Shade  float64 // 0 the least aligned lane, 1 the most
	Text   string
	Failed bool // the lane ended with an error
}

// ogImages draws cards. Its font faces are not safe for use by several goroutines, so it draws one at a
// time, and keeps the last few pictures.
type ogImages struct {
	mu    sync.Mutex // guards everything below
	title font.Face  // and the next three: faces for the prompt, for λ, for texts, and for the last line
	label font.Face
	body  font.Face
	small font.Face
	kept  lru.Cache[[]byte] // PNG by comparison
}

// keptPictures is how many pictures are kept.
const keptPictures = 64

// newOGImages reads the fonts.
func newOGImages() (*ogImages, error) {
	p := &ogImages{kept: lru.Cache[[]byte]{Most: keptPictures}}
	for _, f := range []struct {
		face *font.Face
		ttf  []byte
		size float64
	}{{&p.title, gobold.TTF, 46}, {&p.label, gobold.TTF, 30}, {&p.body, goregular.TTF, 28}, {&p.small, goregular.TTF, 24}} {
		parsed, err := opentype.Parse(f.ttf)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "a built-in font cannot be read")
		}
		if *f.face, err = opentype.NewFace(parsed, &opentype.FaceOptions{Size: f.size, DPI: 72, Hinting: font.HintingFull}); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "a built-in font cannot be used")
		}
	}
	return p, nil
}

// draw is the picture of a card as PNG. Equal keys must mean equal cards.
func (p *ogImages) draw(key string, c ogImage) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if png, ok := p.kept.Get(key); ok {
		return png, nil
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, p.paint(c)); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the picture cannot be drawn")
	}
	p.kept.Put(key, buf.Bytes())
	return buf.Bytes(), nil
}

// paint draws a card. The caller holds mu.
func (p *ogImages) paint(c ogImage) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, pictureWidth, pictureHeight))
	fill(img, img.Bounds(), paper)
	for x := range pictureWidth { // the range of λ as a band along the top
		fill(img, image.Rect(x, 0, x+1, 12), between(float64(x)/pictureWidth))
	}

	y := pictureMargin + 50
	width := pictureWidth - 2*pictureMargin
	for _, line := range wrap(p.title, printable(c.Prompt), width, 2) {
		write(img, p.title, ink, pictureMargin, y, line)
		y += 58
	}
	y += 2
	fill(img, image.Rect(pictureMargin, y-24, pictureWidth-pictureMargin, y-22), rule)

	lanes := spread(c.Lanes, pictureLanes)
	bottom := pictureHeight - 70
	if len(lanes) > 0 {
		step := (bottom - y) / len(lanes)
		rows := min(max(step/36, 1), 3)
		indent := 190
		for _, l := range lanes {
			indent = max(indent, 24+font.MeasureString(p.label, l.Label).Ceil()+24)
		}
		for _, l := range lanes {
			shade := between(l.Shade)
			fill(img, image.Rect(pictureMargin, y-2, pictureMargin+6, y+min(step-10, rows*36)), shade)
			write(img, p.label, shade, pictureMargin+24, y+28, l.Label)
			text, tint := printable(l.Text), ink
			if l.Failed && text == "" {
				text, tint = "(this lane failed)", muted
			}
			ty := y + 28
			for _, line := range wrap(p.body, text, width-indent, rows) {
				write(img, p.body, tint, pictureMargin+indent, ty, line)
				ty += 36
			}
			y += step
		}
	}
	footer := "Realign: the same prompt at several alignment strengths"
	if c.Pair != "" {
		footer += " · " + printable(c.Pair)
	}
	for _, line := range wrap(p.small, footer, width, 1) {
		write(img, p.small, muted, pictureMargin, pictureHeight-34, line)
	}
	return img
}

// fill gives a rectangle one colour.
func fill(img draw.Image, r image.Rectangle, c color.Color) {
	draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

// write draws a text from a place on its base line.
func write(img draw.Image, face font.Face, c color.Color, x, y int, text string) {
	d := font.Drawer{Dst: img, Src: image.NewUniform(c), Face: face, Dot: fixed.P(x, y)}
	d.DrawString(text)
}

// between mixes the two lane colours; 0 is the coldest.
func between(t float64) color.RGBA {
	t = min(max(t, 0), 1)
	mix := func(a, b uint8) uint8 { return uint8(float64(a) + t*(float64(b)-float64(a)) + 0.5) }
	return color.RGBA{mix(coldest.R, warmest.R), mix(coldest.G, warmest.G), mix(coldest.B, warmest.B), 0xff}
}

// spread picks at most n lanes, the first and the last among them.
func spread(lanes []cardLane, n int) []cardLane {
	if len(lanes) <= n {
		return lanes
	}
	picked := make([]cardLane, n)
	for i := range picked {
		picked[i] = lanes[i*(len(lanes)-1)/(n-1)]
	}
	return picked
}

// printable makes a text one line of characters.
func printable(text string) string {
	const most = 2000 // bytes; more never fits
	if len(text) > most {
		text = text[:most]
	}
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
}

// wrap breaks a text into at most rows lines that fit a width, the last one ending in "…" if words were left out.
func wrap(face font.Face, text string, width, rows int) []string {
	fits := func(s string) bool { return font.MeasureString(face, s) <= fixed.I(width) }
	var lines []string
	line := ""
	words := strings.Fields(text)
	for i, word := range words {
		longer := strings.TrimSpace(line + " " + word)
		if fits(longer) {
			line = longer
			continue
		}
		if len(lines) == rows-1 {
			return append(lines, shorten(strings.Join(append([]string{line}, words[i:]...), " "), fits))
		}
		if line != "" {
			lines = append(lines, line)
		}
		line = word
		if !fits(word) {
			line = shorten(word, fits)
		}
	}
	if line != "" && len(lines) < rows {
		lines = append(lines, line)
	}
	return lines
}

// shorten cuts a text so that it fits with an ellipsis.
func shorten(text string, fits func(string) bool) string {
	runes := []rune(strings.TrimSpace(text))
	for len(runes) > 0 && !fits(string(runes)+"…") {
		runes = runes[:len(runes)-1]
	}
	return strings.TrimRight(string(runes), " ,.;:") + "…"
}

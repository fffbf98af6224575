package study

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/run"
)

// ExportFormat and ExportVersion begin an exported study.
const (
	ExportFormat  = "realign-study"
	ExportVersion = 1
)

// The lines of an exported study, each a JSON object, in this order: one head, the prompts, the outputs, the
// ratings. Outputs and items are called by numbers, so that a file says nothing of the server it came
// from, and importing and exporting it again gives the same bytes.
type (
	exportedHead struct {
		Type      string     `json:"type"` // "study"
		Format    string     `json:"format"`
		Version   int        `json:"version"`
		Setup     Setup      `json:"setup"`
		Beta      float64    `json:"beta"` // of the aligned model's training; 0 when nobody says
		Files     []run.File `json:"files"`
		Build     string     `json:"build"`
		CreatedAt time.Time  `json:"created_at"`
		Secret    string     `json:"secret,omitempty"` // of a study that is closed: Setup.Secret
	}
	exportedPrompt struct {
		Type string `json:"type"` // "prompt"
		Prompt
	}
	exportedOutput struct {
		Type string `json:"type"` // "output"
		Output
	}
	exportedRating struct {
		Type      string           `json:"type"` // "rating"
		Item      string           `json:"item"` // the same question to several annotators
		Kind      Kind             `json:"question"`
		Prompt    int              `json:"prompt"`
		Catch     preference.Catch `json:"catch,omitempty"`
		Shown     []string         `json:"shown"`  // outputs in the order shown: the first is A
		Lambda    []float64        `json:"lambda"` // of each, for whoever reads the file without its outputs
		Annotator string           `json:"annotator"`
		AskedAt   time.Time        `json:"asked_at"`
		At        time.Time        `json:"at"`
		Answer    Answer           `json:"answer"`
	}
)

// Export writes a study as JSON lines: the raw ratings with all that they are about. Ratings are in the order of
// the store; outputs that were not decoded are left out. While the study is not closed, its secret stays where it is, and
// the seeds of its outputs while secretSeeds: with them the answers could be decoded at every λ and recognised.
func Export(w io.Writer, s *Study, secretSeeds bool, prompts []Prompt, outputs []Output, ratings []Rating) error {
	j := json.NewEncoder(&limited{w: w, left: MaxImportBytes})
	j.SetEscapeHTML(false)
	head := exportedHead{"study", ExportFormat, ExportVersion, s.Setup, s.Beta, s.Files, s.Build, s.CreatedAt.UTC(), ""}
	if s.Status == Closed {
		head.Secret = s.Setup.Secret
	}
	if head.Files == nil {
		head.Files = []run.File{}
	}
	if err := j.Encode(head); err != nil {
		return err
	}
	for _, p := range prompts {
		if err := j.Encode(exportedPrompt{"prompt", p}); err != nil {
			return err
		}
	}
	// Outputs and items have numbers in the file: ids are the store's.
	places := map[string]string{}
	for _, o := range outputs {
		if !o.Done {
			continue
		}
		places[o.ID] = strconv.Itoa(len(places) + 1)
		if o.ID = places[o.ID]; secretSeeds {
			o.Seed = 0
		}
		if err := j.Encode(exportedOutput{"output", o}); err != nil {
			return err
		}
	}
	items := preference.Pseudonyms{Format: "%d"}
	for i := range ratings {
		r := &ratings[i]
		line := exportedRating{
			Type: "rating", Item: items.Of(r.Item), Kind: r.Kind, Prompt: r.Prompt.Place, Catch: r.Catch,
			Annotator: r.Name, AskedAt: r.AskedAt.UTC(), At: r.At.UTC(), Answer: r.Answer,
		}
		for _, o := range r.Outputs {
			line.Shown, line.Lambda = append(line.Shown, places[o.ID]), append(line.Lambda, o.Lambda)
		}
		if err := j.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// limited refuses to write more than Import reads.
type limited struct {
	w    io.Writer
	left int // bytes that may still be written
}

// Write implements io.Writer; it is Invalid once there would be too much.
func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fault.Field("file", "the study has more than %d MiB as a file, the most that can be imported: take its ratings as CSV", MaxImportBytes>>20)
	}
	return l.w.Write(p)
}

// HideSeeds takes the seeds of outputs off ratings.
func HideSeeds(ratings []Rating) {
	for i := range ratings {
		for k := range ratings[i].Outputs {
			ratings[i].Outputs[k].Seed = 0
		}
	}
}

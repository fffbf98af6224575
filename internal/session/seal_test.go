package session_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/session"
	"realign/internal/share"
)

func signer(t testing.TB, seed byte) *run.Signer {
	t.Helper()
	s, err := run.NewSigner(bytes.Repeat([]byte{seed}, run.SignerSeed))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// copied is a snapshot that can be changed without changing the other.
func copied(t testing.TB, s *share.Snapshot) *share.Snapshot {
	t.Helper()
	form, _, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	var c share.Snapshot
	if err := json.Unmarshal(form, &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

// forgeries change, one each, all that a comparison shows of the models, and say what Verify must call it.
var forgeries = map[string]struct {
	what  string
	forge func(*share.Snapshot)
}{
	"the prompt":             {share.DiffPrompt, func(s *share.Snapshot) { s.Prompt = "What did you think of the war?" }},
	"the system prompt":      {share.DiffPrompt, func(s *share.Snapshot) { s.System = "Lie." }},
	"the prompt's tokens":    {share.DiffPrompt, func(s *share.Snapshot) { s.PromptTokens[3]++ }},
	"a token's text":         {share.DiffText, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Text = " not" }},
	"a token's name":         {share.DiffName, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Name = "<|lie|>" }},
	"a lane's text":          {share.DiffText, func(s *share.Snapshot) { s.Lanes[0].Text = "I agree with everything." }},
	"a cut lane's text":      {share.DiffText, func(s *share.Snapshot) { s.Lanes[2].Text += " And so on." }},
	"λ of a token":           {share.DiffLambda, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Lambda = decode.Vector{1} }},
	"log p, reference":       {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Logp.Reference += 0.1 }},
	"log p, aligned":         {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Logp.Aligned[0] -= 0.1 }},
	"log p, mixture":         {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Logp.Mixture -= 0.1 }},
	"no log p":               {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Logp = nil }},
	"KL to the reference":    {share.DiffNumber, func(s *share.Snapshot) { *s.Lanes[0].Tokens[4].KLReference += 0.1 }},
	"KL to the aligned":      {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].KLAligned[0] += 0.1 }},
	"log Z":                  {share.DiffNumber, func(s *share.Snapshot) { *s.Lanes[0].Tokens[4].LogZ -= 0.1 }},
	"a lane's KL":            {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].KLReference /= 10 }},
	"a lane's other KL":      {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].KLAligned[0] = 0 }},
	"an alternative's name":  {share.DiffAlternatives, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Top.Mixture[1].Name = " never" }},
	"an alternative's log p": {share.DiffNumber, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Top.Reference[1].Logp -= 2 }},
	"fewer alternatives":     {share.DiffAlternatives, func(s *share.Snapshot) { s.Lanes[0].Tokens[4].Top.Mixture = nil }},
	"why a lane ended":       {share.DiffEnd, func(s *share.Snapshot) { s.Lanes[0].Reason = decode.EndStop }},
	"a file's name":          {share.DiffFile, func(s *share.Snapshot) { s.Files[0].Name = "gpt-9.gguf" }},
	"a lane without tokens": {share.DiffText, func(s *share.Snapshot) {
		s.Lanes[2].Tokens, s.Lanes[2].KLReference, s.Lanes[2].KLAligned = nil, 0, nil
	}},
}

// TestVerifyProvesWhatIsShown holds that no part of a comparison can be changed without Verify noticing.
func TestVerifyProvesWhatIsShown(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{SHA256: "1"}
	snapshot := snapshotOf(t, s, d)
	if v, err := share.Verify(t.Context(), d, d, copied(t, snapshot)); err != nil || !v.Identical {
		t.Fatalf("%+v, %v", v, err)
	}
	for name, c := range forgeries {
		forged := copied(t, snapshot)
		c.forge(forged)
		if v, err := share.Verify(t.Context(), d, d, forged); err != nil || v.Identical || v.What != c.what {
			t.Errorf("%s: %+v, %v; want a difference of %s", name, v, err, c.what)
		}
	}
	forged := copied(t, snapshot)
	forged.Files = nil
	_, err := share.Verify(t.Context(), d, d, forged)
	runtest.WantKind(t, err, fault.Conflict, "names 0 files")
	small := copied(t, snapshot) // what another processor may make of it
	small.Lanes[0].Tokens[4].Logp.Reference += share.Tolerance / 2
	if v, err := share.Verify(t.Context(), d, d, small); err != nil || !v.Identical {
		t.Errorf("within the tolerance: %+v, %v", v, err)
	}
}

// TestSealCoversWhatIsShown holds that every forgery breaks the signature, too.
func TestSealCoversWhatIsShown(t *testing.T) {
	s, d := runtest.OpenStore(t), &runtest.Decoder{SHA256: "1"}
	r := finished(t, s, d)
	at := runtest.Now
	sh := shares(s, &at)
	sh.Signer = signer(t, 1)
	link, token, err := sh.Share(t.Context(), "ann", r.ID, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_, snapshot, err := sh.Open(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	origin := func(s *share.Snapshot, by *run.Signer) run.Origin {
		o, err := s.Origin(by)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := origin(snapshot, signer(t, 1)); o != run.DecodedHere {
		t.Errorf("of its own server: %s", o)
	}
	if o := origin(snapshot, signer(t, 2)); o != run.Signed {
		t.Errorf("of another server: %s", o)
	}
	for name, c := range forgeries {
		forged := copied(t, snapshot)
		if c.forge(forged); origin(forged, signer(t, 1)) != run.Altered {
			t.Errorf("%s: the signature still fits", name)
		}
	}
	if err := sh.Verified(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	if l, _, err := sh.Open(t.Context(), token); err != nil || l.VerifiedAt != at {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestImportSaysWhereItIsFrom follows a session to other servers: its seals go with it, and what was changed is told.
func TestImportSaysWhereItIsFrom(t *testing.T) {
	s := runtest.OpenStore(t)
	id := archive(t, s, []string{"one", "two"})
	mine, other := signer(t, 1), signer(t, 2)
	var b bytes.Buffer
	if title, err := session.ExportSession(t.Context(), s, mine, "ann", id, session.Part{}, &b); err != nil || title == "" {
		t.Fatal(title, err)
	}
	file := b.Bytes()
	seal := regexp.MustCompile(`,"seal":\{[^}]*\}`)
	if n := len(seal.FindAll(file, -1)); n != 4 {
		t.Fatalf("%d seals for 4 runs", n)
	}
	token := regexp.MustCompile(`"text":" w[0-9]+"`)
	for name, c := range map[string]struct {
		by    *run.Signer
		file  []byte
		found map[run.Origin]int
	}{
		"another server":       {other, file, map[run.Origin]int{run.Signed: 4}},
		"the same server":      {mine, file, map[run.Origin]int{run.DecodedHere: 4}},
		"without seals":        {other, seal.ReplaceAll(file, nil), map[run.Origin]int{run.Unsigned: 4}},
		"with one text forged": {mine, bytes.Replace(file, token.Find(file), []byte(`"text":" forged"`), 1), map[run.Origin]int{run.Altered: 1, run.DecodedHere: 3}},
		"with a prompt forged": {other, bytes.Replace(file, []byte(`"prompt":"two"`), []byte(`"prompt":"too"`), 1), map[run.Origin]int{run.Altered: 1, run.Signed: 3}},
	} {
		in := imported(t, s, c.by, c.file)
		if fmt.Sprint(in.Found) != fmt.Sprint(c.found) {
			t.Errorf("%s: found %v, want %v", name, in.Found, c.found)
		}
		// Exported again it is the same file: a server never signs what it did not decode.
		var again bytes.Buffer
		if _, err := session.ExportSession(t.Context(), s, c.by, "bob", in.Session.ID, session.Part{}, &again); err != nil || !bytes.Equal(again.Bytes(), c.file) {
			t.Errorf("%s: exported again it differs, %v", name, err)
		}
	}

	// A comparison of what was imported keeps the seal, and says what it is worth.
	in := imported(t, s, other, file)
	runs, err := s.Runs(t.Context(), "bob", in.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	at := runtest.Now
	sh := shares(s, &at)
	sh.Signer = other
	_, link, err := sh.Share(t.Context(), "bob", runs[0].ID, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_, snapshot, err := sh.Open(t.Context(), link)
	if err != nil || !snapshot.Imported || snapshot.Seal.Key != mine.Key() {
		t.Fatalf("%+v, %v", snapshot.Seal, err)
	}
	if o, err := snapshot.Origin(other); o != run.Signed || err != nil {
		t.Errorf("%s, %v", o, err)
	}
	h := runtest.NewHub(t, s, &runtest.Decoder{SHA256: "1"}, nil)
	_, err = h.AddLanes(t.Context(), "bob", runs[0].ID, []decode.Lane{{Lambda: decode.Vector{1}}})
	runtest.WantKind(t, err, fault.Conflict, "imported")
}

func TestExportInParts(t *testing.T) {
	s := runtest.OpenStore(t)
	id := archive(t, s, []string{"one", "two", "three"})
	var b bytes.Buffer
	if _, err := session.ExportSession(t.Context(), s, nil, "ann", id, session.Part{From: 2, To: 3}, &b); err != nil {
		t.Fatal(err)
	}
	in := imported(t, s, nil, b.Bytes())
	if in.Session.Runs != 2 || strings.Contains(b.String(), `"parent"`) { // the parent is in another part
		t.Errorf("%d runs:\n%.300s", in.Session.Runs, b.String())
	}
}

// endless is a file that begins like a session and never ends.
type endless struct {
	head string
	unit string
	at   int64
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		switch at := int(e.at); {
		case at < len(e.head):
			p[i] = e.head[at]
		default:
			p[i] = e.unit[(at-len(e.head))%len(e.unit)]
		}
		e.at++
	}
	return len(p), nil
}

func (e *endless) Seek(int64, int) (int64, error) { return 0, io.ErrUnexpectedEOF }

// TestImportEndsEarly holds that what cannot be a session is refused before all of it was read.
func TestImportEndsEarly(t *testing.T) {
	s := runtest.OpenStore(t)
	head := `{"format":"realign-session","version":1,"title":"t","created_at":"2026-01-01T00:00:00Z",`
	for name, c := range map[string]struct {
		file  *endless
		words string
	}{
		"empty runs":   {&endless{head: head + `"runs":[`, unit: `{},`}, "runs[0]"},
		"empty lanes":  {&endless{head: head + `"runs":[{"spec":{"pair":"p","lanes":[`, unit: `{},`}, "larger than"},
		"one title":    {&endless{head: head + `"x":"`, unit: `x`}, "larger than"},
		"deep":         {&endless{head: head + `"x":`, unit: `[`}, "max depth"},
		"only members": {&endless{head: head + `"x":`, unit: `0,"x":`}, "twice"},
	} {
		_, err := session.ImportSession(t.Context(), s, nil, "bob", c.file, runtest.Now)
		runtest.WantKind(t, err, fault.Invalid, c.words)
		if c.file.at > 64<<20 {
			t.Errorf("%s: %d MiB were read", name, c.file.at>>20)
		}
	}
}

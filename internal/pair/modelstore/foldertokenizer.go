package modelstore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"path"
)

// maxTokenizer bounds the files of a folder's tokenizer, in bytes. A larger one has no fingerprint.
const maxTokenizer = 64 << 20

// folderTokenizer is the fingerprint of a folder's tokenizer, as Head.Tokenizer is of a file: of its merges, or of all of a
// SentencePiece model. Fingerprints of folders and of GGUF files are never equal. It is "" where none can be made.
func (s *scan) folderTokenizer(dir string) string {
	for _, name := range []string{"tokenizer.json", "tokenizer.model"} {
		at := path.Join(dir, name)
		f, info, err := s.open(at)
		if err != nil {
			continue
		}
		defer f.Close()
		if info.Size() > maxTokenizer {
			return ""
		}
		if known, ok := s.heads.Get(s.abs(at), info); ok {
			return known.Tokenizer
		}
		data, err := io.ReadAll(f)
		if err != nil {
			return ""
		}
		h := Remembered{}
		if name == "tokenizer.json" {
			h.Tokenizer = mergesFingerprint(data)
		} else {
			h.Tokenizer = sum(data)
		}
		s.heads.Put(s.abs(at), info, h)
		return h.Tokenizer
	}
	return ""
}

// mergesFingerprint is that of a tokenizer.json: of its merges, which versions of the library write as texts or as pairs, or of
// its vocabulary where there are none. What was added to it, such as markers of a chat, plays no part.
func mergesFingerprint(data []byte) string {
	var t struct {
		Model struct {
			Type   string            `json:"type"`
			Vocab  json.RawMessage   `json:"vocab"`
			Merges []json.RawMessage `json:"merges"`
		} `json:"model"`
	}
	if json.Unmarshal(data, &t) != nil || len(t.Model.Vocab) == 0 {
		return ""
	}
	if len(t.Model.Merges) == 0 {
		return sum(t.Model.Vocab)
	}
	hash := sha256.New()
	io.WriteString(hash, t.Model.Type)
	for _, merge := range t.Model.Merges {
		var pair [2]string
		var text string
		if json.Unmarshal(merge, &pair) == nil {
			text = pair[0] + " " + pair[1]
		} else if json.Unmarshal(merge, &text) != nil {
			return ""
		}
		io.WriteString(hash, "\x00"+text)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// sum is a fingerprint of data: the first 8 bytes of its SHA-256, in hexadecimal.
func sum(data []byte) string {
	hash := sha256.Sum256(data)
	return hex.EncodeToString(hash[:8])
}

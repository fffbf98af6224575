package convert

import (
	"os"

	"github.com/ollama/ollama/convert/sentencepiece"
	"google.golang.org/protobuf/proto"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// readPieces reads a model of SentencePiece. One of another kind than BPE is Invalid.
func readPieces(path string) (*vocabulary, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "%s cannot be read", path)
	}
	var m sentencepiece.ModelProto
	if err := proto.Unmarshal(data, &m); err != nil || len(m.GetPieces()) == 0 {
		return nil, fault.New(fault.Invalid, "%s is no model of SentencePiece", path)
	}
	if kind := m.GetTrainerSpec().GetModelType(); kind != sentencepiece.TrainerSpec_BPE {
		return nil, fault.New(fault.Invalid, "%s is a model of kind %v, and BPE is converted here", path, kind)
	}
	v := &vocabulary{model: "llama", pre: "default", prefix: m.GetNormalizerSpec().GetAddDummyPrefix()}
	for _, p := range m.GetPieces() {
		kind := int32(gguf.Normal)
		switch p.GetType() { // the numbers are the same as GGUF's
		case sentencepiece.ModelProto_SentencePiece_UNKNOWN, sentencepiece.ModelProto_SentencePiece_CONTROL, sentencepiece.ModelProto_SentencePiece_USER_DEFINED,
			sentencepiece.ModelProto_SentencePiece_UNUSED, sentencepiece.ModelProto_SentencePiece_BYTE:
			kind = int32(p.GetType())
		}
		v.tokens = append(v.tokens, p.GetPiece())
		v.types = append(v.types, kind)
		v.scores = append(v.scores, p.GetScore())
	}
	return v, nil
}

// Package decode is the engine of decoding-time realignment: it decodes a reference model and its aligned
// models side by side and chooses every token from the mixture of their logits,
//
//	z_t(λ) = (1 − Σλᵢ)·r_t + Σ λᵢ·aᵢ_t
//
// (Liu et al., "Decoding-time Realignment of Language Models", ICML 2024, arXiv:2402.02992, §3, eq. 11).
// Many lanes, one per λ and sample, are decoded at once and share whatever their equal histories allow.
//
// The package knows nothing of model files, processes, storage or HTTP. Models come in through the Model
// and Pair interfaces; internal/decode/llamacpp implements them with llama.cpp and
// internal/decode/decodetest with a small table.
package decode

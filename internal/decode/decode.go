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
//
// # A step
//
// One goroutine, Engine.loop, owns the models. As long as any branch goes on it makes one step after the other:
//
//	plan            which rows each model reads: one for each branch that generates, then a chunk of prompts
//	forward         one pass of each model that has rows, at the same time; moves of λ and stops are done meanwhile
//	collectLogits   the logits rows go to the branches that they were read for
//	collectReady    branches that have the logits of every model that they need ─┐
//	choose          each of their lanes chooses its token                        │ again while a draft
//	advance         branches get their tokens; those whose lanes differ fork    ─┘ was accepted
//	copyPendingLogits   rows that are still to be used are copied before the next pass overwrites them
//
// # A branch
//
// A branch is one distinct history of a request. It begins with the prompt, of which reuse may take a beginning from the prefix
// cache, and reads the rest in chunks. Then it gets one token a step. Where its lanes choose different tokens, each further token
// gets a branch of its own (fork: the sequence is copied, no cell is). When its last lane has ended the branch is retired:
// it keeps its cells until its request ends, and then becomes an entry of the prefix cache (retain) or is freed (evict).
//
// # Sources
//
// Encoder–decoder models read a prompt, which is then called a source, with their encoder, as part of the first pass that needs it
// (modelState.encode). Branches begin with the start token, and what is said above of prompts holds for that token.
package decode

// Package share shows what was decoded to others. A Snapshot is a run frozen as it ended, with everything a reader sees and
// everything needed to decode it again; a Link opens a snapshot by a secret token, until it expires or is revoked. Verify
// decodes a snapshot again and says where the result differs.
//
// The seal of a snapshot, the signature of the server that decoded it, is made and checked here; the key is run.Signer's.
package share

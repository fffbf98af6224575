import assert from "node:assert/strict";
import { test } from "node:test";
import { asCSV, asMarkdown } from "./copied";

const lanes = [
  { lambda: [0], sample: 0, beta: "∞", tokens: 2, ended: "stop", text: 'Said "no",\nthen left' },
  { lambda: [-0.5], sample: 1, beta: "", tokens: 3, ended: "length", text: "=1+1\n```\ncode\n```" },
];

test("lanes become Markdown whose fences no text closes", () => {
  assert.equal(asMarkdown(lanes), '## Reference (λ 0, β ∞)\n\n```text\nSaid "no",\nthen left\n```\n\n## Below the reference (λ −0.5, sample 1)\n\n````text\n=1+1\n```\ncode\n```\n````\n');
});

test("lanes become CSV: quoted where needed, and nothing that a spreadsheet computes", () => {
  assert.equal(asCSV(lanes), 'lambda,effective_beta,sample,tokens,ended,text\r\n0,,0,2,stop,"Said ""no"",\nthen left"\r\n-0.5,,1,3,length,"\'=1+1\n```\ncode\n```"\r\n');
});

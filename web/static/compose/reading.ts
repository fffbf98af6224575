// Reading the form into a spec, with what is wrong in it.

import { one } from "../dom/dom";
import type { LaneSpec, Limits, Sampling, Spec } from "../protocol/protocol";
import type { Fault } from "./faults";
import type { Pairing } from "./pairing";

/** Variables of the chat template, one NAME=VALUE a line; wrong is the first line that is none. */
export function readVariables(text: string): { variables: Record<string, string | number | boolean>; wrong: string } {
  const variables: Record<string, string | number | boolean> = {};
  for (const line of text.split("\n").map((l) => l.trim())) {
    if (line === "") continue;
    const at = line.indexOf("=");
    if (at < 1) return { variables, wrong: line };
    const value = line.slice(at + 1).trim();
    const number = value === "" ? Number.NaN : Number(value);
    variables[line.slice(0, at).trim()] = value === "true" ? true : value === "false" ? false : Number.isFinite(number) ? number : value;
  }
  return { variables, wrong: "" };
}

/** What of the form a spec is read from. */
export interface Source {
  form: HTMLFormElement;
  limits: Limits;
  pairing: Pairing;
  mode: Spec["mode"];
  prompt: string;
  system: string;
  seed: string;
}

/** Reads all but the conversation before the prompt. */
export function readSpec(source: Source, lanes: LaneSpec[]): { spec: Spec; faults: Fault[] } {
  const { form, pairing, mode } = source;
  const faults: Fault[] = [];
  const { sampling, alternatives } = readSampling(source, faults);
  const seed = source.seed.trim();
  if (!/^\d{1,20}$/.test(seed) || BigInt(seed) > 18446744073709551615n) {
    faults.push({ field: "seed", message: "A whole number from 0 to 18446744073709551615." });
  }
  if (source.prompt.trim() === "") faults.push({ field: "prompt", message: "The prompt is empty." });
  const bytes = new TextEncoder().encode(source.prompt).length;
  if (bytes > source.limits.prompt_bytes) {
    faults.push({ field: "prompt", message: `${bytes} bytes; at most ${source.limits.prompt_bytes}.` });
  }
  if (pairing.aligned.length === 0) faults.push({ field: "aligned", message: "Choose at least one." });
  const spec: Spec = { pair: pairing.select.value, aligned: pairing.aligned, prompt: source.prompt, mode, lanes, sampling, seed, alternatives };
  if (mode === "chat" && source.system.trim() !== "") spec.system = source.system;
  readContrast(pairing, spec, faults);
  if (mode === "plain" && one<HTMLInputElement>(form, "[data-special]").checked) spec.special = true;
  const { variables, wrong } = readVariables(one<HTMLTextAreaElement>(form, "[data-variables]").value);
  if (wrong) faults.push({ field: "variables", message: `“${wrong}” is not NAME=VALUE.` });
  else if (mode === "chat" && Object.keys(variables).length > 0) spec.rendering = { variables };
  return { spec, faults };
}

function readSampling({ form, limits }: Source, faults: Fault[]): { sampling: Sampling; alternatives: number } {
  const sampling: Record<string, number | boolean | string[]> = {};
  let alternatives = 0;
  for (const { field: name, low, high, whole } of limits.fields) {
    const input = one<HTMLInputElement>(form, `[data-sampling="${name}"]`);
    const x = Number(input.value);
    if (input.value.trim() === "" || !Number.isFinite(x)) faults.push({ field: name, message: "A number belongs here." });
    else if (x < low || x > high) faults.push({ field: name, message: `From ${low} to ${high}.` });
    else if (whole && !Number.isInteger(x)) faults.push({ field: name, message: "A whole number belongs here." });
    if (name === "alternatives") alternatives = x;
    else sampling[name] = x;
  }
  const stop = one<HTMLTextAreaElement>(form, "[data-stop-texts]").value.split("\n").filter((line) => line !== "");
  if (stop.length > 0) sampling.stop = stop;
  if (one<HTMLInputElement>(form, "[data-ignore-end]").checked) sampling.ignore_end = true;
  return { sampling: sampling as unknown as Sampling, alternatives };
}

function readContrast({ contrasted, contrast }: Pairing, spec: Spec, faults: Fault[]): void {
  if (!contrasted) return;
  if (contrast.value.trim() === "") faults.push({ field: "contrast", message: "It is empty: the two prompts would be one." });
  else if (contrast.value !== contrasted.contrast) {
    spec.contrast = contrasted.kind === "context" ? { context: contrast.value } : { system: contrast.value };
  }
}

// Going on with texts that were cut off: the same once more with room for more tokens, each lane beginning with what it has
// said. Noise is counted by token, so the text is the one that a higher limit would have given at once. Fetched when it is asked for
// (extras.ts). No DOM here.

import { type LaneSpec, type Spec, vector } from "../protocol/protocol";
import { type Lane, laneText, turns } from "../run/run";

/** What is asked for to go on, and what is to be said of it; or why nothing can be. */
export type Onward = { spec: Spec; said: string } | { wrong: string };

/** Whether a lane was cut off: by its token limit, or by the end of the context. */
export const cutOff = (lane: Pick<Lane, "reason">): boolean => lane.reason === "length";

/** Whether it was the context that ended, before the token limit. */
export const contextEnded = (lane: Lane, spec: Spec): boolean => cutOff(lane) && lane.tokens.length < spec.sampling.max_tokens;

/** A lane from its first token on as it was decoded: what it said is given, with λ where it was moved. One that ended by itself is
    decoded again, and ends there again. */
function given(lane: Lane, place: number): LaneSpec {
  const made: LaneSpec = { lane: place, lambda: vector(lane.start), sample: lane.sample, ...(lane.weights ? { mix: "weights" as const } : {}) };
  const changes = turns(lane).map(({ at, lambda }) => ({ at, lambda: vector(lambda) }));
  if (lane.tokens.length > 0 && lane.reason !== "stop") made.prefix = lane.tokens.map((token) => token.id);
  if (changes.length > 0) made.changes = changes;
  return made;
}

/** Goes on with the lanes of a run, of which one was pressed. most is how many tokens a lane may have. */
export function onward(spec: Spec, lanes: readonly Lane[], pressed: Lane, most: number): Onward {
  const base: Spec = { ...spec, sampling: { ...spec.sampling } };
  if (base.parent) delete base.history; // the server finds it again
  if (contextEnded(pressed, spec) || pressed.tokens.length >= most) return fromItsEnd(base, spec, pressed, most);
  base.sampling.max_tokens = Math.min(most, pressed.tokens.length + spec.sampling.max_tokens);
  return {
    spec: { ...base, lanes: lanes.map((lane, place) => given(lane, place)) },
    said: `Going on to ${base.sampling.max_tokens} tokens.`,
  };
}

/** Nothing more fits behind it: a text goes on from its second half, a conversation without its oldest turns. */
function fromItsEnd(base: Spec, spec: Spec, lane: Lane, most: number): Onward {
  const full = lane.tokens.length >= most ? `A text has ${most} tokens at most` : "The context is full";
  const lanes: LaneSpec[] = [{ lane: 0, lambda: vector(lane.lambda), sample: lane.sample, ...(lane.weights ? { mix: "weights" as const } : {}) }];
  delete base.parent;
  if (spec.mode === "plain") {
    delete base.history;
    return { spec: { ...base, lanes, prompt: secondHalf(spec.prompt + laneText(lane)) }, said: `${full}: it goes on from its second half.` };
  }
  const history = spec.history ?? [];
  const left = 2 * Math.ceil(history.length / 4); // half of its turns
  if (history.length < 2 || lane.tokens.length >= most) {
    return { wrong: `${full}. Begin a new conversation, with the end of this text in its prompt.` };
  }
  base.sampling.max_tokens = Math.min(most, lane.tokens.length + spec.sampling.max_tokens);
  return {
    spec: { ...base, lanes: [given(lane, 0)], history: history.slice(left) },
    said: `${full}: it goes on without ${left === 2 ? "its first turn" : `the first ${left / 2} of its turns`}.`,
  };
}

/** The second half of a text, from a word on. */
export function secondHalf(text: string): string {
  const half = text.slice(Math.ceil(text.length / 2));
  const word = half.search(/\s\S/);
  return word < 0 ? half : half.slice(word + 1);
}

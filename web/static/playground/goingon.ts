// Going on from lanes: a reply to what one said, and writing on what was cut off.

import { extras } from "../base/extras";
import type { Compose } from "../compose/compose";
import { formatLambda } from "../lambda/lambda";
import type { Column } from "../lanes/column";
import type { Message, Spec } from "../protocol/protocol";
import { type Run, laneText } from "../run/run";
import { said } from "../thought/thought";
import type { Purpose } from "./asking";
import { laneOf } from "./draftlanes";
import type { Status } from "./status";

/** What going on needs of the page around the lanes. */
export interface GoingOnHost {
  readonly compose: Compose;
  readonly status: Status;
  ask(spec: Spec, purpose: Purpose): void;
}

/** The conversation of a run with an answer to its prompt. */
export function turnsWith(spec: Spec, answer: string): Message[] {
  return [...(spec.history ?? []), { role: "user", content: spec.prompt }, { role: "assistant", content: answer }];
}

/** Takes what a lane said into the conversation. */
export function replyTo({ compose, status }: GoingOnHost, run: Run, { lane }: Column): void {
  if (!lane) return;
  compose.mode = run.spec.mode;
  compose.reply({ run: run.id, lane: lane.index }, turnsWith(run.spec, run.spec.mode === "chat" ? said(laneText(lane)) : laneText(lane)));
  status.say(`The conversation goes on from the lane at λ ${formatLambda(lane.lambda)}.`);
}

/** Goes on with what was cut off: with every lane, or where nothing more fits with the one that was pressed. */
export async function writeOn(host: GoingOnHost, run: Run, columns: readonly Column[], pressed: Column, keepOnly: (column: Column) => void): Promise<void> {
  const { onward } = await extras();
  if (!pressed.lane) return;
  const on = onward(run.spec, columns.map(laneOf), pressed.lane, host.compose.limits.max_tokens);
  if ("wrong" in on) {
    host.status.alert(on.wrong);
    return;
  }
  if (on.spec.lanes.length < columns.length) keepOnly(pressed);
  host.compose.adopt(on.spec, run.spec.history ?? []);
  host.ask(on.spec, "lanes");
  host.status.say(on.said);
}

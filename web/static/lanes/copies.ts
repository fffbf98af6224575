// All lanes at once, for other programs: as Markdown or as CSV.

import { extras } from "../base/extras";
import { copyText, one } from "../dom/dom";
import { effectiveBeta } from "../lambda/lambda";
import { laneText } from "../run/run";
import type { Column } from "./column";
import type { Copied } from "./copied";

export class Copies {
  constructor(root: HTMLElement, private readonly columns: () => readonly Column[]) {
    const box = one(root, "[data-copies]");
    box.hidden = false;
    for (const [hook, form] of [["[data-copy-markdown]", "asMarkdown"], ["[data-copy-csv]", "asCSV"]] as const) {
      const button = one(box, hook);
      button.addEventListener("click", async () => {
        button.dataset.done = (await copyText((await extras())[form](this.lanes()))) ? "Copied" : "Not copied";
        setTimeout(() => delete button.dataset.done, 1500);
      });
    }
  }

  private lanes(): Copied[] {
    return this.columns().flatMap(({ lane, betas }) => (lane === null ? [] : [{
      lambda: lane.lambda, sample: lane.sample, beta: effectiveBeta(lane.lambda, betas), tokens: lane.tokens.length, ended: lane.reason, text: laneText(lane),
    }]));
  }
}

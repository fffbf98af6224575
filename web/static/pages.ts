// Starts the controllers of pages that nobody sees first: app.ts fetches this where one of their hooks is.

import { verifies } from "./comparison/verdict";
import { connect } from "./connection/connection";
import { cost } from "./cost/cost";
import { followPulls, showPairs } from "./pairs/pairs";
import { LiveResults } from "./results/results";
import { study } from "./study/study";
import { sweep } from "./sweep/sweep";

const swept = document.querySelector<HTMLElement>("[data-sweep-page]");
if (swept) sweep(swept);

const planned = document.querySelector<HTMLFormElement>("form:has([data-paces])");
if (planned) cost(planned);

const frozen = document.querySelector<HTMLElement>("[data-comparison]");
if (frozen) verifies(frozen);

const answers = document.querySelector<HTMLElement>("[data-results]");
if (answers) new LiveResults(answers);

const running = document.querySelector<HTMLElement>("[data-study]");
if (running) study(running);

const pulls = document.querySelector<HTMLElement>("[data-pulls]");
if (pulls) void followPulls(pulls);

if (document.querySelector("[data-pair-list]")) {
  connect((frame) => frame.type === "pairs" && showPairs(frame.pairs), () => {});
}

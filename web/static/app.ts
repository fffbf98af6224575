// Starts the controllers that a page has hooks for.

import { comparison } from "./comparison/comparison";
import { connect } from "./connection/connection";
import { help } from "./help/help";
import { menus } from "./menu/menu";
import { followPulls, showPairs } from "./pairs/pairs";
import { Playground } from "./playground/playground";
import { LiveResults } from "./results/results";
import { sweep } from "./sweep/sweep";
import { study } from "./study/study";
import { theme } from "./theme/theme";
import { times } from "./time/time";
import { toasts } from "./toast/toast";

theme();
help();
menus();
toasts();
times();

const bench = document.querySelector<HTMLElement>("[data-playground]");
if (bench) new Playground(bench);

const frozen = document.querySelector<HTMLElement>("[data-comparison]");
if (frozen) void comparison(frozen);

const swept = document.querySelector<HTMLElement>("[data-sweep-page]");
if (swept) sweep(swept);

const answers = document.querySelector<HTMLElement>("[data-results]");
if (answers) new LiveResults(answers);

const running = document.querySelector<HTMLElement>("[data-study]");
if (running) study(running);

const pulls = document.querySelector<HTMLElement>("[data-pulls]");
if (pulls) void followPulls(pulls);

if (document.querySelector("[data-pair-list]")) {
  connect((frame) => frame.type === "pairs" && showPairs(frame.pairs), () => {});
}

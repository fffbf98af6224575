// Starts the controllers that a page has hooks for.

import { at } from "./base/base";
import { comparison } from "./comparison/comparison";
import { copies } from "./copy/copy";
import { help } from "./help/help";
import { menus } from "./menu/menu";
import { pictures } from "./picture/picture";
import { Playground } from "./playground/playground";
import { theme } from "./theme/theme";
import { times } from "./time/time";
import { toasts } from "./toast/toast";

theme();
help();
menus();
copies();
pictures();
toasts();
times();

const bench = document.querySelector<HTMLElement>("[data-playground]");
if (bench) new Playground(bench);

const frozen = document.querySelector<HTMLElement>("[data-comparison]");
if (frozen) void comparison(frozen);

// What the first page does not need is fetched where it is needed.
if (document.querySelector("[data-sweep-page], [data-paces], [data-results], [data-study], [data-pulls], [data-pair-list], [data-verify]")) void import(at("/static/pages.js"));

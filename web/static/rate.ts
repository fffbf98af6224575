// Starts what annotators' pages have hooks for. It is a bundle of its own, so that their browsers receive
// nothing about models and how texts were made.

import { help } from "./help/help";
import { Rating } from "./rate/rate";
import { theme } from "./theme/theme";
import { toasts } from "./toast/toast";

theme();
help();
toasts();

// Where scripts run the sheet has the guidelines, one key away.
const guide = document.querySelector<HTMLElement>("[data-rate-guide]");
if (guide) guide.hidden = true;

const page = document.querySelector<HTMLElement>("[data-rate]");
if (page) new Rating(page);

// What is fetched when it is used: see base/extras.ts.

export { snippet } from "./code/snippet";
export { listTerms } from "./help/terms";
export { asCSV, asMarkdown } from "./lanes/copied";
export { Pad } from "./pad/pad";
export { save } from "./picture/save";
export { onward } from "./playground/onward";
export { tokensOf } from "./rendered/tokens";

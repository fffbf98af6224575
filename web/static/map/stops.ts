// The names on the slider's scale, as the server draws them (web/templates/stops.go).

import { svg } from "../dom/dom";
import { formatLambda, formatNumber } from "../lambda/lambda";
import { type Along, mixtureAt } from "./along";

interface Stop {
  at: number; // percent of the width
  name: string;
  value: string;
}

function stops({ from, to, line }: Along & { from: number; to: number }): Stop[] {
  if (line) {
    return [from, to].map((place) => {
      const mixture = mixtureAt(line, place);
      const name = mixture.every((x) => x === 0) ? "Reference" : place === from ? "From" : "To";
      return { at: place === from ? 0 : 100, name, value: `λ ${formatLambda(mixture)}` };
    });
  }
  const at = (lambda: number) => (100 * (lambda - from)) / (to - from);
  const list = [{ lambda: 0, name: "Reference" }, { lambda: 1, name: "Aligned" }]
    .filter(({ lambda }) => from <= lambda && lambda <= to)
    .map(({ lambda, name }) => ({ at: at(lambda), name, value: `λ ${lambda}` }));
  if (to > 1 + 0.2 * (to - from)) list.push({ at: 100, name: "Beyond", value: `λ ${formatNumber(to, 4)}` });
  return list;
}

export function drawStops(place: HTMLElement, of: Along & { from: number; to: number }): void {
  place.replaceChildren(
    ...stops(of).flatMap(({ at, name, value }) => {
      const x = `${at.toFixed(3)}%`;
      const anchor = at < 6 ? "start" : at > 94 ? "end" : "middle";
      return [
        svg("line", { class: "map-tick-line", x1: x, x2: x, y1: 0, y2: 6 }),
        svg("text", { class: "map-stop", x, y: 19, "text-anchor": anchor }, name),
        svg("text", { class: "tick", x, y: 32, "text-anchor": anchor }, value),
      ];
    }),
  );
}

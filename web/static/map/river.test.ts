import assert from "node:assert/strict";
import { test } from "node:test";
import { all, one } from "../dom/dom";
import { openPage } from "../dom/page";
import { wireRiver } from "./river";

test("arrows go from fork to fork, and Enter reads why", () => {
  const page = openPage("map");
  const river = one(page, "[data-map-river]");
  const told: string[] = [];
  wireRiver(river, {
    pulled: (place) => void told.push(`pulled ${place}`), pressed: (fork) => void told.push(`pressed ${fork}`),
    focused: (fork) => void told.push(`focused ${fork}`), chosen: () => void told.push("chosen"), pointed: () => {},
  });
  const view = page.defaultView as unknown as { Event: typeof Event; KeyboardEvent: typeof KeyboardEvent };
  const marks = all(river, "[data-map-mark]");
  const names = marks.map((mark) => mark.dataset.mapMark);
  const press = (i: number, key: string) => marks[i]?.dispatchEvent(new view.KeyboardEvent("keydown", { key, cancelable: true }));
  press(0, "ArrowRight");
  press(1, "ArrowRight");
  press(2, "ArrowRight"); // stays
  press(2, "Home");
  press(0, "Enter");
  marks[1]?.dispatchEvent(new view.Event("click", { cancelable: true }));
  assert.deepEqual(told.filter((words) => !words.startsWith("focused")), ["chosen", `pressed ${names[1]}`]);
  assert.deepEqual(told.filter((words) => words.startsWith("focused")).map((words) => words.slice(8)), [names[1], names[2], names[0]]);
});

test("pulling anywhere but on a mark moves λ to that place", () => {
  const page = openPage("map");
  const river = one(page, "[data-map-river]");
  const places: number[] = [];
  let held = false;
  Object.assign(river, {
    getBoundingClientRect: () => ({ left: 100, width: 200 }),
    setPointerCapture: () => void (held = true), hasPointerCapture: () => held,
  });
  const words: string[] = [];
  wireRiver(river, { pulled: (place) => void places.push(place), pressed: () => {}, focused: () => {}, chosen: () => {}, pointed: (said) => void words.push(said) });
  const view = page.defaultView as unknown as { PointerEvent: typeof PointerEvent };
  const at = (target: Element, type: string, clientX: number, button = 0) => target.dispatchEvent(new view.PointerEvent(type, { clientX, button, pointerId: 1, bubbles: true }));
  at(river, "pointermove", 150);
  at(one(river, ".map-band rect"), "pointermove", 150);
  at(river, "pointerleave", 150);
  assert.deepEqual(words, ["", one(river, ".map-band title").textContent, ""], "a band tells its words, however narrow it is");
  at(one(river, "[data-map-mark]"), "pointerdown", 150);
  at(river, "pointerdown", 150, 2);
  at(river, "pointerdown", 150);
  at(river, "pointermove", 200);
  assert.deepEqual(places, [0.25, 0.5]);
});

// The fields of λ at the head of a column: a number and a slider for each aligned model, which show one λ and move it.

import { all, one, tell } from "../dom/dom";
import { formatNumber, notNumber, parseLambda, plain } from "../lambda/lambda";

export interface Bounds {
  min: number;
  max: number;
}

/** Has the λ that the fields show. */
export interface LambdaOwner {
  readonly lambda: readonly number[];
  /** λ of an aligned model was moved at its fields; settled is that it was let go. */
  moved(model: number, to: number, settled: boolean): void;
}

export class LambdaInputs {
  constructor(
    private readonly element: HTMLElement,
    public bounds: Bounds,
    private readonly owner: LambdaOwner,
  ) {}

  wire(): void {
    this.element.addEventListener("input", (event) => this.input(event.target as HTMLInputElement, false));
    this.element.addEventListener("change", (event) => this.input(event.target as HTMLInputElement, true));
    this.element.addEventListener("keydown", (event) => this.step(event));
  }

  private get numbers(): HTMLInputElement[] {
    return all<HTMLInputElement>(this.element, "[data-lambda-number]");
  }

  private get sliders(): HTMLInputElement[] {
    return all<HTMLInputElement>(this.element, "[data-lambda-slider]");
  }

  /** Shows λ, in as many fields as it has numbers. Labels name the models; without any the fields keep theirs. */
  draw(labels: readonly string[]): void {
    const numbers = this.element.querySelector<HTMLElement>("[data-lambda-inputs]");
    const sliders = this.element.querySelector<HTMLElement>("[data-lambda-sliders]");
    if (!numbers || !sliders) return;
    const { lambda } = this.owner;
    resize(numbers, lambda.length);
    resize(sliders, lambda.length);
    for (const [i, x] of lambda.entries()) {
      const number = numbers.children[i] as HTMLInputElement;
      const slider = sliders.children[i] as HTMLInputElement;
      number.value = Number.isInteger(x * 1e6) ? plain(x) : formatNumber(x, 4).replace("−", "-");
      slider.value = plain(x);
      if (labels.length > 0) {
        const label = labels.length > 1 ? `λ of ${labels[i]}` : "λ";
        number.setAttribute("aria-label", label);
        slider.setAttribute("aria-label", `${label}, slider`);
      }
    }
  }

  /** What a screen reader says of the sliders. */
  say(words: string): void {
    for (const slider of this.sliders) slider.setAttribute("aria-valuetext", words);
  }

  /** Lets λ be moved, or not. */
  fix(fixed: boolean): void {
    for (const input of [...this.numbers, ...this.sliders]) if (input.disabled !== fixed) input.disabled = fixed;
  }

  focus(): void {
    this.numbers[0]?.focus();
  }

  /** Whether every λ that is typed in can be used; says what is wrong if not. */
  check(): boolean {
    let wrong = "";
    for (const input of this.numbers) {
      const x = parseLambda(input.value);
      const bad = !this.within(x);
      input.setAttribute("aria-invalid", String(bad));
      if (Number.isNaN(x)) wrong = notNumber(input.value);
      else if (bad) wrong = `λ is from ${formatNumber(this.bounds.min, 2)} to ${formatNumber(this.bounds.max, 2)}.`;
    }
    tell(one(this.element, "[data-lambda-error]"), wrong);
    return wrong === "";
  }

  private within(x: number): boolean {
    return x >= this.bounds.min && x <= this.bounds.max; // and a number
  }

  private input(target: HTMLInputElement, settled: boolean): void {
    const isNumber = target.matches("[data-lambda-number]");
    if (!isNumber && !target.matches("[data-lambda-slider]")) return;
    const i = [...(target.parentElement?.children ?? [])].indexOf(target);
    const x = isNumber ? parseLambda(target.value) : Number(target.value);
    if (isNumber && !(settled ? this.check() : this.within(x))) return;
    if (!settled && this.owner.lambda[i] === x) return;
    const other = (isNumber ? this.sliders : this.numbers)[i];
    if (other) other.value = plain(x);
    if (!isNumber) this.check();
    this.owner.moved(i, x, settled);
  }

  /** Arrow keys in the number field move λ by 0.05, with Shift by 0.5. */
  private step(event: KeyboardEvent): void {
    const input = event.target as HTMLInputElement;
    if (!input.matches("[data-lambda-number]") || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    const from = parseLambda(input.value);
    if (Number.isNaN(from)) return;
    const by = (event.shiftKey ? 0.5 : 0.05) * (event.key === "ArrowUp" ? 1 : -1);
    const x = Math.min(this.bounds.max, Math.max(this.bounds.min, Math.round((from + by) * 1e6) / 1e6));
    input.value = plain(x);
    this.input(input, true);
  }
}

/** Makes a box hold n copies of its first child. */
function resize(box: HTMLElement, n: number): void {
  while (box.children.length > n) box.lastElementChild?.remove();
  while (box.children.length < n) box.append((box.firstElementChild as HTMLElement).cloneNode(true));
}

// How λ is written, read, coloured and put into words. The pages do the same in
// web/templates/format.go; lambda.test.ts and format_test.go hold the same table.

/** At most so many decimals, no trailing zeros, a real minus sign. */
export function formatNumber(x: number, decimals: number): string {
  let s = x.toFixed(decimals);
  if (s.includes(".")) s = s.replace(/\.?0+$/, "");
  return s === "-0" ? "0" : s.replace("-", "−");
}

export function formatLambda(v: readonly number[]): string {
  const parts = v.map((x) => formatNumber(x, 3));
  return parts.length === 1 ? (parts[0] as string) : `(${parts.join(", ")})`;
}

/** A number for a form field: it parses back to the same value. */
export function plain(x: number): string {
  return String(x);
}

const fractions: Record<string, number> = {
  "½": 1 / 2, "⅓": 1 / 3, "⅔": 2 / 3, "¼": 1 / 4, "¾": 3 / 4, "⅕": 1 / 5, "⅙": 1 / 6, "⅚": 5 / 6, "⅛": 1 / 8,
};

/** Reads what people write for λ: "0.5", "−1", "1/6", "1½". NaN if it is none of these: notNumber says why. */
export function parseLambda(text: string): number {
  let s = text.trim().replace("−", "-");
  let sign = 1;
  if (s.startsWith("-") || s.startsWith("+")) {
    if (s.startsWith("-")) sign = -1;
    s = s.slice(1).trim();
  }
  const last = fractions[s.slice(-1)];
  if (last !== undefined) {
    const whole = s.slice(0, -1).trim();
    if (whole === "") return sign * last;
    return /^\d+$/.test(whole) ? sign * (Number(whole) + last) : Number.NaN;
  }
  const ratio = /^(\d+(?:\.\d*)?)\s*\/\s*(\d+(?:\.\d*)?)$/.exec(s);
  if (ratio) {
    const by = Number(ratio[2]);
    return by === 0 ? Number.NaN : (sign * Number(ratio[1])) / by;
  }
  const x = sign * Number(s);
  return Number.isFinite(x) && /^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(s) ? x : Number.NaN;
}

/** What to say of a text that parseLambda does not read. A comma may stand for a point or between two numbers: it is not guessed. */
export function notNumber(text: string): string {
  const s = text.trim();
  if (!/^[-+−]?\s*\d+,\d+(e[+-]?\d+)?$/i.test(s)) return "λ is a number, such as 0.5 or 1/6.";
  return `“${s}” has a comma: write ${s.replace(",", ".").replace("−", "-")}.`;
}

export function total(v: readonly number[]): number {
  return v.reduce((sum, x) => sum + x, 0);
}

/** The step of the λ scale: "n" below 0, "0" to "10" up to the aligned model, "11" to "15" beyond. */
export function hue(v: readonly number[]): string {
  const x = total(v);
  if (x < 0) return "n";
  if (x <= 1) return String(Math.floor(x * 10 + 0.5));
  return String(10 + Math.ceil(Math.min((x - 1) / 2, 1) * 5));
}

/** β/λ in words, or "" where β is unknown or there is no such strength. */
export function effectiveBeta(v: readonly number[], betas: readonly number[]): string {
  const beta = betas[0];
  const x = v[0];
  if (v.length !== 1 || betas.length !== 1 || !beta || beta <= 0 || x === undefined || x < 0) return "";
  if (x === 0) return "∞";
  return String(Number((beta / x).toPrecision(3)));
}

/** Where a λ is: at one of the models, between them, or outside. */
export function words(v: readonly number[]): string {
  const x = total(v);
  if (v.length > 1 && x !== 0) return "Mixture";
  if (Math.abs(x) < 1e-9) return "Reference";
  if (x < 0) return "Below the reference";
  if (Math.abs(x - 1) < 1e-9) return "Aligned";
  return x < 1 ? "Between" : "Beyond";
}

/** The step of log π_al − log π_ref that colours a token, from −4 to 4. */
export function ratioStep(x: number): number {
  const size = Math.abs(x);
  let step = 0;
  for (const edge of [0.1, 0.5, 1.5, 3]) if (size >= edge) step++;
  return x < 0 ? -step : step;
}

export function same(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((x, i) => x === b[i]);
}

/** A probability for reading: "43%", "0.8%", "<0.01%". */
export function percent(p: number): string {
  if (p >= 0.0995) return `${(100 * p).toFixed(0)}%`;
  if (p >= 0.00995) return `${(100 * p).toFixed(1)}%`;
  if (p >= 0.0001) return `${(100 * p).toFixed(2)}%`;
  return p === 0 ? "0%" : "<0.01%";
}

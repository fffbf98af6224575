// The settings in short, as the server writes them, too (web/templates/chip.go). No DOM here.

/** "Demo · Warmth β 0.05 · T 0.7 · seed 7". */
export function chip(pair: string, models: readonly { title: string; beta: number }[], temperature: string, seed: string): string {
  const names = models.map((m) => shortModel(m.title, m.beta)).join(" + ");
  return [pair.split(":")[0] ?? pair, names, `T ${temperature}`, ...(seed ? [`seed ${seed}`] : [])].join(" · ");
}

function shortModel(title: string, beta: number): string {
  const name = title.replace(", β = ", " β ");
  return beta > 0 && !name.includes("β") ? `${name} β ${beta}` : name;
}

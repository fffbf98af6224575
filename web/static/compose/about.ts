// What the pair is and what it is aligned to, in short, as the server writes it, too (web/templates/about.go). No DOM here.

/** "Aligned model: Rewarded for warm replies. A tiny model." */
export function about(pair: string, models: readonly { about: string }[]): string {
  return [...models.flatMap((m) => (m.about ? [`Aligned model: ${m.about}`] : [])), pair].join(" ").trim();
}

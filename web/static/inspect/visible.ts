/** A token's name with its white space made visible. */
export function visible(name: string): string {
  return name.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ | $/g, "␣") || "∅";
}

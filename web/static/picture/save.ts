// A drawing of the page as a PNG: its elements with the styles they have are drawn once more, into a picture that is saved.

import { all } from "../dom/dom";

const scale = 2; // pixels of the picture for one of the page

export async function save(drawing: HTMLElement, button: HTMLButtonElement): Promise<void> {
  const name = button.dataset.picture || "drawing";
  button.disabled = true;
  const svg = asSVG(drawing);
  try {
    download(await asPNG(svg, drawing), `realign-${name}.png`);
  } catch {
    // A browser that does not let a page with text be drawn still has the drawing itself.
    download(new Blob([svg], { type: "image/svg+xml" }), `realign-${name}.svg`);
  } finally {
    button.disabled = false;
  }
}

/** The drawing as a picture that needs nothing else: each element carries the styles that it has on the page. */
export function asSVG(drawing: HTMLElement): string {
  const copy = drawing.cloneNode(true) as HTMLElement;
  const from = [drawing, ...drawing.querySelectorAll<HTMLElement>("*")];
  const to = [copy, ...copy.querySelectorAll<HTMLElement>("*")];
  for (const [i, element] of from.entries()) {
    const style = getComputedStyle(element);
    for (const name of style) to[i]?.style.setProperty(name, style.getPropertyValue(name));
  }
  copy.style.setProperty("margin", "0");
  copy.style.setProperty("background", getComputedStyle(document.body).backgroundColor);
  for (const tool of all(copy, "button, details")) tool.remove();
  const { width, height } = drawing.getBoundingClientRect();
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${Math.ceil(height)}"><foreignObject width="100%" height="100%">${new XMLSerializer().serializeToString(copy)}</foreignObject></svg>`;
}

async function asPNG(svg: string, drawing: HTMLElement): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const { width, height } = drawing.getBoundingClientRect();
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(width) * scale;
  canvas.height = Math.ceil(height) * scale;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture")))));
}

function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Bundles the controllers and styles into dist/, or with --tests the unit tests into build/web-tests/.
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");

if (process.argv.includes("--tests")) {
  const files = await readdir(here, { recursive: true });
  await build({
    entryPoints: files.filter((name) => name.endsWith(".test.ts")).map((name) => join(here, name)),
    outdir: join(root, "build/web-tests"), entryNames: "[name]",
    bundle: true, platform: "node", format: "esm", target: "node20",
    packages: "external", sourcemap: "inline", logLevel: "warning",
  });
} else {
  await mkdir(join(here, "dist"), { recursive: true });
  await build({
    entryPoints: ["app.ts", "app.css", "extras.ts", "markdown.ts", "pages.ts", "pages.css", "rate.ts", "rate.css"].map((name) => join(here, name)),
    outdir: join(here, "dist"),
    bundle: true, minify: true, format: "esm", target: ["es2022", "chrome111", "firefox121", "safari16.4"],
    charset: "utf8", legalComments: "none", logLevel: "warning",
  });
  await copyFile(join(here, "base/icon.svg"), join(here, "dist/icon.svg"));
}

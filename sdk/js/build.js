// Builds dist/: one file for modules, one for plain script tags, types; and build/, file by file, for the tests.
// `node build.js --check` also holds the size, and the copy that the broker's demo serves, against the sources.

import { execFileSync } from "node:child_process";
import { copyFileSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** What a page may have to load for it, compressed. */
const BYTES_MAX = 6 * 1024;
/** And what one that wants to know who is there loads besides. */
const PRESENCE_BYTES_MAX = 2 * 1024;
const here = path.dirname(fileURLToPath(import.meta.url));
const DEMO = path.join(here, "../../broker/src/demo/assets/tidings.js");
process.chdir(here);

for (const folder of ["dist", "build"]) rmSync(folder, { recursive: true, force: true });
execFileSync(process.execPath, ["node_modules/typescript/bin/tsc"], { stdio: "inherit" });

const common = { target: "es2022", logLevel: "warning" };
// Names with an underscore are nobody's business outside.
const packed = { ...common, bundle: true, minify: true, mangleProps: /^_/, legalComments: "none" };
await build({ ...packed, entryPoints: ["src/index.ts"], outfile: "dist/tidings.js", format: "esm" });
await build({ ...packed, entryPoints: ["src/presence.ts"], outfile: "dist/presence.js", format: "esm" });
await build({ ...packed, entryPoints: ["src/global.ts"], outfile: "dist/tidings.global.js", format: "iife" });
const sources = readdirSync("src", { recursive: true }).filter((file) => file.endsWith(".ts"));
await build({ ...common, entryPoints: sources.map((file) => `src/${file}`), outdir: "build", format: "esm" });

let failed = false;
const bounds = { "dist/tidings.js": BYTES_MAX, "dist/tidings.global.js": BYTES_MAX, "dist/presence.js": PRESENCE_BYTES_MAX };
for (const [file, most] of Object.entries(bounds)) {
  const bytes = gzipSync(readFileSync(file), { level: 9 }).length;
  console.log(`${file}: ${bytes} bytes compressed, ${most} are allowed`);
  failed ||= bytes > most;
}
if (!process.argv.includes("--check")) {
  copyFileSync("dist/tidings.js", DEMO);
} else if (!readFileSync("dist/tidings.js").equals(readFileSync(DEMO))) {
  console.error(`${DEMO} is not what the sources give: run \`npm run build\` and commit it`);
  failed = true;
}
process.exitCode = failed ? 1 : 0;

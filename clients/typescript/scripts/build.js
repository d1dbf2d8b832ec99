/**
 * Compiles src/ to dist/: modules with their types, and one readable bundle for pages without a build step,
 * which is copied to the playground. The same input gives the same bytes.
 *
 * node scripts/build.js [FOLDER]    writes to FOLDER instead of dist/, and not to the playground
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const playground = join(here, "../../server/anytime_server/playground");
const [folder] = process.argv.slice(2);
const dist = folder ? resolve(folder) : join(here, "dist");

rmSync(dist, { recursive: true, force: true });
const tsc = join(here, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "--project", join(here, "tsconfig.build.json"), "--outDir", dist], {
  stdio: "inherit",
});
await build({
  absWorkingDir: dist,
  entryPoints: ["index.js"],
  outfile: "anytime.js",
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  banner: { js: "// Generated from clients/typescript by `npm run build`; do not edit. Apache-2.0." },
});
if (!folder) copyFileSync(join(dist, "anytime.js"), join(playground, "anytime-client.js"));

// What README.md shows is what happens: each of its programs is run, in Node or in Chromium.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { newPage } from "../../../../broker/tests/browser/browser.js";
import { startBroker, startBrowser } from "./page.js";

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));
const README = await readFile(path.join(PACKAGE, "README.md"), "utf8");
const ADDRESS = "http://127.0.0.1:8000";
const PATIENCE_MS = 15_000;

const blocks = [...README.matchAll(/^```(\S+)( prints)?\n([\s\S]*?)^```$/gm)].map(([, language, prints, text]) => ({ language, prints: !!prints, text }));
const programs = blocks.flatMap(({ language, text }, at) => (language === "js" ? [{ text, prints: blocks[at + 1].prints ? blocks[at + 1].text : "" }] : []));

/** Runs a program until it has printed as much, or ended. */
async function run(text, expected) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidings-readme-"));
  try {
    await mkdir(path.join(folder, "node_modules"));
    await symlink(PACKAGE, path.join(folder, "node_modules/tidings"));
    await writeFile(path.join(folder, "program.mjs"), text);
    const child = spawn(process.execPath, ["program.mjs"], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    let printed = "";
    let complaints = "";
    child.stderr.on("data", (bytes) => (complaints += bytes));
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, PATIENCE_MS);
      child.stdout.on("data", (bytes) => {
        printed += bytes;
        if (printed === expected) resolve();
      });
      child.once("exit", resolve);
      child.once("exit", () => clearTimeout(timer));
    });
    child.kill();
    return printed + complaints;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("there are programs, and each says what it prints", () => {
  assert.ok(programs.length >= 4);
  assert.ok(programs.every((program) => program.prints));
});

for (const [at, { text, prints }] of programs.entries()) {
  test(`the ${at + 1}. program prints what the README says`, async () => {
    const broker = await startBroker();
    try {
      assert.equal(await run(text.replaceAll(ADDRESS, broker.url), prints), prints);
    } finally {
      await broker.stop();
    }
  });
}

test("the page shows the news", async () => {
  const broker = await startBroker('cors.origins=["*"]');
  const browser = await startBrowser();
  const html = blocks.find((block) => block.language === "html").text.replace(ADDRESS, broker.url);
  const script = await readFile(path.join(PACKAGE, "dist/tidings.global.js"));
  const site = createServer((request, response) => {
    const isScript = request.url === "/tidings.global.js";
    response.writeHead(200, { "content-type": isScript ? "text/javascript" : "text/html" }).end(isScript ? script : html);
  });
  await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
  try {
    await broker.publish("news", { text: "before <b>" });
    const page = await newPage(await browser.newContext());
    await page.goto(`http://127.0.0.1:${site.address().port}`);
    await page.locator("li", { hasText: "before <b>" }).waitFor();
    await broker.publish("news", "after");
    await page.locator("li", { hasText: "after" }).waitFor();
    assert.deepEqual(page.faults, []);
  } finally {
    await browser.close();
    site.close();
    await broker.stop();
  }
});

test("types are there, and wrong ones are refused", async () => {
  const folder = await mkdtemp(path.join(PACKAGE, "build/types-"));
  const compile = async (text) => {
    await writeFile(path.join(folder, "it.ts"), text);
    const child = spawn(
      process.execPath,
      [path.join(PACKAGE, "node_modules/typescript/bin/tsc"), "--ignoreConfig", "--noEmit", "--strict", "--target", "ES2022", "--module", "esnext", "--moduleResolution", "bundler", path.join(folder, "it.ts")],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    let said = "";
    child.stdout.on("data", (bytes) => (said += bytes));
    await new Promise((resolve) => child.once("exit", resolve));
    return said;
  };
  const head = 'import { Tidings } from "tidings";\nconst tidings = new Tidings("http://x", { fronts: ["sse"] });\n';
  try {
    assert.equal(await compile(`${head}tidings.subscribe<{ n: number }>("a").on("message", ({ data, cursor }) => [data.n.toFixed(), cursor.length]);\n`), "");
    assert.match(await compile(`${head}tidings.subscribe("a").on("massage", () => {});\n`), /massage/);
    assert.match(await compile(`${head}new Tidings("http://x", { fronts: ["pigeon"] });\n`), /pigeon/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

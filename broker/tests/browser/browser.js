// Debian's Chromium, headless, with a fresh profile that talks to nobody but the pages under test.

import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { chromium } from "playwright-core";

const PROGRAM = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const WAIT_MS = 15000;

export async function startBrowser() {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: install the package "chromium" or set CHROMIUM`);
  return chromium.launch({
    executablePath: PROGRAM,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A page of a visitor of its own: storage is shared with no other. `faults` collects what a page must never have. */
export async function visitor(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(WAIT_MS);
  return { context, page: await newPage(context) };
}

export async function newPage(context) {
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (said) => {
    // A stream that is cut is an error to the console and business as usual to us; a broken rule of the page's CSP is not.
    if (said.type() === "error" && /Content Security Policy|Refused to/.test(said.text())) page.faults.push(said.text());
  });
  page.on("dialog", (dialog) => {
    page.faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  return page;
}

/** Keeps a picture when SCREENSHOTS names a folder. */
export async function picture(page, name) {
  if (!process.env.SCREENSHOTS) return;
  await mkdir(process.env.SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${name}.png`) });
}

/** The page as phone and desktop, light and dark. */
export async function pictures(page, name) {
  const before = page.viewportSize();
  for (const [shape, viewport] of [["desktop", { width: 1280, height: 860 }], ["phone", { width: 390, height: 844 }]]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await picture(page, `${name}-${shape}-${colorScheme}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
  await page.setViewportSize(before);
}

/** No page may need to be scrolled sideways. */
export async function isNarrowEnough(page) {
  const before = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 700 });
  const fits = await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);
  await page.setViewportSize(before);
  return fits;
}

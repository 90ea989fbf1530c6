// Unpacks the Chromium that comes in the npm package @sparticuz/chromium, its libraries and its fonts, into browser/.
// The package's own way puts them into the system's temporary folder, where anybody may have left others.

import { execFileSync } from "node:child_process";
import { createReadStream, createWriteStream, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { createBrotliDecompress } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const packed = join(here, "node_modules", "@sparticuz", "chromium", "bin");
const made = join(here, "browser.new");
const browser = join(here, "browser");

async function unpack(from, to) {
  await pipeline(createReadStream(join(packed, from)), createBrotliDecompress(), createWriteStream(to, { mode: 0o755 }));
}

rmSync(made, { recursive: true, force: true });
mkdirSync(made);
await unpack("chromium.br", join(made, "chromium"));
for (const part of ["al2023", "fonts", "swiftshader"]) {
  const tar = join(made, `${part}.tar`);
  await unpack(`${part}.tar.br`, tar);
  execFileSync("tar", ["-xf", tar, "-C", made, "--no-same-owner"]);
  rmSync(tar);
}
const fonts = `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>${join(browser, "fonts")}</dir><dir>/usr/share/fonts</dir><cachedir>${join(browser, "cache")}</cachedir></fontconfig>
`;
writeFileSync(join(made, "fonts.conf"), fonts);
rmSync(browser, { recursive: true, force: true });
renameSync(made, browser);

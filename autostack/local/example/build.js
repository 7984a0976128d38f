// Write src/ to dist/, each asset under a name with its content's hash, so that browsers may keep it for ever.
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";

const ASSETS = ["style.css", "clock.js"];

const hashed = (name, content) => {
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 8);
  return `assets/${name.replace(".", `.${hash}.`)}`;
};

await rm("dist", { recursive: true, force: true });
await mkdir("dist/assets", { recursive: true });

let page = await readFile("src/index.html", "utf8");
for (const asset of ASSETS) {
  const content = await readFile(`src/${asset}`);
  const path = hashed(asset, content);
  await writeFile(`dist/${path}`, content);
  page = page.replaceAll(`/${asset}`, `/${path}`);
  console.log(`dist/${path}  ${content.length} bytes`);
}
page = page.replaceAll("{{builtAt}}", new Date().toISOString()).replaceAll("{{node}}", process.version);
await writeFile("dist/index.html", page);
await writeFile("dist/404.html", await readFile("src/404.html"));
console.log(`dist/index.html  ${Buffer.byteLength(page)} bytes`);

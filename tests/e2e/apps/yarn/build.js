import { mkdirSync, writeFileSync } from "node:fs";
import { greeting } from "greeting";

mkdirSync("dist", { recursive: true });
writeFileSync("dist/index.html", `<!doctype html><h1>${greeting}</h1>\n`);

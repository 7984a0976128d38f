import { mkdirSync, writeFileSync } from "node:fs";
import { clsx } from "clsx";
import { greeting } from "greeting";

mkdirSync("dist", { recursive: true });
writeFileSync("dist/index.html", `<!doctype html><h1 class="${clsx("a", "b")}">${greeting}</h1>\n`);

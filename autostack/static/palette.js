// The command palette (Ctrl K, ⌘K), `/` for search and `?` for the keys. What is found is the server's.

const palette = document.getElementById("palette");
const input = document.getElementById("palette-input");
const count = document.getElementById("palette-count");
const keys = document.getElementById("keys");

function open() {
  if (palette.open) return;
  palette.showModal();
  input.select();
  input.dispatchEvent(new Event("opened"));
}

const options = () => [...palette.querySelectorAll("[role=option]:not([aria-disabled])")];
const chosen = () => palette.querySelector("[aria-selected=true]");

function choose(option) {
  chosen()?.setAttribute("aria-selected", "false");
  option?.setAttribute("aria-selected", "true");
  option?.scrollIntoView({ block: "nearest" });
  if (option) input.setAttribute("aria-activedescendant", option.id);
  else input.removeAttribute("aria-activedescendant");
}

function step(by) {
  const all = options();
  choose(all[(all.indexOf(chosen()) + by + all.length) % all.length]);
}

// Who types quickly presses Enter before the answer is there, and means what will be found, not what was found before.
let isAnswered = false;
let takesFirst = false;

function take() {
  if (isAnswered) chosen()?.click();
  else takesFirst = true;
}

function ask() {
  isAnswered = takesFirst = false;
}

for (const begins of ["opened", "input"]) input.addEventListener(begins, ask);
for (const ends of ["htmx:response:error", "htmx:error"]) palette.addEventListener(ends, ask);

palette.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  if (ctx.sourceElement !== input || ctx.response.status !== 200) return;
  const found = options();
  choose(found[0]);
  count.textContent = found.length === 1 ? "1 result" : `${found.length} results`;
  isAnswered = new URL(ctx.request.action, location).searchParams.get("q") === input.value;
  if (isAnswered && takesFirst && palette.open) take();
});

input.addEventListener("keydown", (event) => {
  const act = { ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: take }[event.key];
  if (!act || event.isComposing) return;
  event.preventDefault();
  act();
});

// The dialog has no padding: what is clicked and is the dialog itself is the ground around it.
palette.addEventListener("click", ({ target }) => {
  if (target === palette || target.closest("[data-set-theme]")) palette.close();
});

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-palette]") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open();
});

// A page that comes back from the browser's cache must not come back with the palette open.
window.addEventListener("pagehide", () => palette.close());

function search() {
  const field = document.querySelector("main input[type=search]");
  if (!field) return open();
  field.focus();
  field.select();
}

const isTyping = (target) => target.isContentEditable || target.matches?.("input, textarea, select");

document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey;
  if (command && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return palette.open ? palette.close() : open();
  }
  const act = { "/": search, "?": () => keys.showPopover() }[event.key];
  if (!act || command || event.altKey || isTyping(event.target) || document.querySelector("dialog:is([open], :popover-open)")) return;
  event.preventDefault();
  act();
});

// What every page shares: toasts, copying, working buttons, typed confirmation, theme, ticking times.

const TOAST_MS = 6000;
const UNITS = [[86400, "d"], [3600, "h"], [60, "m"]];
const RELATIVE_UNTIL_S = 30 * 86400;

// By itself htmx begins some moments after the page is there: who types or presses a key may be quicker.
htmx.process(document.body);

// Toasts: `HX-Trigger: {"toast": {"message": "…", "category": "success"}}`, or a dispatched event of that name.

function toast(message, category = "info") {
  const note = document.getElementById("toast-template").content.firstElementChild.cloneNode(true);
  note.dataset.tone = category;
  note.querySelector("p").textContent = message;
  document.getElementById("toasts").append(note);
  expire(note);
}

function expire(note) {
  // An error stays until it is dismissed; nothing goes while it is being read.
  if (note.dataset.tone === "error") return;
  setTimeout(() => (note.matches(":hover, :focus-within") ? expire(note) : note.remove()), TOAST_MS);
}

document.addEventListener("toast", ({ detail }) => toast(detail.message ?? detail.value, detail.category));
document.querySelectorAll(".toast-note").forEach(expire);

// Requests of HTMX that fail leave the page as it is, and say so.

document.addEventListener("htmx:response:error", ({ detail }) => {
  const polling = detail.ctx.request.method === "GET" && !detail.ctx.sourceElement.matches("form, a");
  if (!polling) toast(problemOf(detail.ctx), "error");
});

document.addEventListener("htmx:error", ({ detail }) => {
  if (detail.ctx?.sourceElement.matches("form, a")) toast("The server does not answer. Try again in a moment.", "error");
});

function problemOf(ctx) {
  const page = new DOMParser().parseFromString(ctx.text ?? "", "text/html");
  return page.querySelector(".problem p")?.textContent ?? `The server answered ${ctx.response.status}.`;
}

// Clicks, by attribute.

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-dismiss], [data-set-theme]");
  if (!button) return;
  if ("copy" in button.dataset) copy(button.dataset.copy, button);
  else if ("dismiss" in button.dataset) button.closest(".toast-note").remove();
  else setTheme(button.dataset.setTheme);
});

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyWithoutClipboard(text);
  }
  button.dataset.copied = "";
  setTimeout(() => delete button.dataset.copied, 1500);
  toast("Copied.", "success");
}

// navigator.clipboard exists on HTTPS and localhost only; a dashboard in a home network may be neither.
function copyWithoutClipboard(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// The server reads the cookie, so the next page comes in this theme from its first byte.
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
}

// A button works from the moment its form is sent until the next page, or HTMX's answer, is there.

document.addEventListener("submit", ({ target, submitter }) => {
  if (!submitter || target.method === "get") return;
  submitter.setAttribute("aria-busy", "true");
  setTimeout(() => (submitter.disabled = true));
});

function rest(buttons) {
  for (const button of buttons) {
    if (button.getAttribute("aria-busy") !== "true") continue;
    button.removeAttribute("aria-busy");
    button.disabled = false;
  }
}

document.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
  if (!ctx.sourceElement.matches("form")) return;
  rest(ctx.sourceElement.elements);
  // What was asked for in a menu or a dialog is done.
  if (ctx.response?.raw.ok) ctx.sourceElement.closest("[popover]")?.hidePopover();
});
window.addEventListener("pageshow", ({ persisted }) => persisted && rest(document.querySelectorAll("[aria-busy]")));

// What had the focus may be gone from what HTMX changed: then what is around it has it, not the page's beginning.

let around = [];

document.addEventListener("htmx:before:swap", () => {
  around = [];
  for (let element = document.activeElement; element; element = element.parentElement) around.push(element);
});
document.addEventListener("htmx:after:swap", () => {
  const place = around.find((element) => element.isConnected);
  if (!place || place === around[0] || place === document.body) return;
  place.tabIndex = -1;
  place.focus({ preventScroll: true });
});

// What cannot be undone needs its name typed.

function guard(input) {
  input.form.querySelector("[type=submit]").disabled = input.value !== input.dataset.confirm;
}

document.addEventListener("input", ({ target }) => target.matches("[data-confirm]") && guard(target));
document.addEventListener("toggle", ({ target }) => target.querySelectorAll("dialog[popover] [data-confirm]").forEach(guard), true);

// Times: "5m ago" stays true, a running duration ticks.

function relative(seconds) {
  for (const [size, unit] of UNITS) if (seconds >= size) return `${Math.floor(seconds / size)}${unit} ago`;
  return "just now";
}

function duration(seconds) {
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`;
}

const started = new WeakMap();

// The server says how many seconds had passed when it wrote the page; we add those since, by a clock that cannot jump.
function tick() {
  for (const element of document.querySelectorAll("[data-elapsed]")) {
    const said = element.dataset.elapsed;
    if (started.get(element)?.said !== said) started.set(element, { said, at: performance.now() - said * 1000 });
    write(element, duration(Math.floor((performance.now() - started.get(element).at) / 1000)));
  }
}

function age() {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const seconds = (Date.now() - Date.parse(element.dateTime)) / 1000;
    if (seconds < RELATIVE_UNTIL_S) write(element, relative(seconds));
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

setInterval(tick, 1000);
setInterval(age, 30_000);

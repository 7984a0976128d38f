// A deployment's page: its head follows the build, its log is a pane of its own (log/).

import { Follow } from "./log/follow.js";
import { Links } from "./log/links.js";
import { Pane } from "./log/pane.js";
import { Search } from "./log/search.js";
import { Stream } from "./log/stream.js";

const NOT_LOADED = "These lines could not be loaded. Try again in a moment.";
const FAVICONS = { success: "favicon-success", failed: "favicon-failed", cancelled: "favicon" };
const WRAP = "log-wrap";

const head = () => document.getElementById("deployment-header");

/** Fetch the page's head anew, and have title and icon follow it. */
function refreshHeader(url) {
  return htmx.ajax("GET", url, { source: "#deployment-header", target: "#deployment-header", swap: "outerMorph" });
}

let shown;

function followStatus() {
  const { status, title } = head().dataset;
  document.title = title;
  const icon = document.querySelector("link[rel=icon]");
  icon.href = icon.href.replace(/favicon[\w-]*\.svg/, `${FAVICONS[status] ?? "favicon-progress"}.svg`);
  // Also at first: the head may have been fetched anew before this was loaded.
  if (shown !== status && status === "success") document.body.dispatchEvent(new Event("succeeded"));
  shown = status;
}

const ENDS = { success: ["Deployed in", "success"], failed: ["The deployment failed.", "error"], cancelled: ["The deployment was cancelled.", "info"] };

// By an event: app.js is there already, by an address that names its version.
function toast(message, category) {
  document.dispatchEvent(new CustomEvent("toast", { detail: { message, category } }));
}

function announce({ status, duration }) {
  const [words, category] = ENDS[status];
  toast(status === "success" ? `${words} ${duration}.` : words, category);
}

function wireTools(root, pane) {
  // Before app.js hears of the click, which copies what `data-copy` says.
  root.querySelector("[data-log-copy]").addEventListener("click", ({ currentTarget }) => {
    currentTarget.dataset.copy = pane.text();
    setTimeout(() => delete currentTarget.dataset.copy);
  });
  const wrap = root.querySelector("[data-log-wrap]");
  const set = (wrapped) => {
    root.classList.toggle("is-unwrapped", !wrapped);
    wrap.setAttribute("aria-pressed", String(wrapped));
  };
  set(localStorage.getItem(WRAP) !== "false");
  wrap.addEventListener("click", () => {
    const wrapped = wrap.getAttribute("aria-pressed") !== "true";
    localStorage.setItem(WRAP, wrapped);
    set(wrapped);
  });
}

function openLog(root) {
  const pane = new Pane(root);
  const follow = new Follow(pane, root.querySelector("[data-log-follow]"));
  const links = new Links(pane, follow);
  pane.addEventListener("failure", () => toast(NOT_LOADED, "warning"));
  wireTools(root, pane);
  root.querySelector(".log-found")?.remove();
  // Whoever came to other lines than the newest stays with them.
  const isElsewhere = new URLSearchParams(location.search).has("after") && !pane.attached;
  if (!links.reveal() && !isElsewhere) follow.resume().then(() => new Search(root, pane, follow));
  else new Search(root, pane, follow);
  return pane;
}

function start(root) {
  const { deployment, stream, header, final } = root.dataset;
  const pane = openLog(root);
  const state = root.querySelector("[data-log-state]");
  const refused = root.querySelector("[data-log-refused]");
  document.addEventListener("htmx:after:swap", followStatus);
  followStatus();
  if (final === "true") return;
  new Stream({
    url: stream,
    deployment,
    pane,
    onState: (name, words) => {
      state.dataset.state = name;
      refused.hidden = name !== "refused";
      if (state.textContent !== words) state.textContent = words;
    },
    onStatus: () => refreshHeader(header),
    onComplete: (event) => refreshHeader(header).finally(() => announce(event)),
  });
}

start(document.getElementById("logs"));

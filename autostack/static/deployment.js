// A deployment's page while it is being built: log lines and changes of status, as they happen.

import { copy, toast } from "./app.js";

const MAX_LINES = 5000;
const LINES_A_FRAME = 400;
const BACKOFF_MS = { first: 500, most: 15_000 };
const WAKE_CHECK_MS = 5000;
const AT_END_PX = 32;
const TIME = /^\[[\d:]+\] ?/;
const FAVICONS = { success: "favicon-success", failed: "favicon-failed", cancelled: "favicon" };

/** The lines on the page: appended in batches, capped, followed to the end until the reader scrolls up. */
class LogPane {
  constructor(root) {
    this.body = root.querySelector(".log-body");
    this.list = root.querySelector(".log-lines");
    this.cut = root.querySelector(".log-cut");
    this.empty = root.querySelector(".log-empty");
    this.followButton = root.querySelector("[data-log-follow]");
    this.waiting = [];
    this.lastSeq = Number(this.list.lastElementChild?.id.slice(1) ?? 0);
    this.body.addEventListener("scroll", () => this.#noticeScroll(), { passive: true });
    this.followButton.addEventListener("click", () => this.follow());
    root.querySelector("[data-log-copy]").addEventListener("click", (event) => copy(this.text(), event.currentTarget));
    window.addEventListener("hashchange", () => this.#markTarget());
    if (!this.#markTarget()) this.follow();
  }

  add(line) {
    if (line.seq <= this.lastSeq) return;
    this.lastSeq = line.seq;
    this.waiting.push(line);
    if (this.waiting.length > 2 * MAX_LINES) this.#skip();
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  follow() {
    this.#setFollowing(true);
    this.body.scrollTop = this.body.scrollHeight;
  }

  text() {
    const lines = [...this.list.children, ...this.waiting.map(lineElement)];
    return lines.map((line) => `${line.children[1].textContent} ${line.children[2].textContent}`).join("\n");
  }

  // A flood while nothing is drawn (a tab in the background): begin anew with the newest lines, so that none is missing
  // between those that are shown.
  #skip() {
    this.waiting.splice(0, this.waiting.length - MAX_LINES);
    this.list.replaceChildren();
    this.cut.hidden = false;
  }

  #draw() {
    this.frame = this.waiting.length > LINES_A_FRAME ? requestAnimationFrame(() => this.#draw()) : undefined;
    this.list.append(...this.waiting.splice(0, LINES_A_FRAME).map(lineElement));
    this.empty.hidden = true;
    this.#trim();
    if (this.following && !this.#isSelecting()) this.body.scrollTop = this.body.scrollHeight;
    if (location.hash && !this.list.querySelector(".is-target")) this.#markTarget();
  }

  // The oldest lines go, but not from under a reader's eyes or out of a selection until it gets far too many.
  #trim() {
    const kept = this.following && !this.#isSelecting() ? MAX_LINES : 2 * MAX_LINES;
    const surplus = this.list.childElementCount - kept;
    if (surplus <= 0) return;
    const range = document.createRange();
    range.setStartBefore(this.list.firstElementChild);
    range.setEndAfter(this.list.children[surplus - 1]);
    range.deleteContents();
    this.cut.hidden = false;
  }

  #isSelecting() {
    const selection = getSelection();
    return !selection.isCollapsed && this.list.contains(selection.anchorNode);
  }

  #noticeScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.body;
    // Only a reader moves the pane up; lines that arrive only make it longer.
    if (scrollTop < this.lastTop) this.#setFollowing(false);
    if (scrollHeight - scrollTop - clientHeight < AT_END_PX) this.#setFollowing(true);
    this.lastTop = scrollTop;
  }

  #setFollowing(following) {
    this.following = following;
    this.followButton.setAttribute("aria-pressed", String(following));
  }

  #markTarget() {
    this.list.querySelector(".is-target")?.classList.remove("is-target");
    const line = /^#L\d+$/.test(location.hash) && this.list.querySelector(location.hash);
    if (!line) return false;
    this.#setFollowing(false);
    line.classList.add("is-target");
    line.scrollIntoView({ block: "center" });
    return true;
  }
}

/** Make the element that `deployments/_log_lines.html` makes. `html` comes escaped from our own server. */
function lineElement({ seq, level, message, html }) {
  const line = document.createElement("li");
  line.className = "log-line";
  line.id = `L${seq}`;
  line.dataset.level = level;
  const number = document.createElement("a");
  number.href = `#L${seq}`;
  number.ariaLabel = `Line ${seq}`;
  number.textContent = seq;
  const time = document.createElement("time");
  time.textContent = message.match(TIME)?.[0].trim() ?? "";
  const text = document.createElement("span");
  text.innerHTML = html.replace(TIME, "");
  line.append(number, time, text);
  return line;
}

/** The websocket, kept open until the deployment is complete: reconnects, and resumes after the last line seen. */
class LogStream {
  constructor({ url, deployment, pane, onStatus, onComplete, onState }) {
    Object.assign(this, { url, deployment, pane, onStatus, onComplete, onState });
    this.failures = 0;
    this.acceptedGap = undefined;
    this.#connect();
    this.#watchForWaking();
  }

  #connect() {
    clearTimeout(this.timer);
    if (this.complete) return;
    const socket = new WebSocket(new URL(this.url, location.href.replace(/^http/, "ws")));
    this.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", deploymentId: this.deployment, after: this.pane.lastSeq, format: "html" }));
    socket.onmessage = ({ data }) => socket === this.socket && this.#receive(JSON.parse(data));
    socket.onclose = () => socket === this.socket && this.#retry();
  }

  #receive(event) {
    this.failures = 0;
    this.onState("live", "Live");
    if (event.type === "log") this.#receiveLine(event);
    else if (event.type === "status_update") this.onStatus(event);
    else if (event.type === "deployment_complete") this.#finish(event);
  }

  #receiveLine(line) {
    const expected = this.pane.lastSeq + 1;
    // Lines were lost on the way: ask for them again, once. If they don't come then, they don't exist.
    if (line.seq > expected && this.acceptedGap !== expected) {
      this.acceptedGap = expected;
      this.#reconnect();
    } else this.pane.add(line);
  }

  #finish(event) {
    this.complete = true;
    this.socket.close();
    this.onState("ended", "Ended");
    this.onComplete(event);
  }

  #reconnect() {
    const old = this.socket;
    this.socket = undefined;
    old?.close();
    this.#connect();
  }

  #retry() {
    if (this.complete) return;
    this.onState("waiting", "Reconnecting…");
    const most = Math.min(BACKOFF_MS.first * 2 ** this.failures++, BACKOFF_MS.most);
    this.timer = setTimeout(() => this.#connect(), most * (0.5 + Math.random() / 2));
  }

  // A laptop that slept holds a socket that looks open and is dead: time that jumped tells.
  #watchForWaking() {
    let last = Date.now();
    setInterval(() => {
      if (Date.now() - last > 4 * WAKE_CHECK_MS && !this.complete) this.#reconnect();
      last = Date.now();
    }, WAKE_CHECK_MS);
    window.addEventListener("online", () => this.complete || this.#reconnect());
  }
}

/** Fetch the page's head anew, and have title and icon follow it. */
function refreshHeader(url) {
  return htmx.ajax("GET", url, { source: "#deployment-header", target: "#deployment-header", swap: "outerMorph" });
}

function followStatus() {
  const { status, title } = document.getElementById("deployment-header").dataset;
  document.title = title;
  const icon = document.querySelector("link[rel=icon]");
  icon.href = icon.href.replace(/favicon[\w-]*\.svg/, `${FAVICONS[status] ?? "favicon-progress"}.svg`);
}

function announce({ status, duration }) {
  if (status === "success") toast(`Deployed in ${duration}.`, "success");
  else toast(status === "failed" ? "The deployment failed." : "The deployment was cancelled.", status === "failed" ? "error" : "info");
}

function start(root) {
  const { deployment, stream, header, final } = root.dataset;
  const pane = new LogPane(root);
  const state = root.querySelector("[data-log-state]");
  document.addEventListener("htmx:after:swap", followStatus);
  followStatus();
  if (final === "true") return;
  new LogStream({
    url: stream,
    deployment,
    pane,
    onState: (name, words) => {
      state.dataset.state = name;
      if (state.textContent !== words) state.textContent = words;
    },
    onStatus: () => refreshHeader(header),
    onComplete: (event) => refreshHeader(header).finally(() => announce(event)),
  });
}

start(document.getElementById("logs"));

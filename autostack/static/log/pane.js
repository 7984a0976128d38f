// The lines of a log on the page: a window of it, as long as MAX_LINES at most. While the window ends where the log does
// (`attached`), lines that come are appended; elsewhere they are only counted, and loaded when the reader gets there.

import { ask } from "./ask.js";

const MAX_LINES = 5000;
const PAGE = 1000;
const LINES_A_FRAME = 400;
const NEAR_EDGE_PX = 400;
const TIME = /^\[([\d:]+)\] ?/;

const seqOf = (line) => Number(line?.id.slice(1) ?? 0);

/**
 * Events: `line` (one that came, as `detail`), `change` (others are shown), `detach` (the end is not shown any more),
 * `failure` (what the reader asked for could not be loaded).
 */
export class Pane extends EventTarget {
  constructor(root) {
    super();
    this.url = root.dataset.lines;
    this.body = root.querySelector(".log-body");
    this.list = root.querySelector(".log-lines");
    this.empty = root.querySelector(".log-empty");
    this.edges = { earlier: root.querySelector("[data-log-earlier]"), later: root.querySelector("[data-log-later]") };
    this.waiting = [];
    this.loads = Promise.resolve();
    this.newest = Math.max(Number(root.dataset.newest), this.last);
    // What a search without JavaScript found has gaps.
    this.attached = this.last === this.newest && !("searched" in root.dataset);
    this.following = false;
    this.body.addEventListener("scroll", () => this.#loadAtEdge(), { passive: true });
    for (const edge of ["earlier", "later"]) {
      this.edges[edge].addEventListener("click", (event) => {
        event.preventDefault();
        this.#queue(() => this[`load${edge}`]()).catch(() => this.#fail());
      });
    }
  }

  get first() {
    return seqOf(this.list.firstElementChild);
  }

  get last() {
    return seqOf(this.list.lastElementChild);
  }

  /** Return the element of a line, if it is shown. */
  line(seq) {
    return this.list.querySelector(`#L${seq}`);
  }

  /** Take a line that came. Those that are known already are left out. */
  add(line) {
    if (line.seq <= this.newest) return;
    this.newest = line.seq;
    this.dispatchEvent(new CustomEvent("line", { detail: line }));
    // What is shown ends before it.
    if (!this.attached) return;
    this.waiting.push(line);
    // A flood while nothing is drawn (a tab in the background): go on with the newest lines, without a gap among them.
    if (this.waiting.length > 2 * MAX_LINES) this.#skip();
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  /** Show the end of the log, and what comes from now on. */
  toEnd() {
    return this.#queue(async () => {
      if (!this.attached) await this.#replace(this.newest - PAGE);
      while (!this.attached && (await this.loadlater()));
    }).catch(() => this.#fail());
  }

  /** Return the element of a line, loading its surroundings if need be; none for a line that does not exist yet. */
  show(seq) {
    return this.#queue(async () => {
      const isComing = seq > (this.attached ? this.last : this.newest);
      if (!isComing && !this.line(seq)) await this.#replace(seq - PAGE / 2);
      return this.line(seq);
    }).catch(() => this.#fail());
  }

  /** Return the elements of the lines that the reader sees, and of those up to `margin` pixels from them. */
  inSight(margin = 0) {
    const { top, bottom } = this.body.getBoundingClientRect();
    const lines = this.list.children;
    let [first, beyond] = [0, lines.length];
    while (first < beyond) {
      const middle = (first + beyond) >> 1;
      if (lines[middle].getBoundingClientRect().bottom > top - margin) beyond = middle;
      else first = middle + 1;
    }
    let last = first;
    while (lines[last]?.getBoundingClientRect().top < bottom + margin) last++;
    return Array.from({ length: last - first }, (_, at) => lines[first + at]);
  }

  text() {
    const lines = [...this.list.children, ...this.waiting.map(lineElement)];
    return lines.map((line) => `${line.children[1].textContent} ${line.children[2].textContent}`).join("\n");
  }

  async loadearlier() {
    const [first, after] = [this.first, Math.max(0, this.first - 1 - PAGE)];
    if (first <= 1) return;
    const lines = await this.#fetch(after, first - 1 - after);
    if (seqOf(lines.at(-1)) !== this.first - 1) return;
    this.#keepingPlace(() => {
      this.list.prepend(...lines);
      if (this.#drop(this.list.childElementCount - MAX_LINES, "end")) this.#detach();
    });
  }

  async loadlater() {
    const lines = this.attached ? [] : await this.#fetch(this.last, PAGE);
    if (seqOf(lines[0]) !== this.last + 1) return false;
    this.#keepingPlace(() => {
      this.list.append(...lines);
      this.#drop(this.list.childElementCount - MAX_LINES, "start");
    });
    this.attached = this.last >= this.newest;
    this.#changed();
    return true;
  }

  async #replace(after) {
    const lines = await this.#fetch(Math.max(0, after), PAGE);
    if (!lines.length) return;
    this.#detach();
    this.list.replaceChildren(...lines);
    this.attached = this.last >= this.newest;
    this.#changed();
  }

  async #fetch(after, limit) {
    const answer = await ask(`${this.url}?after=${after}&limit=${limit}`);
    const template = document.createElement("template");
    template.innerHTML = (await answer?.text()) ?? "";
    return [...template.content.querySelectorAll(".log-line")];
  }

  // One at a time: each goes by what the one before left. One that fails leaves what is shown.
  #queue(task) {
    const done = this.loads.then(task);
    this.loads = done.catch(() => undefined);
    return done;
  }

  #fail() {
    this.dispatchEvent(new Event("failure"));
  }

  #loadAtEdge() {
    const { scrollTop, scrollHeight, clientHeight } = this.body;
    const edge = scrollTop < NEAR_EDGE_PX && this.first > 1 ? "earlier" : scrollHeight - scrollTop - clientHeight < NEAR_EDGE_PX && !this.attached ? "later" : null;
    if (!edge || this.following || this.loading) return;
    const done = () => (this.loading = undefined);
    // If it fails the link is there to be clicked, and scrolling tries again.
    this.loading = this.#queue(() => this[`load${edge}`]()).then(done, done);
  }

  #draw() {
    this.frame = undefined;
    const pinned = this.following && !this.#isSelecting();
    const room = MAX_LINES - this.list.childElementCount;
    if (!pinned && room <= 0) this.#detach();
    const lines = this.waiting.splice(0, pinned ? LINES_A_FRAME : Math.min(room, LINES_A_FRAME)).map(lineElement);
    this.list.append(...lines);
    if (pinned) {
      this.#drop(this.list.childElementCount - MAX_LINES, "start");
      this.body.scrollTop = this.body.scrollHeight;
    }
    if (this.waiting.length) this.frame = requestAnimationFrame(() => this.#draw());
    this.#changed();
  }

  #skip() {
    if (!this.following) return this.#detach();
    this.waiting.splice(0, this.waiting.length - MAX_LINES);
    this.list.replaceChildren();
  }

  #detach() {
    this.waiting.length = 0;
    this.attached = false;
    this.dispatchEvent(new Event("detach"));
  }

  #drop(surplus, side) {
    if (surplus <= 0) return false;
    const { children } = this.list;
    const range = document.createRange();
    range.setStartBefore(children[side === "start" ? 0 : children.length - surplus]);
    range.setEndAfter(children[side === "start" ? surplus - 1 : children.length - 1]);
    range.deleteContents();
    return true;
  }

  /** Change the list while the line under the reader's eyes stays where it is. */
  #keepingPlace(change) {
    const [line] = this.inSight();
    const before = line?.getBoundingClientRect().top;
    change();
    if (line?.isConnected) this.body.scrollTop += line.getBoundingClientRect().top - before;
    this.#changed();
  }

  #isSelecting() {
    const selection = getSelection();
    return !selection.isCollapsed && this.list.contains(selection.anchorNode);
  }

  #changed() {
    this.empty.hidden = this.list.childElementCount > 0;
    this.edges.earlier.parentElement.hidden = this.first <= 1;
    this.edges.later.parentElement.hidden = this.attached;
    this.dispatchEvent(new Event("change"));
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
  time.textContent = message.match(TIME)?.[1] ?? "";
  const text = document.createElement("span");
  text.innerHTML = html.replace(TIME, "");
  line.append(number, time, text);
  return line;
}

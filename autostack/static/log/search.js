// Searching a log: the server looks through all of it, what comes meanwhile is looked at here. Matches are painted by the
// CSS Custom Highlight API, which changes no element: a selection survives. However many lines come, count and paint
// follow once a frame, and only what is in sight is painted.

import { ask } from "./ask.js";

const PAUSE_MS = 250;
// As many as the server tells of.
const MOST_FOUND = 5000;
const MOST_PAINTED = 2000;

export class Search {
  constructor(root, pane, follow) {
    Object.assign(this, { pane, follow, url: root.dataset.find, found: [], at: -1 });
    this.form = root.querySelector(".log-search");
    this.input = this.form.querySelector("input");
    this.count = this.form.querySelector("[data-log-count]");
    this.steps = [...this.form.querySelectorAll("[data-log-step]")];
    this.input.addEventListener("input", () => this.#later());
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of this.steps) button.addEventListener("click", () => this.#step(Number(button.dataset.logStep)));
    pane.addEventListener("line", ({ detail }) => this.#look(detail));
    pane.addEventListener("change", () => this.#showSoon());
    pane.body.addEventListener("scroll", () => this.#showSoon(), { passive: true });
    if (this.input.value) this.#run();
  }

  #later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#run(), this.input.value ? PAUSE_MS : 0);
  }

  #key(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      this.#step(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape" && this.input.value) {
      event.preventDefault();
      this.input.value = "";
      this.#run();
    }
  }

  async #run() {
    clearTimeout(this.timer);
    const wanted = this.input.value;
    Object.assign(this, { wanted, found: [], more: false, at: -1, asking: Boolean(wanted), failed: false });
    this.#show();
    if (wanted) {
      const answered = await this.#ask(wanted);
      if (this.wanted !== wanted) return;
      Object.assign(this, { asking: false, failed: !answered });
      if (answered) this.#take(answered);
    }
    if (this.found.length && !this.failed) this.#step(1);
    else this.#show();
  }

  #ask(wanted) {
    return ask(`${this.url}?search=${encodeURIComponent(wanted)}`)
      .then((answer) => answer?.json())
      .catch(() => undefined);
  }

  #take({ lines, more }) {
    // Those that came since the question was asked are here already.
    const newer = more ? [] : this.found.filter((seq) => seq > (lines.at(-1) ?? 0));
    Object.assign(this, { found: [...lines, ...newer], more: more || this.more });
  }

  #look({ seq, message }) {
    if (!this.wanted || this.more || seq <= this.found.at(-1)) return;
    if (!message.replace(/^\S+ /, "").toLowerCase().includes(this.wanted.toLowerCase())) return;
    if (this.found.length < MOST_FOUND) this.found.push(seq);
    else this.more = true;
    this.#showSoon();
  }

  async #step(by) {
    if (this.failed || this.wanted !== this.input.value) return this.#run();
    if (this.asking || !this.found.length) return;
    this.at = this.at < 0 && by < 0 ? this.found.length - 1 : (this.at + by + this.found.length) % this.found.length;
    this.follow.pause();
    this.#show();
    const line = await this.pane.show(this.found[this.at]);
    line?.scrollIntoView({ block: "center" });
    this.#show();
  }

  #showSoon() {
    if (this.wanted) this.frame ??= requestAnimationFrame(() => this.#show());
  }

  #show() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    const words = this.#words();
    if (this.count.textContent !== words) this.count.textContent = words;
    for (const button of this.steps) button.disabled = !this.found.length;
    this.#paint();
  }

  #words() {
    if (!this.wanted) return "";
    if (this.failed) return "Try again";
    if (this.asking) return "Searching…";
    if (!this.found.length) return "No match";
    const total = `${this.found.length}${this.more ? "+" : ""}`;
    return this.at < 0 ? total : `${this.at + 1} of ${total}`;
  }

  #paint() {
    this.marked?.classList.remove("is-found");
    this.marked = this.pane.line(this.found[this.at] ?? 0);
    this.marked?.classList.add("is-found");
    if (!window.Highlight) return;
    const painted = new Highlight();
    for (const range of this.#rangesInSight()) {
      if (painted.size === MOST_PAINTED) break;
      painted.add(range);
    }
    CSS.highlights.set("found", painted);
  }

  *#rangesInSight() {
    if (!this.wanted) return;
    for (const line of this.pane.inSight(this.pane.body.clientHeight)) {
      yield* rangesOf(line.lastElementChild, this.wanted.toLowerCase());
    }
  }
}

/** Yield where `needle` stands in an element, whatever colours its text is broken into. */
function* rangesOf(element, needle) {
  const text = element.textContent.toLowerCase();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let [node, start] = [walker.nextNode(), 0];
  const place = (offset, isEnd) => {
    for (; node && offset >= start + node.length + isEnd; node = walker.nextNode()) start += node.length;
    return [node, offset - start];
  };
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) {
    const [startContainer, startOffset] = place(at, 0);
    const [endContainer, endOffset] = place(at + needle.length, 1);
    if (!endContainer) return;
    yield new StaticRange({ startContainer, startOffset, endContainer, endOffset });
  }
}

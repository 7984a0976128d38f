// Links to lines: `#L120`, and `#L10-L20` by a click and a shift-click on two numbers. They lead also to lines that are
// not loaded, or have yet to come.

const HASH = /^#L(\d+)(?:-L(\d+))?$/;

export class Links {
  constructor(pane, follow) {
    Object.assign(this, { pane, follow });
    pane.list.addEventListener("click", (event) => this.#choose(event));
    pane.addEventListener("change", () => this.#mark());
    window.addEventListener("hashchange", () => this.reveal());
  }

  /** Go to what the address names. False if that is no line. */
  reveal() {
    this.range = HASH.exec(location.hash)?.slice(1).filter(Boolean).map(Number).sort((a, b) => a - b);
    this.#mark();
    if (!this.range) return false;
    this.follow.pause();
    this.awaited = this.range[0];
    this.pane.show(this.awaited).then(() => this.#mark());
    return true;
  }

  #choose(event) {
    const link = event.target.closest(".log-line > a");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const seq = Number(link.textContent);
    this.anchor = event.shiftKey && this.range ? (this.anchor ?? this.range[0]) : seq;
    this.range = [Math.min(this.anchor, seq), Math.max(this.anchor, seq)];
    // A line that has yet to come must not lead away from them.
    this.awaited = undefined;
    const [from, to] = this.range;
    history.replaceState(history.state, "", from === to ? `#L${from}` : `#L${from}-L${to}`);
    this.follow.pause();
    this.#mark();
  }

  #mark() {
    const [from, to = from] = this.range ?? [];
    for (const line of this.pane.list.querySelectorAll(".is-target")) {
      const seq = Number(line.id.slice(1));
      if (!(seq >= from && seq <= to)) line.classList.remove("is-target");
    }
    for (let seq = Math.max(from, this.pane.first); seq <= Math.min(to, this.pane.last); seq++) {
      this.pane.line(seq)?.classList.add("is-target");
    }
    const line = this.awaited && this.pane.line(this.awaited);
    if (!line) return;
    this.awaited = undefined;
    line.scrollIntoView({ block: "center" });
  }
}

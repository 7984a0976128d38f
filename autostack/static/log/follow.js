// Following a log's end: until the reader scrolls up, and again from when they are back at the end.

const AT_END_PX = 32;

export class Follow {
  constructor(pane, button) {
    Object.assign(this, { pane, button });
    pane.body.addEventListener("scroll", () => this.#noticeScroll(), { passive: true });
    pane.addEventListener("detach", () => this.pause());
    button.addEventListener("click", () => (pane.following ? this.pause() : this.resume()));
  }

  async resume() {
    await this.pane.toEnd();
    this.#set(this.pane.attached);
    this.pane.body.scrollTop = this.pane.body.scrollHeight;
  }

  pause() {
    this.#set(false);
    // Whoever pauses may scroll themselves: that is no wish to follow.
    this.lastTop = undefined;
  }

  #noticeScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.pane.body;
    const left = scrollHeight - scrollTop - clientHeight;
    // Only a reader moves the pane up from its end: it is still there when lines go at the top, or take less room.
    if (scrollTop < this.lastTop && left > 1) this.pause();
    else if (this.pane.attached && scrollTop > this.lastTop && left < AT_END_PX) this.#set(true);
    this.lastTop = scrollTop;
  }

  #set(following) {
    this.pane.following = following;
    this.button.setAttribute("aria-pressed", String(following));
  }
}

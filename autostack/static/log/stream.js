// The websocket of a deployment's log, kept open until the deployment is complete or its reader is turned away:
// reconnects, and resumes after the last line that came.

const BACKOFF_MS = { first: 500, most: 15_000 };
const WAKE_CHECK_MS = 5000;
const NOT_ALLOWED = 1008;
const TRY_AGAIN_LATER = 1013;

export class Stream {
  constructor({ url, deployment, pane, onStatus, onComplete, onState }) {
    Object.assign(this, { url, deployment, pane, onStatus, onComplete, onState });
    this.failures = 0;
    this.acceptedGap = undefined;
    this.#connect();
    this.#watchForWaking();
  }

  #connect() {
    clearTimeout(this.timer);
    if (this.over) return;
    const socket = new WebSocket(new URL(this.url, location.href.replace(/^http/, "ws")));
    this.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", deploymentId: this.deployment, after: this.pane.newest, format: "html" }));
    socket.onmessage = ({ data }) => socket === this.socket && this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.socket && this.#lose(code);
  }

  #receive(event) {
    this.failures = 0;
    this.onState("live", "Live");
    if (event.type === "log") this.#receiveLine(event);
    else if (event.type === "status_update") this.onStatus(event);
    else if (event.type === "deployment_complete") this.#finish(event);
  }

  #receiveLine(line) {
    const expected = this.pane.newest + 1;
    // Lines were lost on the way: ask for them again, once. If they don't come then, they don't exist.
    if (line.seq > expected && this.acceptedGap !== expected) {
      this.acceptedGap = expected;
      this.#reconnect();
    } else this.pane.add(line);
  }

  #finish(event) {
    this.over = true;
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

  #lose(code) {
    if (this.over) return;
    if (code === NOT_ALLOWED) {
      this.over = true;
      this.onState("refused", "Disconnected");
    } else this.#retry(code === TRY_AGAIN_LATER ? "Too many open connections, waiting…" : "Reconnecting…");
  }

  #retry(words) {
    this.onState("waiting", words);
    const most = Math.min(BACKOFF_MS.first * 2 ** this.failures++, BACKOFF_MS.most);
    this.timer = setTimeout(() => this.#connect(), most * (0.5 + Math.random() / 2));
  }

  // A laptop that slept holds a socket that looks open and is dead: time that jumped tells.
  #watchForWaking() {
    let last = Date.now();
    setInterval(() => {
      if (Date.now() - last > 4 * WAKE_CHECK_MS && !this.over) this.#reconnect();
      last = Date.now();
    }, WAKE_CHECK_MS);
    window.addEventListener("online", () => this.over || this.#reconnect());
  }
}

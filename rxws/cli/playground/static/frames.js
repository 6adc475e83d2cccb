// The frames as the server sees them, the errors, and how the connection ended.

import { bytes, el } from "./dom.js";

const KEEP = 200;
const WHO = { local: "by the server", peer: "by the client", network: "connection lost, without a close frame" };
const SIGNS = { incoming: "↓", outgoing: "↑", closed: "■", error: "✕" };
const NAMES = { incoming: "received", outgoing: "sent", closed: "end", error: "error" };

export class Frames {
  constructor(body, count) {
    this.body = body;
    this.count = count;
    this.reset();
  }

  reset() {
    this.began = performance.now();
    this.number = 0;
    this.body.replaceChildren();
    this.count.textContent = "none yet";
  }

  add(events) {
    const rows = events.filter((event, i) => !isEcho(event, events.slice(0, i))).map((event) => this.row(event)).filter(Boolean).slice(-KEEP);
    if (!rows.length) return;
    this.body.prepend(...rows.reverse());
    while (this.body.childElementCount > KEEP) this.body.lastElementChild.remove();
    const left = this.number - this.body.childElementCount;
    this.count.textContent = `${this.number}${left > 0 ? `, the latest ${KEEP} are shown` : ""}`;
  }

  row(event) {
    const { lane, type, text, size, t } = event;
    let kind = lane, data;
    if (lane === "closed" && type === "close") data = this.close(event);
    else if (type === "error" && event.error !== "ConnectionClosed") {
      kind = "error";
      data = [`${event.error} in ${/^\d/.test(lane) ? `step ${lane}` : lane}: ${text}`];
    } else if ((lane === "incoming" || lane === "outgoing") && type === "next") data = [text];
    else return null;
    this.number += 1;
    const bad = kind === "error" || event.bad;
    return el("tr", { className: bad ? "bad" : kind, "data-kind": kind },
      el("td", { textContent: ((t - this.began) / 1000).toFixed(3) }),
      el("td", { className: "sign" }, el("span", { textContent: SIGNS[kind], "aria-hidden": "true" }), el("span", { className: "hidden", textContent: NAMES[kind] })),
      el("td", { textContent: size === undefined ? "" : bytes(size) }),
      el("td", {}, ...data));
  }

  close({ code, reason, by, name, incoming }) {
    return [el("b", { textContent: code }), ` ${name}${reason ? `, “${reason}”` : ""}, ${WHO[by]}; incoming ${incoming}`];
  }
}

/* An exception passes all lines below the step that raised it. */
const isEcho = ({ type, text }, before) => type === "error" && before.some((each) => each.type === "error" && each.text === text);

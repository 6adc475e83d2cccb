// Live marble diagram on a canvas, in the look of the pictures that rxws draws.
//
// Python's SVG is not used here: it would have to be rendered and sent again for each movement.

import { el, still } from "./dom.js";

const KEEP = 30_000; // milliseconds
const STATUS_COLOURS = { Open: "good", Connecting: "1", Waiting: "edge", Closed: "edge" };

export class Marbles {
  constructor(canvas, summary) {
    this.canvas = canvas;
    this.summary = summary;
    this.pen = canvas.getContext("2d");
    this.reset([]);
    this.readColours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.readColours();
      this.redraw();
    });
    new ResizeObserver(() => this.layout()).observe(canvas.parentElement);
  }

  reset(lanes) {
    this.lanes = lanes.map((lane, i) => ({
      ...lane,
      colour: { incoming: "in", outgoing: "out", received: "6" }[lane.id] ?? String(((i - 1) % 5) + 1),
      arrow: { incoming: "↓ ", outgoing: "↑ ", received: "↓ " }[lane.id] ?? "",
      marks: [],
      count: 0,
    }));
    this.statuses = [];
    this.closes = [];
    this.summary.replaceChildren(
      el("caption", { textContent: "Messages in each line of the diagram" }),
      el("tr", {}, ...["Line", "Messages", "Latest"].map((textContent) => el("th", { textContent, scope: "col" }))),
      ...this.lanes.map((lane) => {
        lane.cells = [el("td", { textContent: "0" }), el("td")];
        return el("tr", { "data-lane": lane.id }, el("th", { textContent: lane.name, scope: "row" }), ...lane.cells);
      }),
    );
    this.layout();
  }

  layout() {
    this.narrow = this.canvas.parentElement.clientWidth < 600;
    this.laneHeight = this.narrow ? 56 : 48;
    this.height = 34 + this.lanes.length * this.laneHeight + 24;
    this.canvas.style.height = `${this.height}px`;
    this.redraw();
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["fg", "muted", "line", "grid", "edge", "box", "page", "good", "bad", "in", "out", 1, 2, 3, 4, 5, 6];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.sans = style.getPropertyValue("--sans");
    this.mono = style.getPropertyValue("--mono");
  }

  /** Add events, each with `t` in milliseconds of `performance.now()`. */
  add(events) {
    const oldest = performance.now() - KEEP;
    for (const event of events) {
      if (event.lane === "status") this.statuses.push(event);
      else if (event.lane === "closed" && event.type === "close") this.closes.push(event);
      const lane = this.lanes.find(({ id }) => id === event.lane);
      if (!lane || event.type === "close") continue;
      lane.marks.push(event);
      if (event.type === "next") {
        lane.count += 1;
        lane.cells[0].textContent = lane.count;
        lane.cells[1].textContent = event.text;
      }
    }
    for (const { marks } of this.lanes) {
      const old = marks.findIndex(({ t }) => t > oldest);
      if (old > 100) marks.splice(0, old);
    }
    while (this.statuses.length > 1 && this.statuses[1].t < oldest) this.statuses.shift();
    while (this.closes[0]?.t < oldest) this.closes.shift();
    this.redraw();
  }

  redraw() {
    if (this.pending) return;
    this.pending = true;
    const frame = () => {
      this.pending = false;
      if (this.draw()) this.redraw();
    };
    if (still.matches) setTimeout(frame, 1000);
    else requestAnimationFrame(frame);
  }

  /* Draw; return whether something will move. */
  draw() {
    const { canvas, pen, narrow } = this;
    const ratio = devicePixelRatio || 1, width = canvas.parentElement.clientWidth;
    if (!width) return false;
    const pixels = [Math.round(width * ratio), Math.round(this.height * ratio)];
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, this.height);
    const left = narrow ? 6 : 166, right = width - (narrow ? 12 : 46);
    const span = 8_000 * Math.min(1.25, Math.max(0.4, (right - left) / 640));
    const now = performance.now(), start = now - span;
    const x = (t) => right - ((now - t) / span) * (right - left);
    const foot = this.height - 10;
    for (let seconds = 0; seconds * 1000 < span; seconds += 2) {
      const at = x(now - seconds * 1000);
      this.line("grid", 1, at, 34, at, foot - 10);
      this.write(seconds ? `−${seconds} s` : "now", at, foot, { colour: "muted", align: "center" });
    }
    this.drawStatuses(x, left, right, start);
    this.lanes.forEach((lane, i) => {
      const y = 34 + i * this.laneHeight + (narrow ? 38 : this.laneHeight / 2);
      this.drawLine(x, left, right, start, y);
      this.drawLane(lane, x, left, right, start, y);
    });
    if (!this.lanes.some(({ marks }) => marks.at(-1)?.t >= start)) {
      this.write("Send a message, or choose an example.", (left + right) / 2, this.height / 2 - 4, { colour: "muted", align: "center", font: `13px ${this.sans}` });
    }
    for (const close of this.closes) if (close.t >= start) this.drawClose(close, x(close.t), right);
    const latest = Math.max(
      this.statuses.length > 1 ? this.statuses.at(-1).t : 0,
      ...this.lanes.map(({ marks }) => marks.at(-1)?.t ?? 0),
      this.closes.at(-1)?.t ?? 0,
    );
    return latest >= start - 100;
  }

  /* The client's status as a strip. */
  drawStatuses(x, left, right, start) {
    const { pen, colours, narrow } = this;
    if (!narrow) this.write("client status", 12, 17, { colour: "muted", font: `11px ${this.sans}` });
    this.statuses.forEach((event, i) => {
      const from = Math.max(left, x(event.t)), to = Math.min(right, i + 1 < this.statuses.length ? x(this.statuses[i + 1].t) : right);
      if (to - from < 1) return;
      pen.fillStyle = colours[STATUS_COLOURS[event.status]];
      pen.beginPath();
      pen.roundRect(from, 8, Math.max(to - from - 1, 1), 18, 4);
      pen.fill();
      const text = { Open: "Open", Connecting: `Connecting, attempt ${event.attempt}`, Waiting: `Waiting ${event.delay?.toFixed(1)} s`, Closed: event.code ? `Closed ${event.code}` : "Closed" }[event.status];
      const font = `600 10px ${this.sans}`;
      pen.font = font;
      if (pen.measureText(text).width + 10 < to - from) this.write(text, from + 6, 17.5, { fill: this.on(pen.fillStyle), font });
    });
  }

  /* Whole while the connection is open, else dashed. */
  drawLine(x, left, right, start, y) {
    this.pen.setLineDash([2, 4]);
    this.line("line", 1, left, y, right, y);
    this.pen.setLineDash([]);
    this.statuses.forEach((event, i) => {
      if (event.status !== "Open") return;
      const to = i + 1 < this.statuses.length ? x(this.statuses[i + 1].t) : right;
      if (to > left) this.line("line", 1.5, Math.max(left, x(event.t)), y, to, y);
    });
  }

  drawLane(lane, x, left, right, start, y) {
    const { pen, colours, narrow } = this;
    const name = lane.arrow + lane.name;
    if (narrow) {
      pen.fillStyle = colours[lane.colour];
      pen.fillRect(left, y - 35, 3, 12);
      const font = `600 11px ${this.sans}`;
      this.write(name, left + 8, y - 29, { font });
      pen.font = font;
      this.write(lane.detail, left + 16 + pen.measureText(name).width, y - 29, { colour: "muted", font: `10px ${this.mono}` });
    } else {
      Object.assign(pen, { fillStyle: colours.box, strokeStyle: colours.edge, lineWidth: 1 });
      pen.beginPath();
      pen.roundRect(2.5, y - 19, 150, 38, 5);
      pen.fill();
      pen.stroke();
      pen.fillStyle = colours[lane.colour];
      pen.fillRect(2, y - 19, 4, 38);
      this.write(name, 14, y - (lane.detail ? 7 : 0), { font: `600 12px ${this.sans}`, room: 134 });
      if (lane.detail) this.write(lane.detail, 14, y + 8, { colour: "muted", font: `10px ${this.mono}`, room: 134 });
    }
    this.write(lane.count, this.canvas.parentElement.clientWidth - 6, narrow ? y - 29 : y, { colour: "muted", align: "right", font: `11px ${this.sans}` });
    const marks = lane.marks.filter(({ t }) => t >= start - 500);
    const values = marks.filter(({ type }) => type === "next");
    const dense = values.length > (right - left) / 10;
    const font = `600 11px ${this.mono}`;
    // From the newest to the oldest: each may reach up to the one after it.
    let limit = Infinity;
    for (let i = values.length - 1; i >= 0 && x(values[i].t) >= left; i -= 1) {
      const at = x(values[i].t), before = i ? x(values[i - 1].t) + 24 : -Infinity; // room for a label
      pen.fillStyle = colours[lane.colour];
      pen.font = font;
      const shown = clip(values[i].text, 14), half = Math.max(10, pen.measureText(shown).width / 2 + 7);
      const pill = !dense && shown && at + half < limit && at - half > before;
      pen.beginPath();
      if (pill) pen.roundRect(at - half, y - 10, 2 * half, 20, 10);
      else pen.arc(at, y, dense ? 3 : 4.5, 0, 7);
      pen.fill();
      if (pill) this.write(shown, at, y + 0.5, { fill: this.on(pen.fillStyle), align: "center", font });
      else if (!dense && limit - at > 10) this.write(clip(shown, Math.floor((limit - at + 2) / 6.2)), at - 4, y - 11, { font: `10px ${this.mono}` });
      limit = (pill ? at - half : at - 5) - 2;
    }
    for (const { t, type } of marks) {
      const at = x(t);
      if (type === "next" || at < left) continue;
      if (type === "completed") this.line("good", 3, at, y - 9, at, y + 9);
      if (type === "error") {
        this.line("bad", 3, at - 6, y - 6, at + 6, y + 6);
        this.line("bad", 3, at - 6, y + 6, at + 6, y - 6);
      }
    }
  }

  /* One bar through all lanes, with the code and who closed. */
  drawClose({ code, by, bad }, at, right) {
    const colour = bad ? "bad" : "good";
    const middle = 34 + this.laneHeight * (this.lanes.length - 1) / 2 + (this.narrow ? 8 : 4);
    this.pen.globalAlpha = 0.55;
    this.line(colour, 2, at, 36, at, this.height - 28);
    this.pen.globalAlpha = 1;
    const font = `700 12px ${this.sans}`;
    const lines = [[String(code), font], [{ local: "by the server", peer: "by the client", network: "lost" }[by], `11px ${this.sans}`]];
    const wide = 12 + Math.max(...lines.map(([text, font]) => {
      this.pen.font = font;
      return this.pen.measureText(text).width;
    }));
    const box = at + wide + 6 > right ? at - wide - 5 : at + 5;
    Object.assign(this.pen, { fillStyle: this.colours.page, strokeStyle: this.colours[colour], lineWidth: 1 });
    this.pen.beginPath();
    this.pen.roundRect(box, middle, wide, 34, 4);
    this.pen.fill();
    this.pen.stroke();
    lines.forEach(([text, font], i) => this.write(text, box + 6, middle + 10 + 15 * i, { colour, font }));
  }

  line(colour, width, x0, y0, x1, y1) {
    const { pen } = this;
    Object.assign(pen, { strokeStyle: this.colours[colour], lineWidth: width, lineCap: "round" });
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  write(text, x, y, { colour = "fg", fill = this.colours[colour], font = `10px ${this.sans}`, align = "left", room } = {}) {
    Object.assign(this.pen, { fillStyle: fill, font, textAlign: align, textBaseline: "middle" });
    this.pen.fillText(text, x, y, room); // a longer text is drawn narrower
  }

  /* Black or white, whatever is easier to read on a colour. */
  on(colour) {
    const [r, g, b] = [1, 3, 5].map((i) => (parseInt(colour.slice(i, i + 2), 16) / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff";
  }
}

const clip = (text, length) => (text.length > length ? text.slice(0, Math.max(0, length - 1)) + "…" : text);

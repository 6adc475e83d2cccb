// The page: connects the controls, the marbles and the tables to the sandbox on the server.

import { Composer } from "./composer.js";
import { $, bytes, el, still } from "./dom.js";
import { Frames } from "./frames.js";
import { Marbles } from "./marbles.js";
import { Seat, twoNames } from "./room.js";
import { Link, Lost } from "./rpc.js";

const marbles = new Marbles($("marbles"), $("summary"));
const frames = new Frames($("frames"), $("count"));
const composer = new Composer((preset) => start(preset));
const link = new Link("/playground/ws", onLink);
const seats = twoNames().map((name) => new Seat(link, name));
$("seats").replaceChildren(...seats.map(({ node }) => node));

let events = null, script = null;

/* ---- the connection of this page ---- */

async function onLink(state) {
  clearInterval(onLink.timer);
  document.body.dataset.link = state === "open" ? "open" : "lost";
  if (state === "open") {
    $("lost").hidden = true;
    const catalogue = await link.call("catalogue").catch(() => null);
    if (!catalogue) return;
    const first = !composer.catalogue;
    composer.use(catalogue);
    $("links").replaceChildren(...Object.entries(catalogue.links).map(([textContent, href]) => el("a", { textContent, href })));
    $("burst").max = catalogue.max_burst;
    $("rate").max = catalogue.max_rate;
    if (first) composer.choose(catalogue.presets[0]);
    else {
      composer.show();
      start(null);
    }
    for (const seat of seats) if (seat.wanted) seat.join();
    return;
  }
  setClient("", "unknown");
  const until = performance.now() + state;
  const tick = () => { $("lost-text").textContent = `The playground's server is away. Next attempt in ${Math.max(0, (until - performance.now()) / 1000).toFixed(0)} s.`; };
  $("lost").hidden = false;
  tick();
  onLink.timer = setInterval(tick, 1000);
}
$("retry").onclick = () => link.open();

/* ---- the sandbox ---- */

async function start(preset) {
  const number = (start.number = (start.number ?? 0) + 1);
  clearTimeout(script);
  events?.cancel();
  try {
    const { lanes, code } = await link.call("start", { steps: composer.steps, options: composer.options });
    if (number !== start.number) return;
    $("problem").textContent = "";
    document.querySelector("[name=speed][value=full]").checked = true;
    $("repeat").setAttribute("aria-pressed", "false");
    $("answer-box").hidden = !composer.steps.some(({ name }) => name === "tokens");
    $("answer").textContent = "";
    setClient("", "starting");
    marbles.reset(lanes);
    frames.reset();
    composer.showCode(code);
    events = link.stream("events", {}, receive);
    if (preset) play(preset);
  } catch (error) {
    if (number === start.number && !(error instanceof Lost)) $("problem").textContent = error.message;
  }
}

/* Show what an example does. */
async function play({ script: texts, pause, suggestions, speed, rate }) {
  $("text").value = suggestions[0] ?? "hello";
  $("suggestions").replaceChildren(...suggestions.map((text) => el("button", { type: "button", textContent: text, onclick: () => send(text) })));
  if (speed !== "full") {
    document.querySelector(`[name=speed][value=${speed}]`).checked = true;
    await attempt(link.call("speed", { speed }));
  }
  if (rate) {
    $("rate").value = rate;
    repeat(true);
  }
  const next = (i) => {
    if (i === texts.length) return;
    script = setTimeout(() => {
      attempt(link.call("send", { text: texts[i], count: 1 }));
      next(i + 1);
    }, i ? 1000 * pause : 500);
  };
  next(0);
}

function receive({ events: batch, state }) {
  const now = performance.now();
  for (const event of batch) event.t = now - 1000 * event.age;
  const ends = batch.filter(({ lane, type }) => lane === "incoming" && (type === "completed" || type === "error"));
  for (const event of batch) {
    if (event.type !== "close") continue;
    const failed = ends.at(-1)?.type === "error";
    event.incoming = failed ? "failed with ConnectionClosed" : "completed";
    event.bad = failed || ![1000, 1001, 1005].includes(event.code);
  }
  marbles.add(batch);
  frames.add(batch);
  for (const event of batch) {
    if (event.lane === "status") showStatus(event);
    if (event.lane === "incoming" && event.type === "next") $("answer").textContent = "";
    if (event.lane === "received" && event.type === "next") $("answer").append(`${event.text} `);
  }
  showState(state);
}

/* ---- what the page says about the connection ---- */

function setClient(state, text) {
  clearInterval(showStatus.timer);
  $("client").dataset.state = state;
  $("client").textContent = text;
  $("client").title = "";
}

function showStatus(event) {
  if (document.activeElement === $("connect")) $("text").focus();
  $("connect").hidden = event.status !== "Closed" || !event.code;
  const say = { local: "by the client", peer: "by the server", network: "lost" };
  if (event.status === "Waiting") {
    const tick = () => {
      const left = Math.max(0, event.delay - (performance.now() - event.t) / 1000);
      $("client").textContent = `Waiting, next attempt in ${left.toFixed(1)} s`;
    };
    setClient("Waiting", "");
    $("client").title = event.text;
    tick();
    showStatus.timer = setInterval(tick, still.matches ? 1000 : 100);
    announce(`Waiting ${event.delay.toFixed(1)} seconds for the next attempt`);
    return;
  }
  const text = {
    Open: "Open",
    Connecting: `Connecting, attempt ${event.attempt}`,
    Closed: event.code
      ? `Closed ${event.code}${event.reason ? ` “${event.reason}”` : ""} ${say[event.by]}: the stream ${event.error ? `failed with ${event.error}` : "completed"}`
      : "Closed",
  }[event.status];
  setClient(event.status, text);
  if (event.status !== "Connecting") announce(`Client: ${text}`);
}

/* Only the state that a person hears of last, and not more often than they can listen. */
function announce(text) {
  announce.text = text;
  announce.timer ??= setTimeout(() => {
    announce.timer = null;
    $("announce").textContent = announce.text;
  }, 1500);
}

function showState({ server, buffered, max_buffer, writable, paused, dropped, queued, left_out }) {
  $("server").setAttribute("aria-checked", String(server));
  $("server-text").textContent = server ? "running" : "killed";
  $("buffer").max = max_buffer;
  $("buffer").high = 0.7 * max_buffer;
  $("buffer").value = buffered;
  $("buffered").textContent = `${bytes(buffered)} of ${bytes(max_buffer)}`;
  $("writable").textContent = writable ? "yes" : "no";
  $("writable").dataset.bad = !writable;
  $("paused").textContent = `${paused.toFixed(1)} s`;
  const drops = Object.entries(dropped).map(([reason, count]) => `${count} ${reason}`);
  $("dropped").textContent = drops.join(", ") || "none";
  $("dropped").dataset.bad = drops.length > 0;
  $("queued").textContent = queued;
  $("left-out").textContent = left_out ? `${left_out} events were left out to keep up` : "";
}

/* ---- what a person does ---- */

async function attempt(answer) {
  try {
    await answer;
    $("problem").textContent = "";
  } catch (error) {
    if (!(error instanceof Lost)) $("problem").textContent = error.message;
  }
}
const send = (text, count = 1) => attempt(link.call("send", { text, count }));

function repeat(on) {
  $("repeat").setAttribute("aria-pressed", String(on));
  attempt(link.call("rate", { text: $("text").value, rate: on ? Number($("rate").value) : 0 }));
}
$("send-form").onsubmit = (event) => {
  event.preventDefault();
  clearTimeout(script);
  send($("text").value);
};
$("send-burst").onclick = () => send($("text").value, Number($("burst").value));
$("repeat").onclick = () => repeat($("repeat").getAttribute("aria-pressed") !== "true");
$("rate").onchange = $("text").onchange = () => { if ($("repeat").getAttribute("aria-pressed") === "true") repeat(true); };
$("cancel").onclick = () => send("stop");
$("connect").onclick = () => attempt(link.call("connect"));
$("cut").onclick = () => attempt(link.call("cut"));
$("server").onclick = () => attempt(link.call("server", { running: $("server").getAttribute("aria-checked") !== "true" }));
for (const input of document.querySelectorAll("[name=speed]")) input.onchange = () => attempt(link.call("speed", { speed: input.value }));
$("close-form").onsubmit = (event) => {
  event.preventDefault();
  attempt(link.call("close", { side: event.submitter.value, code: Number($("code-input").value), reason: $("reason").value }));
};
$("picture").onclick = async () => {
  try {
    const svg = await link.call("picture");
    const href = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
    el("a", { href, download: "rxws.svg" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  } catch (error) {
    $("problem").textContent = error.message;
  }
};

/* ---- the two views ---- */

function show() {
  const room = location.hash === "#room";
  $("pipeline-view").hidden = room;
  $("room-view").hidden = !room;
  if (room && !seats.some(({ wanted, log }) => wanted || log.childElementCount)) seats[0].join();
  for (const a of document.querySelectorAll("nav a[href^='#']")) {
    if ((a.hash === "#room") === room) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
}
addEventListener("hashchange", show);
show();

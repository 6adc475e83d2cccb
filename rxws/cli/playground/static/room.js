// The room that all visitors share. Each seat is a member of its own.

import { el } from "./dom.js";
import { Lost } from "./rpc.js";

const KEEP = 100;
const NAMES = ["Ann", "Bob", "Eve", "Ida", "Jon", "Kim", "Leo", "Mia", "Noa", "Zoe"];

/** Return two names; another window likely has others. */
export function twoNames() {
  const first = Math.floor(Math.random() * NAMES.length);
  return [NAMES[first], NAMES[(first + 1 + Math.floor(Math.random() * (NAMES.length - 1))) % NAMES.length]];
}

export class Seat {
  constructor(link, name) {
    this.link = link;
    this.stream = null;
    this.wanted = false; // joins again after the connection to the server was lost
    this.name = el("input", { value: name, maxLength: 20, ariaLabel: "Name", autocomplete: "off", required: true });
    this.toggle = el("button", { textContent: "Join" });
    this.here = el("ul", { className: "here", ariaLabel: "Present" });
    this.log = el("ol", { className: "log", ariaLabel: "Messages", tabIndex: 0 });
    this.text = el("input", { placeholder: "Message", ariaLabel: "Message", maxLength: 300, autocomplete: "off" });
    this.say = el("button", { textContent: "Send", className: "main" });
    this.problem = el("p", { className: "problem", role: "alert" });
    const who = el("form", { className: "row", onsubmit: (event) => {
      event.preventDefault();
      if (this.stream) this.leave();
      else this.join();
    } }, this.name, this.toggle);
    const compose = el("form", { className: "row", onsubmit: (event) => {
      event.preventDefault();
      if (!this.text.value) return;
      this.try(link.call("say", { name: this.name.value, text: this.text.value }).then(() => { this.text.value = ""; }));
    } }, this.text, this.say);
    this.node = el("section", { className: "panel seat", ariaLabel: `Seat of ${name}` }, who, this.here, this.log, compose, this.problem);
    this.show();
  }

  join() {
    this.wanted = true;
    this.log.replaceChildren();
    this.problem.textContent = "";
    const stream = (this.stream = this.link.stream("join", { name: this.name.value }, (item) => this.receive(item)));
    stream.answer.catch((error) => {
      if (this.stream !== stream) return;
      this.stream = null;
      this.wanted = error instanceof Lost;
      if (!this.wanted) this.problem.textContent = error.message;
      this.show();
    });
    this.show();
  }

  leave() {
    this.wanted = false;
    this.stream.cancel();
    this.stream = null;
    this.show();
  }

  receive({ here, name, text }) {
    if (here) {
      this.here.replaceChildren(...here.map((each) => el("li", { textContent: each, className: each === this.name.value ? "me" : "" })));
      return;
    }
    this.log.append(el("li", {}, el("b", { textContent: name }), ` ${text}`));
    while (this.log.childElementCount > KEEP) this.log.firstElementChild.remove();
    this.log.scrollTop = this.log.scrollHeight;
  }

  show() {
    const joined = this.stream !== null;
    this.node.dataset.joined = joined;
    this.toggle.textContent = joined ? "Leave" : "Join";
    this.name.readOnly = joined;
    this.text.disabled = this.say.disabled = !joined;
    if (!joined) this.here.replaceChildren(el("li", { textContent: this.wanted ? "connecting" : "not joined", className: "nobody" }));
  }

  async try(answer) {
    this.problem.textContent = "";
    try {
      await answer;
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }
}

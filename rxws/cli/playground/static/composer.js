// Choose a pipeline: an example, or steps with their parameters. Shows its code.

import { $, el } from "./dom.js";

export class Composer {
  constructor(onChange) {
    this.onChange = onChange;
    this.preset = null; // the chosen example, unless it was changed since
    this.steps = [];
    this.options = {};
    $("add").onclick = () => {
      this.steps.push({ name: this.catalogue.steps[0].name });
      this.show();
      $("steps").lastElementChild.querySelector("select").focus();
      this.changed();
    };
    $("copy").onclick = async () => {
      try {
        await navigator.clipboard.writeText(this.code);
        $("copy").textContent = "Copied";
      } catch {
        getSelection().selectAllChildren($("code")); // no permission: the user can copy the selection
        $("copy").textContent = "Selected";
      }
      setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
    };
  }

  use(catalogue) {
    this.catalogue = catalogue;
    $("presets").replaceChildren(...catalogue.presets.map((preset) =>
      el("button", { type: "button", textContent: preset.title, "aria-pressed": "false", onclick: () => this.choose(preset) })));
  }

  choose(preset) {
    this.preset = preset;
    this.steps = preset.steps.map((step) => ({ ...step }));
    this.options = { ...preset.options };
    this.show();
    this.onChange(preset);
  }

  changed() {
    this.preset = null;
    this.show(false);
    this.onChange(null);
  }

  show(fields = true) {
    const { preset } = this;
    if (preset) $("options").parentElement.open = Object.keys(preset.options).length > 0;
    for (const button of $("presets").children) button.setAttribute("aria-pressed", String(button.textContent === preset?.title));
    $("about").textContent = preset?.about ?? "Your own pipeline. Each step gets what the one above it emits.";
    if (fields) {
      $("steps").replaceChildren(...this.steps.map((step, i) => this.field(step, i)));
      $("options").replaceChildren(...this.inputs(this.catalogue.options, this.options, "option"));
    }
    $("add").disabled = this.steps.length >= this.catalogue.max_steps;
  }

  field(step, i) {
    const known = this.catalogue.steps.find(({ name }) => name === step.name);
    const select = el("select", { "aria-label": `Step ${i + 1}`, onchange: () => {
      this.steps[i] = { name: select.value };
      this.show();
      $("steps").children[i].querySelector("select").focus();
      this.changed();
    } }, ...this.catalogue.steps.map(({ name, title }) => el("option", { value: name, textContent: title, selected: name === step.name })));
    const remove = el("button", { type: "button", className: "quiet", textContent: "✕", ariaLabel: `Remove step ${i + 1}, ${known.title}`, title: "Remove", onclick: () => {
      this.steps.splice(i, 1);
      this.show();
      ($("steps").children[Math.min(i, this.steps.length - 1)]?.querySelector("select") ?? $("add")).focus();
      this.changed();
    } });
    const item = el("li", {}, el("div", { className: "row" }, select, remove), el("p", { className: "note", textContent: known.about }), ...this.inputs(known.parameters, step, `step ${i + 1}`));
    item.dataset.colour = (i % 5) + 1;
    return item;
  }

  inputs(parameters, values, owner) {
    return Object.entries(parameters).map(([name, parameter]) => {
      const value = values[name] ?? parameter.default;
      const input = parameter.kind === "choice"
        ? el("select", {}, ...Object.entries(parameter.choices).map(([value_, textContent]) => el("option", { value: value_, textContent, selected: value_ === value })))
        : el("input", { value, type: parameter.kind, ...(parameter.kind === "number" ? { min: parameter.low, max: parameter.high, step: "any" } : { maxLength: parameter.longest }) });
      input.setAttribute("aria-label", `${owner}: ${parameter.label}${parameter.unit ? ` in ${parameter.unit}` : ""}`);
      input.onchange = () => {
        // An empty field of a number is sent as null, which the server explains.
        values[name] = parameter.kind === "number" ? (input.value === "" ? null : Number(input.value)) : input.value;
        this.changed();
      };
      return el("label", { className: "parameter" }, el("span", { textContent: parameter.label }), input, el("span", { textContent: parameter.unit ?? "" }));
    });
  }

  showCode(code) {
    this.code = code;
    const token = /(?<s>[fr]?"""[\s\S]*?"""|f?"(?:[^"\\\n]|\\.)*")|(?<c>#.*)|(?<d>^@[\w.]+)|\b(?<k>from|import|async|await|def|class|return|if|not|lambda|for|in|yield|and|is|None)\b/gm;
    const parts = [];
    let at = 0;
    for (const match of code.matchAll(token)) {
      const [className] = Object.entries(match.groups).find(([, text]) => text);
      parts.push(code.slice(at, match.index), el("span", { className, textContent: match[0] }));
      at = match.index + match[0].length;
    }
    $("code").replaceChildren(...parts, code.slice(at));
  }
}

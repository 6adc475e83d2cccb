// The tools above a table of frames. Each change replaces the whole table, including this script.
// Therefore the user's settings are stored in the window, under the table's id.
(() => {
  const ID = "%ID%";
  const tables = (window.rxwsFrames ??= {});
  const state = (tables[ID] ??= {
    filter: "", dir: "", cleared: 0, open: new Set(), paused: false, body: null, anchor: null,
    input: null, focused: false, height: 0,
  });
  for (const root of document.querySelectorAll(`[data-rxws-frames="${ID}"]`)) {
    if (!root.rxwsReady) {
      root.rxwsReady = true;
      start(root);
    }
  }

  function start(root) {
    const scroll = root.querySelector(".rxws-scroll");
    const table = scroll.querySelector("table");
    let newest = table.tBodies[0];
    const make = (name, properties, ...children) => {
      const element = Object.assign(document.createElement(name), properties);
      element.append(...children);
      return element;
    };

    // --- rows: which are visible, and which are unfolded ---

    const number = (row) => Number(row.dataset.n);
    const folds = (row) => [...row.querySelectorAll("details")];

    function matcher() {
      const text = state.filter;
      const [, pattern, flags] = text.match(/^\/(.+)\/([imsu]*)$/s) ?? [];
      if (pattern === undefined) {
        const part = text.toLowerCase();
        return (row) => row.lastElementChild.textContent.toLowerCase().includes(part);
      }
      const regex = new RegExp(pattern, flags);
      return (row) => regex.test(row.lastElementChild.textContent);
    }

    function filterRows() {
      let matches = () => true;
      input.removeAttribute("aria-invalid");
      try {
        if (state.filter) matches = matcher();
      } catch {
        input.setAttribute("aria-invalid", "true"); // not a regular expression, or not complete yet
      }
      const rows = [...table.tBodies[0].rows];
      let shown = 0;
      for (const row of rows) {
        const hidden = number(row) <= state.cleared
          || (state.dir !== "" && !row.classList.contains(state.dir)) || !matches(row);
        row.classList.toggle("rxws-hidden", hidden);
        shown += !hidden;
      }
      // Keep the height that the table has without a filter, so that the page below does not move.
      if (shown === rows.length) {
        scroll.style.minHeight = "";
        state.height = scroll.offsetHeight;
      } else {
        scroll.style.minHeight = `${state.height}px`;
      }
      const behind = [...newest.rows].filter((row) => number(row) > number(rows.at(-1) ?? row));
      const more = behind.length < newest.rows.length ? "" : "more than ";
      count.textContent = [
        input.hasAttribute("aria-invalid") && "not a regular expression",
        shown < rows.length && `${shown} of ${rows.length} shown`,
        state.paused && "paused",
        state.paused && behind.length && `${more}${behind.length} newer`,
      ].filter(Boolean).join(", ");
    }

    function unfold() {
      for (const row of table.tBodies[0].rows) {
        for (const [index, fold] of folds(row).entries()) {
          if (state.open.has(`${row.dataset.n}/${index}`)) fold.open = true;
        }
      }
    }

    scroll.addEventListener("toggle", ({ target }) => {
      const row = target.closest("tr");
      const key = `${row.dataset.n}/${folds(row).indexOf(target)}`;
      if (target.open) state.open.add(key);
      else state.open.delete(key);
    }, true);

    // --- scrolling: stay at the newest row, or where the user scrolled to ---

    const top = (row) => row.getBoundingClientRect().top - scroll.getBoundingClientRect().top;

    function hold(row) {
      // scrollTop is 0 at the newest row and negative above it.
      state.anchor = row ? { n: number(row), top: top(row) } : null;
    }

    function restore() {
      const { anchor } = state;
      if (anchor === null) {
        scroll.scrollTop = 0;
        return;
      }
      const rows = [...table.tBodies[0].rows].filter((row) => row.offsetParent !== null);
      const row = rows.find((each) => number(each) >= anchor.n);
      if (row) scroll.scrollTop += top(row) - (number(row) === anchor.n ? anchor.top : 0);
    }

    scroll.addEventListener("scroll", () => {
      if (!root.isConnected) return;
      const edge = scroll.getBoundingClientRect().top + table.tHead.offsetHeight;
      const rows = [...table.tBodies[0].rows];
      hold(scroll.scrollTop > -4 ? null
        : rows.find((row) => row.getBoundingClientRect().bottom > edge));
    });

    // --- presses: on pointerdown, as a redraw may replace the element before pointerup ---

    function press(element, action) {
      element.addEventListener("pointerdown", (event) => {
        if (event.button === 0 && event.pointerType !== "touch") {
          element.rxwsPressed = true;
          action(event);
        }
      });
      element.addEventListener("click", (event) => {
        event.preventDefault();
        if (!element.rxwsPressed) action(event); // from the keyboard or a touch
        element.rxwsPressed = false;
      });
    }

    function flip(summary) {
      const row = summary.closest("tr");
      const before = top(row);
      summary.parentElement.open = !summary.parentElement.open;
      scroll.scrollTop += top(row) - before; // keep the pressed row in place
    }

    function listen(body) {
      if (body.rxwsReady) return;
      body.rxwsReady = true;
      for (const summary of body.querySelectorAll("summary")) press(summary, () => flip(summary));
    }

    // --- the toolbar ---

    const input = make("input", {
      type: "search", placeholder: "filter: text or /regex/", value: state.filter, spellcheck: false,
    });
    input.setAttribute("aria-label", "Filter frames: text or /regular expression/");
    input.addEventListener("input", () => {
      state.filter = input.value;
      filterRows();
      restore();
    });
    input.addEventListener("keydown", (event) => event.stopPropagation()); // no notebook shortcuts
    input.addEventListener("focus", () => { state.focused = true; });
    input.addEventListener("blur", () => setTimeout(() => {
      // If a redraw replaced the input, the new one takes the focus: keep `focused`.
      if (input.isConnected && document.activeElement !== input) state.focused = false;
    }));

    const directions = [["", "all", "All frames"], ["in", "↓", "Received"], ["out", "↑", "Sent"]];
    const buttons = directions.map(([dir, label, title]) => {
      const button = make("button", { type: "button", title, className: dir }, label);
      press(button, () => { state.dir = dir; draw(); restore(); });
      return button;
    });
    const pause = make("button", { type: "button", title: "Pause the table; frames are still recorded" });
    press(pause, () => {
      state.paused = !state.paused;
      state.body = state.paused ? table.tBodies[0] : null;
      show();
    });
    const clear = make("button", { type: "button", title: "Hide the current rows" }, "clear");
    press(clear, () => {
      state.cleared = Math.max(0, ...[...table.tBodies[0].rows].map(number));
      state.anchor = null;
      draw();
    });
    const count = make("span", { className: "rxws-count" });
    root.querySelector(".rxws-head").append(
      make("div", { className: "rxws-tools" },
        input, make("div", { className: "rxws-dirs" }, ...buttons), pause, clear, count));

    function draw() {
      for (const [index, button] of buttons.entries()) {
        button.setAttribute("aria-pressed", String(directions[index][0] === state.dir));
      }
      pause.textContent = state.paused ? "resume" : "pause";
      pause.setAttribute("aria-pressed", String(state.paused));
      filterRows();
    }

    function show() {
      const body = state.paused ? state.body : newest;
      if (table.tBodies[0] !== body) table.tBodies[0].replaceWith(body);
      listen(body);
      unfold();
      draw();
      restore();
    }

    const before = state.input;
    state.input = input;
    show();
    const elsewhere = document.activeElement !== null && document.activeElement !== document.body
      && !document.activeElement.contains(root);
    if (state.focused && before !== null && !before.isConnected) {
      state.focused = !elsewhere;
      if (state.focused) {
        input.focus({ preventScroll: true });
        input.setSelectionRange(
          before.selectionStart, before.selectionEnd, before.selectionDirection);
      }
    }
  }
})();

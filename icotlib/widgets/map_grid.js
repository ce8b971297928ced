// The map of `icotlib.widgets.map_grid.MapGrid`: an ARIA grid with one cell in the tab order.

// Milliseconds that an arrow key's cell waits, so that a held key asks the kernel once.
const WAIT = 120;

function element(name, attributes, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function render({ model, el }) {
  let buttons = []; // by layer and position
  let current = model.get("selected");
  let timer = null;

  function draw() {
    const [rows, columns, cells] = ["rows", "columns", "cells"].map((name) => model.get(name));
    const focused = el.contains(document.activeElement);
    const table = element("table", { role: "grid", "aria-label": model.get("title") });
    table.append(element("caption", {}, model.get("title")));
    buttons = cells.map((row) => row.map((cell) => {
      const label = { role: "gridcell", "aria-label": cell.label, title: cell.label };
      const made = element("td", label, cell.text);
      made.style.backgroundColor = cell.colour;
      made.style.color = cell.ink;
      return made;
    }));
    for (let layer = rows.length - 1; layer >= 0; layer--) { // the lowest layer at the bottom
      const line = element("tr", { role: "row" });
      line.append(element("th", { role: "rowheader", scope: "row" }, rows[layer]));
      line.append(...buttons[layer]);
      table.append(line);
      buttons[layer].forEach((cell, position) => {
        cell.addEventListener("click", () => choose(layer, position, 0));
      });
    }
    const names = element("tr", { role: "row" });
    names.append(element("td", { role: "gridcell" }, ""));
    for (const name of columns) {
      names.append(element("th", { role: "columnheader", scope: "col" }, name));
    }
    table.append(names);
    table.addEventListener("keydown", press);
    el.replaceChildren(table);
    mark(focused);
  }

  function mark(focus) {
    buttons.forEach((row, layer) => row.forEach((cell, position) => {
      const chosen = layer === current[0] && position === current[1];
      cell.setAttribute("aria-selected", String(chosen));
      cell.tabIndex = chosen ? 0 : -1;
      if (chosen && focus) cell.focus();
    }));
  }

  function choose(layer, position, wait) {
    current = [layer, position];
    mark(true);
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      model.set("selected", current);
      model.save_changes();
    }, wait);
  }

  function press(event) {
    let [layer, position] = current;
    const [top, last] = [buttons.length - 1, buttons[0].length - 1];
    const moves = {
      ArrowUp: [layer + 1, position],
      ArrowDown: [layer - 1, position],
      ArrowLeft: [layer, position - 1],
      ArrowRight: [layer, position + 1],
      Home: [layer, 0],
      End: [layer, last],
      PageUp: [top, position],
      PageDown: [0, position],
      Enter: current,
      " ": current,
    };
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    [layer, position] = moves[event.key];
    layer = Math.min(Math.max(layer, 0), top);
    position = Math.min(Math.max(position, 0), last);
    choose(layer, position, event.key.startsWith("Arrow") ? WAIT : 0);
  }

  function follow() {
    if (timer !== null) return; // its user is ahead of the kernel
    current = model.get("selected");
    mark(false);
  }

  el.classList.add("icot-map");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // arrows are JupyterLab's elsewhere
  model.on("change:cells", draw);
  model.on("change:selected", follow);
  draw();
  return () => {
    clearTimeout(timer);
    model.off("change:cells", draw);
    model.off("change:selected", follow);
  };
}

export default { render };

// The slider of `icotlib.widgets.stage_slider.StageSlider`: the browser's own, with a name and, at
// every position, words for it.

let made = 0;

function render({ model, el }) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.id = `icot-stage-slider-${made += 1}`;
  input.type = "range";
  input.min = 0;
  input.step = 1;
  label.htmlFor = input.id;

  function say() {
    input.setAttribute("aria-valuetext", model.get("labels")[Number(input.value)] ?? "");
  }

  function draw() {
    label.textContent = model.get("description");
    input.max = model.get("labels").length - 1;
    input.value = model.get("index");
    say();
  }

  input.addEventListener("input", say); // while it is dragged
  input.addEventListener("change", () => {
    model.set("index", Number(input.value));
    model.save_changes();
  });
  // JupyterLab takes arrow keys for its own commands where a cell is selected.
  input.addEventListener("keydown", (event) => event.stopPropagation());
  model.on("change:index", draw);
  model.on("change:labels", draw);
  draw();
  const box = document.createElement("div");
  box.className = "icot-stage-slider";
  box.dataset.lmSuppressShortcuts = "true";
  box.append(label, input);
  el.append(box);
}

export default { render };

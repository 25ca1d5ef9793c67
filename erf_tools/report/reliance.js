// --- Reliance: one image under all suppressions, and what networks answer to them ----------------

const LEAST_TOP = 1.05;

function relianceTable({ measures, networks }) {
  const estimate = ([value, low, high], digits) => `${fixed(value, digits)}${range(low, high, digits)}`;
  return table([
    { title: "Model", value: ({ label }) => label },
    {
      title: "Accuracy, unchanged",
      value: ({ accuracy }) => accuracy[0],
      text: ({ accuracy, low }) => `${estimate(accuracy, 2)}${low ? " LOW" : ""}`,
    },
    ...measures.map((title, index) => ({
      title: title[0].toUpperCase() + title.slice(1),
      value: ({ profile, low }) => (low ? null : profile[index][0]),
      text: ({ profile, low }) => (low ? NONE : estimate(profile[index], 2)),
    })),
  ], networks, "Reliance of each network", true);
}

function relianceCurves(id, { networks, suppressions }, chosen) {
  const { title, strengths } = suppressions[chosen];
  const shown = networks.filter(({ low }) => !low)
    .map(({ label, curves }, index) => ({ label, index, curve: curves[chosen] }));
  const ends = shown.flatMap(({ curve }) => curve.flatMap(([, value, , high]) => [value, high]));
  const top = Math.max(LEAST_TOP, ...ends.filter(known)) * 1.02;
  const draw = (width) => {
    const height = clamp(width * 0.5, 240, 360);
    const last = strengths.length - 1;
    const grid = axes(width, height, { left: 46, right: 16, top: 30, bottom: 42 },
      { low: 0, high: last, ticks: strengths.map((_, place) => place), title: "strength (0: unchanged)" },
      { low: 0, high: top, ticks: linearTicks(0, top, 5), title: "relative accuracy" });
    const shapes = [...grid.shapes];
    const points = [];
    shown.forEach(({ label, index, curve }) => {
      const beside = (index - (shown.length - 1) / 2) * Math.min(3, 24 / shown.length);
      const places = curve.map((values, place) => [grid.across(place) + beside, values]).filter(([, values]) => known(values[1]));
      shapes.push(shape("path", { class: `stroke ${series(index)}`,
        d: places.map(([x, [, value]], order) => `${order ? "L" : "M"}${x} ${grid.down(value)}`).join("") }));
      places.forEach(([x, [accuracy, value, low, high]], place) => {
        if (place && known(low)) shapes.push(line(x, grid.down(Math.max(low, 0)), x, grid.down(high), `stroke ${series(index)}`));
        shapes.push(symbol(SYMBOLS[index % SYMBOLS.length], `solid ${series(index)}`, x, grid.down(value)));
        points.push({ x, y: grid.down(value), lines: [label, strengths[place],
          `relative accuracy ${fixed(value, 2)}${place ? range(low, high, 2) : ""}`, `accuracy ${fixed(accuracy, 2)}`] });
      });
    });
    return { height, shapes, points };
  };
  byId(id).replaceChildren();
  plot(id, `Relative accuracy against the strength of the suppression: ${title}.`, draw);
  byId(id).append(legend(shown.map(({ label, index }) => ({ label, swatch: lineSwatch(series(index)) }))));
}

// An image that a slider takes through all strengths, with the answers of all networks to it.
function relianceStrip(found, place) {
  const { suppressions, networks, cell, change_labels: changeLabels } = found;
  const id = (part) => `reliance-${place}-${part}`;
  const choice = node("select", { id: id("suppression") },
    ...suppressions.map(({ title }, index) => node("option", { value: index }, title)));
  const slider = node("input", { type: "range", id: id("strength"), min: 0, step: 1, value: 0 });
  const said = node("output", { for: `${id("suppression")} ${id("strength")}` });
  const canvas = node("canvas", { width: cell, height: cell, role: "img" });
  const hint = node("figcaption", {});
  const answers = node("div", {});
  const sheet = new Image();
  const draw = () => {
    const [row, column] = [Number(choice.value), Number(slider.value)];
    const { title, strengths, changes } = suppressions[row];
    said.textContent = strengths[column];
    slider.setAttribute("aria-valuetext", strengths[column]);
    canvas.setAttribute("aria-label", `${found.example}: ${title}, ${strengths[column]}`);
    if (sheet.complete && sheet.naturalWidth) {
      canvas.getContext("2d").drawImage(sheet, column * cell, row * cell, cell, cell, 0, 0, cell, cell);
    }
    hint.replaceChildren(
      node("span", { class: "name" }, `${title}: ${strengths[column]}`),
      ...changeLabels.map((label, index) => node("span", { class: "reading" }, `${label}: ${fixed(changes[column][index], 2)}`)));
    answers.replaceChildren(table([
      { title: "Model", value: ({ label }) => label },
      { title: "Accuracy", value: ({ curves }) => curves[row][column][0], text: ({ curves }) => fixed(curves[row][column][0], 2) },
      {
        title: "Relative accuracy",
        value: ({ curves }) => curves[row][column][1],
        text: ({ curves, low }) => {
          const [, value, from, to] = curves[row][column];
          return low ? NONE : `${fixed(value, 2)}${column ? range(from, to, 2) : ""}`;
        },
      },
    ], networks, "Answers to images changed like this", false));
  };
  const choose = () => {
    const last = suppressions[Number(choice.value)].strengths.length - 1;
    slider.max = last;
    draw();
    relianceCurves(id("curves"), found, Number(choice.value));
  };
  sheet.addEventListener("load", draw);
  choice.addEventListener("change", choose);
  slider.addEventListener("input", draw);
  byId("reliance-list").append(
    node("h3", {}, found.label),
    relianceTable(found),
    node("div", { class: "controls", role: "group", "aria-label": "Which suppression is shown" },
      node("label", {}, "Suppression ", choice),
      node("label", { class: "wide" }, "Strength: ", said, slider)),
    node("div", { class: "grid beside" }, node("figure", {}, canvas, hint), answers),
    node("div", { id: id("curves") }));
  sheet.src = found.sheet;
  slider.value = 0;
  choose();
}

function buildReliance() {
  show("reliance", "Reliance");
  data.reliances.forEach(relianceStrip);
  listNotes("reliance-notes", [...new Set(data.reliances.flatMap(({ notes }) => notes))]);
}

// The charts: profiles, growth, intervals, shape bias, and one against the other.

const series = (index) => `s${index % 8}${index < 8 ? "" : ` dash${Math.floor(index / 8) % 4}`}`;
const SYMBOLS = [
  "M-4-4h8v8h-8z", "M0-5L5 4H-5z", "M0-6L5 0L0 6L-5 0z", "M0 5L5-4H-5z",
  "M-2-5h4v3h3v4h-3v3h-4v-3h-3v-4h3z", "M-5 0L4-5V5z", "M5 0L-4-5V5z", "M-4-5h8v10h-8z",
];
const CIRCLE = "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z";
const symbol = (d, classes, x, y) => shape("path", { class: classes, d, transform: `translate(${x} ${y})` });
const short = (text, width) => {
  const most = Math.max(Math.floor(width / 6.4), 4);
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
};

// `draw(width)` returns the height, shapes, and points [{x, y, lines}] in the order of the keys.
// With `across`, pointing chooses the nearest point by x alone.
function plot(id, label, draw, across) {
  const tip = node("div", { class: "tip", hidden: "" });
  const chart = shape("svg", { class: "chart", role: "img", "aria-label": label });
  const stage = node("div", {
    class: "plot", tabindex: "0", role: "application", "aria-label": `${label} Arrow keys read the values.`,
  }, chart, tip);
  byId(id).append(stage);
  let points = [];
  let chosen = -1;
  let ring = null;
  const choose = (index) => {
    if (ring) ring.remove();
    chosen = index;
    tip.hidden = index < 0;
    if (index < 0) return;
    const point = points[index];
    ring = point.ring || shape("circle", { class: "chosen", cx: point.x, cy: point.y, r: 8 });
    chart.append(ring);
    tip.replaceChildren(...point.lines.map((line) => node("span", {}, line)));
    const right = point.x > stage.clientWidth / 2;
    tip.style.left = right ? "" : `${point.x + 14}px`;
    tip.style.right = right ? `${stage.clientWidth - point.x + 14}px` : "";
    tip.style.top = `${Math.max(point.y - 20, 0)}px`;
  };
  let drawnWidth = 0;
  const redraw = () => {
    const width = stage.clientWidth;
    if (!width || width === drawnWidth) return;
    drawnWidth = width;
    const drawn = draw(width);
    ({ points } = drawn);
    ring = null;
    chart.setAttribute("viewBox", `0 0 ${width} ${drawn.height}`);
    chart.replaceChildren(...drawn.shapes);
    choose(-1);
  };
  stage.addEventListener("pointermove", (event) => {
    const bounds = chart.getBoundingClientRect();
    const distance = (point) => (across
      ? Math.abs(point.x - event.clientX + bounds.left)
      : Math.hypot(point.x - event.clientX + bounds.left, point.y - event.clientY + bounds.top));
    let best = -1;
    points.forEach((point, index) => {
      if (best < 0 || distance(point) < distance(points[best])) best = index;
    });
    choose(best >= 0 && distance(points[best]) < 28 ? best : -1);
  });
  stage.addEventListener("pointerleave", () => choose(-1));
  stage.addEventListener("blur", () => choose(-1));
  stage.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key === "Escape") choose(-1);
    else if (event.key === "Home") choose(0);
    else if (event.key === "End") choose(points.length - 1);
    else if (steps[event.key]) choose(clamp(chosen + steps[event.key], 0, points.length - 1));
    else return;
    if (chosen >= 0) announce(points[chosen].lines.join("; "));
    event.preventDefault();
  });
  new ResizeObserver(redraw).observe(stage);
  redraw();
  return stage;
}

const text = (x, y, content, anchor = "middle", classes = null) =>
  shape("text", { x, y, "text-anchor": anchor, class: classes }, content);
const line = (x1, y1, x2, y2, classes) => shape("line", { x1, y1, x2, y2, class: classes });

function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) {
    ticks.push(Number(value.toPrecision(12)));
  }
  return ticks;
}
function logTicks(low, high) {
  const ends = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const step = Math.max(Math.ceil((ends[1] - ends[0]) / 7), 1);
  const ticks = [];
  for (let power = ends[0]; power <= ends[1]; power += step) ticks.push(10 ** power);
  if (ticks.length > 2) return ticks;
  const finer = [1, 2, 5].flatMap((digit) => [-1, 0, 1, 2, 3, 4].map((power) => digit * 10 ** power));
  return finer.filter((value) => value >= low && value <= high).sort((a, b) => a - b);
}

// A frame of axes; `x` and `y` are {low, high, log, ticks, title}.
function axes(width, height, margin, x, y) {
  const scale = (axis, start, end) => {
    const warp = axis.log ? Math.log10 : (value) => value;
    const [low, high] = [warp(axis.low), warp(axis.high)];
    return (value) => start + ((end - start) * (warp(value) - low)) / (high - low || 1);
  };
  const across = scale(x, margin.left, width - margin.right);
  const down = scale(y, height - margin.bottom, margin.top);
  const [bottom, right] = [height - margin.bottom, width - margin.right];
  const shapes = [];
  for (const tick of x.ticks) {
    shapes.push(line(across(tick), margin.top, across(tick), bottom, "rule"),
      text(across(tick), bottom + 16, precise(tick)));
  }
  for (const tick of y.ticks || []) {
    shapes.push(line(margin.left, down(tick), right, down(tick), "rule"),
      text(margin.left - 6, down(tick) + 4, precise(tick), "end"));
  }
  shapes.push(line(margin.left, bottom, right, bottom, "axis"),
    text((margin.left + right) / 2, height - 6, x.title));
  if (y.title) {
    shapes.push(line(margin.left, margin.top, margin.left, bottom, "axis"),
      text(margin.left, margin.top - 12, y.title, "start"));
  }
  return { across, down, shapes, bottom, right };
}

const legend = (entries) => node("ul", { class: "legend" }, ...entries.map(({ label, swatch }) =>
  node("li", {}, shape("svg", { viewBox: "0 0 30 14", "aria-hidden": "true" }, ...swatch), label)));
const lineSwatch = (classes) => [shape("path", { class: `stroke ${classes}`, d: "M1 7H29" })];

function buildProfiles() {
  show("profiles", "Distance");
  const shown = data.erfs.filter(({ held }) => held);
  const far = Math.max(...shown.map(({ profile }) => profile.radius.at(-1)));
  const top = Math.max(...shown.map(({ profile }) => Math.max(...profile.mean)));
  const floor = Math.max(top * 1e-8, 1e-6);
  const lookUp = shown.map(({ profile }) => new Map(profile.radius.map((radius, index) => [radius, profile.mean[index]])));
  const radii = [...new Set(shown.flatMap(({ profile }) => profile.radius))].sort((a, b) => a - b);
  const values = (radius) => shown.map(({ label }, index) => {
    const value = lookUp[index].get(radius);
    return `${label}: ${known(value) ? times(value) : NONE}`;
  });
  const draw = (width) => {
    const height = clamp(width * 0.55, 280, 460);
    const grid = axes(width, height, { left: 52, right: 12, top: 30, bottom: 42 },
      { low: 0, high: far || 1, ticks: linearTicks(0, far || 1, width / 90), title: "distance from the unit's centre, px" },
      { low: floor, high: top * 1.6, log: true, ticks: logTicks(floor, top * 1.6), title: "influence, uniform map = 1" });
    const curves = shown.map(({ profile }, index) => shape("path", {
      class: `stroke ${series(index)}`,
      d: profile.radius.map((radius, place) =>
        `${place ? "L" : "M"}${grid.across(radius).toFixed(1)} ${grid.down(Math.max(profile.mean[place], floor)).toFixed(1)}`).join(""),
    }));
    // A step for each few pixels of the screen.
    const step = Math.max(Math.round((3 * far) / width), 1);
    const points = radii.filter((radius) => radius % step === 0).map((radius) => ({
      x: grid.across(radius), y: 40, lines: [`${radius} px from the centre`, ...values(radius)],
      ring: line(grid.across(radius), 30, grid.across(radius), grid.bottom, "chosen"),
    }));
    return { height, shapes: [...grid.shapes, ...curves], points };
  };
  plot("profile-plot", "Influence against distance from the unit's centre, a line per network.", draw, true);
  byId("profile-plot").append(
    legend(shown.map(({ label }, index) => ({ label, swatch: lineSwatch(series(index)) }))),
    asTable([
      { title: "Distance, px", value: (radius) => radius },
      ...shown.map(({ label }, index) => ({
        title: label, value: (radius) => lookUp[index].get(radius),
        text: (radius) => (lookUp[index].has(radius) ? precise(lookUp[index].get(radius)) : NONE),
      })),
    ], radii.filter((radius) => radius === 0 || Number.isInteger(Math.log2(radius))), "Influence against distance"));
}

function buildGrowth() {
  show("growth", "Growth");
  const longest = Math.max(...data.growth.map(({ points }) => points.length));
  const all = data.growth.flatMap(({ points }) => points);
  const sides = all.flatMap(({ effective_side: side, theoretical }) => [side, theoretical]).filter((value) => value > 0);
  const low = Math.min(...sides) * 0.8;
  const high = Math.max(...sides) * 1.25;
  const said = (label, point) => [label, point.layer,
    `side ${fixed(point.effective_side, 0)}${range(point.effective_side_low, point.effective_side_high, 0)} px`,
    `theoretical ${known(point.theoretical) ? `${fixed(point.theoretical, 0)} px` : "not limited, or not known"}`];
  const draw = (width) => {
    const height = clamp(width * 0.55, 280, 440);
    const counts = linearTicks(0, longest - 1, Math.min(longest - 1, 10)).filter(Number.isInteger);
    const grid = axes(width, height, { left: 52, right: 16, top: 30, bottom: 42 },
      { low: 0, high: longest - 1, ticks: counts, title: "measured layer (0: nearest to the image)" },
      { low, high, log: true, ticks: logTicks(low, high), title: "side, px" });
    const shapes = [...grid.shapes];
    const points = [];
    data.growth.forEach(({ label, points: own }, index) => {
      const path = (key) => own.map((point, place) => [place, point[key]]).filter(([, value]) => value > 0)
        .map(([place, value], order) => `${order ? "L" : "M"}${grid.across(place)} ${grid.down(value)}`).join("");
      shapes.push(shape("path", { class: `stroke ${series(index)} dotted`, d: path("theoretical") }),
        shape("path", { class: `stroke ${series(index)}`, d: path("effective_side") }));
      own.forEach((point, place) => {
        if (!(point.effective_side > 0)) return;
        const [x, y] = [grid.across(place), grid.down(point.effective_side)];
        if (point.effective_side_low > 0 && point.effective_side_high > 0) {
          shapes.push(line(x, grid.down(point.effective_side_low), x, grid.down(point.effective_side_high), `stroke ${series(index)}`));
        }
        shapes.push(symbol(SYMBOLS[index % 8], `solid ${series(index)}`, x, y));
        points.push({ x, y, lines: said(label, point) });
      });
    });
    return { height, shapes, points };
  };
  plot("growth-plot", "Side of the square with half of the influence, from layer to layer, a line per network.", draw);
  byId("growth-plot").append(
    legend(data.growth.map(({ label }, index) => ({ label, swatch: lineSwatch(series(index)) }))),
    asTable([
      { title: "Model", value: (row) => row.label },
      { title: "Layer", value: (row) => row.layer, word: true },
      { title: "Side, px", text: (row) => `${fixed(row.effective_side, 0)}${range(row.effective_side_low, row.effective_side_high, 0)}` },
      { title: "Theoretical, px", text: (row) => fixed(row.theoretical, 0) },
    ], data.growth.flatMap(({ label, points }) => points.map((point) => ({ label, ...point }))), "Growth through the layers"));
}

function buildScatter() {
  show("scatter", "ERF and shape bias");
  const shown = data.scatter.filter((point) => point.effective_side > 0 && known(point.shape_bias));
  const most = Math.max(...shown.map(({ effective_side: side, effective_side_high: high }) => Math.max(side, high || 0))) * 1.1;
  const said = (point) => [point.label,
    `side ${fixed(point.effective_side, 0)}${range(point.effective_side_low, point.effective_side_high, 0)} px of ${point.resolution}`,
    biasLine(point),
    ...(point.other_weights ? ["the two were measured with different weights"] : [])];
  const draw = (width) => {
    const height = clamp(width * 0.6, 300, 460);
    const grid = axes(width, height, { left: 52, right: 16, top: 30, bottom: 42 },
      { low: 0, high: most, ticks: linearTicks(0, most, width / 90), title: "side of the square with half of the influence, px" },
      { low: 0, high: 1, ticks: linearTicks(0, 1, 5), title: "shape bias" });
    const shapes = [...grid.shapes];
    const points = shown.map((point, index) => {
      const [x, y] = [grid.across(point.effective_side), grid.down(point.shape_bias)];
      const own = series(index);
      if (known(point.shape_bias_low)) shapes.push(line(x, grid.down(point.shape_bias_low), x, grid.down(point.shape_bias_high), `stroke ${own}`));
      if (known(point.effective_side_low)) shapes.push(line(grid.across(point.effective_side_low), y, grid.across(point.effective_side_high), y, `stroke ${own}`));
      const right = x > width * 0.6;
      shapes.push(symbol(SYMBOLS[index % 8], `${point.trained ? "solid" : "hollow"} ${own}`, x, y),
        text(right ? x - 10 : x + 10, y - 8, short(point.label, width * 0.5), right ? "end" : "start"));
      return { x, y, lines: said(point) };
    });
    return { height, shapes, points };
  };
  plot("scatter-plot", "Shape bias against the size of the effective receptive field, a mark per network.", draw);
  byId("scatter-plot").append(asTable([
    { title: "Model", value: (point) => point.label },
    { title: "Input", value: (point) => point.resolution },
    { title: "Side, px", text: (point) => `${fixed(point.effective_side, 0)}${range(point.effective_side_low, point.effective_side_high, 0)}` },
    { title: "Shape bias", text: (point) => `${fixed(point.shape_bias, 3)}${range(point.shape_bias_low, point.shape_bias_high, 3)}` },
    { title: "Weights", text: (point) => (point.other_weights ? "different" : "the same"), word: true },
  ], data.scatter, "ERF and shape bias"));
}

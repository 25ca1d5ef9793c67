// What charts are made of.

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

// `draw(width)` returns axes with all shapes, and points [{x, y, lines}] in the order of the keys.
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

// A frame of axes, for shapes and points; `x` and `y` are {low, high, log, ticks, title}.
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
  return { across, down, height, shapes, points: [], bottom, right };
}

const legend = (entries) => node("ul", { class: "legend" }, ...entries.map(({ label, swatch }) =>
  node("li", {}, shape("svg", { viewBox: "0 0 30 14", "aria-hidden": "true" }, ...swatch), label)));
const lineLegend = (networks) => legend(networks.map(({ label }, index) =>
  ({ label, swatch: [shape("path", { class: `stroke ${series(index)}`, d: "M1 7H29" })] })));

// An axis of the layers of networks, which may not be ordered: then it says how they are instead.
function layerAxis(networks, otherwise = "in the order of the results") {
  const last = Math.max(...networks.map(({ points }) => points.length), 2) - 1;
  const ticks = linearTicks(0, last, Math.min(last, 10)).filter(Number.isInteger);
  const order = networks.every(({ ordered = true }) => ordered) ? "0: nearest to the image" : otherwise;
  return { low: 0, high: last, ticks, title: `measured layer (${order})` };
}

// A chart of lines with marks: each of `curves` is {classes, mark, places, aside}, with places
// {x, y, ends, lines} in the units of the axes, and moved aside by some pixels. Without a mark it is a
// line alone. `size` is height by width, least and most; `y` may have a dashed level.
function linePlot(id, label, size, x, y, curves) {
  plot(id, label, (width) => {
    const height = clamp(width * size[0], size[1], size[2]);
    const grid = axes(width, height, { left: x.left || 52, right: 16, top: 30, bottom: 42 }, x, y);
    if (known(y.level)) grid.shapes.push(line(52, grid.down(y.level), grid.right, grid.down(y.level), "axis dash1"));
    for (const { classes, mark, places, aside = 0 } of curves) {
      const at = places.map((place) => ({ ...place, x: grid.across(place.x) + aside, y: grid.down(place.y) }));
      const d = at.map((place, order) => `${order ? "L" : "M"}${place.x} ${place.y}`).join("");
      grid.shapes.push(shape("path", { class: `stroke ${classes}`, d }));
      for (const place of mark ? at : []) {
        const [low, high] = (place.ends || []).map(grid.down);
        if (place.ends) grid.shapes.push(line(place.x, low, place.x, high, `stroke ${classes}`));
        grid.shapes.push(symbol(mark, `solid ${classes}`, place.x, place.y));
        grid.points.push(place);
      }
    }
    return grid;
  });
}

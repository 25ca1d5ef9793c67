"use strict";
// Data become text nodes and attribute values only, never markup: names may hold anything.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // --- Elements ---------------------------------------------------------------------------------

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }
  const node = (tag, attributes, ...children) =>
    fill(document.createElement(tag), attributes, children);
  const shape = (tag, attributes, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);

  const NONE = "\u2013";
  const known = (value) => value !== null && value !== undefined;
  const fixed = (value, digits) => (known(value) ? value.toFixed(digits) : NONE);
  const percent = (value, digits = 2) => (known(value) ? `${(100 * value).toFixed(digits)}\u00a0%` : NONE);
  const precise = (value) =>
    value === 0 ? "0" : value >= 1000 || value < 1e-3
      ? value.toExponential(1).replace(".0e", "e").replace("e+", "e")
      : String(Number(value.toPrecision(3)));
  const times = (value) => `${precise(value)} \u00d7`;
  const range = (low, high, digits) =>
    known(low) && known(high) ? ` [${fixed(low, digits)}, ${fixed(high, digits)}]` : "";
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const announce = (text) => { byId("announcement").textContent = text; };

  function show(id, title) {
    byId(id).hidden = false;
    byId("contents").append(node("li", {}, node("a", { href: `#${id}` }, title)));
  }

  // --- Tables -----------------------------------------------------------------------------------

  // Columns: title, value (what is sorted by), text (what is shown), word (left-aligned).
  function table(columns, rows, caption, sortable) {
    const body = node("tbody");
    const heads = columns.map((column) => node("th", { scope: "col", class: column.word && "word" }));
    const fillBody = (order) => body.replaceChildren(...order.map((row) => node("tr", {},
      ...columns.map((column, index) => {
        const text = column.text ? column.text(row) : known(column.value(row)) ? String(column.value(row)) : NONE;
        return index === 0
          ? node("th", { scope: "row" }, text)
          : node("td", { class: column.word && "word" }, text);
      }))));
    const sortBy = (index) => {
      const rising = heads[index].getAttribute("aria-sort") !== "ascending";
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      heads[index].setAttribute("aria-sort", rising ? "ascending" : "descending");
      const value = columns[index].value;
      fillBody([...rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (!known(a) || !known(b)) return Number(known(b)) - Number(known(a));
        const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
        return rising ? order : -order;
      }));
    };
    columns.forEach((column, index) => {
      if (!sortable) return heads[index].append(column.title);
      const button = node("button", { type: "button" }, column.title);
      button.addEventListener("click", () => sortBy(index));
      return heads[index].append(button);
    });
    fillBody(rows);
    return node("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      node("table", {}, node("caption", { class: "unseen" }, caption),
        node("thead", {}, node("tr", {}, ...heads)), body));
  }

  const asTable = (columns, rows, caption) =>
    node("details", {}, node("summary", {}, "The same as a table"), table(columns, rows, caption, false));

  const listNotes = (id, notes) => byId(id).append(...notes.map((note) => node("li", {}, note)));

  // --- Maps -------------------------------------------------------------------------------------

  const DISPLAYS = {
    linear: (value) => value,
    log: (value) => Math.log10(value + 1),
    power: (value) => value ** 0.2,
  };
  const state = { threshold: 50, display: "log", cursor: null, zoom: 1, top: 0, left: 0 };
  const frames = new Set();

  function decode(picture) {
    const bytes = atob(picture.codes);
    const buffer = new Uint8Array(bytes.length);
    for (let index = 0; index < bytes.length; index += 1) buffer[index] = bytes.charCodeAt(index);
    const step = (picture.high - picture.low) / 65534;
    const values = new Float64Array(65536);
    for (let code = 1; code < 65536; code += 1) values[code] = 10 ** (picture.low + (code - 1) * step);
    picture.codes = new Uint16Array(buffer.buffer);
    picture.values = values;
  }
  const peak = Math.max(1, ...data.erfs.map(({ picture }) => 10 ** picture.high));

  const packed = (colours) =>
    Uint32Array.from(colours, ([red, green, blue]) => (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0);
  const mapColours = packed(data.colours.map);
  const differenceColours = packed(data.colours.difference);
  const colourIndex = (share) => Math.round(255 * clamp(share, 0, 1));

  // As erf_tools.erf.measures.cut_square does, on the library's own shares.
  function smallestSquare(erf, percentage) {
    if (!erf.held) return null;
    const reach = erf.held.findIndex((share) => share > percentage / 100);
    const [[top, bottom], [left, right]] = erf.resolution.map((length, axis) => {
      const middle = erf.doubled_centre[axis];
      return [
        Math.max(Math.floor((middle + 1) / 2) - reach, 0),
        Math.min(Math.floor(middle / 2) + reach + 1, length),
      ];
    });
    const area = (bottom - top) * (right - left);
    return { top, bottom, left, right, ratio: area / (erf.resolution[0] * erf.resolution[1]) };
  }

  const valueAt = (erf, row, column) => {
    const { picture } = erf;
    const place = Math.floor(row / picture.block) * picture.columns + Math.floor(column / picture.block);
    return picture.values[picture.codes[place]];
  };

  const box = (kind, [top, bottom, left, right]) =>
    ["halo", kind].map((name) => shape("rect",
      { class: name, x: left, y: top, width: right - left, height: bottom - top }));

  class Frame {
    // `erfs`: one, or two whose difference is shown.
    constructor(erfs) {
      this.erfs = erfs;
      [this.erf] = erfs;
      this.difference = erfs.length > 1;
      const { picture, resolution: [height, width] } = this.erf;
      this.canvas = node("canvas", { width: picture.columns, height: picture.rows, role: "img" });
      this.overlay = shape("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
      this.square = node("span", { class: "ratio" });
      this.reading = node("span", { class: "reading" }, "\u00a0");
      const title = this.difference
        ? `${erfs[0].label} minus ${erfs[1].label}` : this.erf.label;
      this.frame = node("div", {
        class: this.difference ? "frame difference" : "frame", tabindex: "0", role: "application",
        "aria-label": `Map of ${title}`, "aria-describedby": "map-help",
      }, this.canvas, this.overlay);
      this.frame.style.aspectRatio = `${width} / ${height}`;
      const caption = node("figcaption", {}, node("span", { class: "name" }, title));
      if (!this.difference) {
        caption.append(this.square,
          node("span", {}, `theoretical reach: ${this.erf.theoretical_size}; input ${height}x${width}`));
      }
      caption.append(this.reading);
      this.element = node("figure", {}, this.frame, caption);
      this.listen();
      frames.add(this);
      this.paint();
      this.place();
      this.mark();
    }

    listen() {
      const at = (event) => {
        const bounds = this.frame.getBoundingClientRect();
        return {
          y: clamp((event.clientY - bounds.top) / bounds.height, 0, 0.999999) / state.zoom + state.top,
          x: clamp((event.clientX - bounds.left) / bounds.width, 0, 0.999999) / state.zoom + state.left,
        };
      };
      let grip = null;
      this.frame.addEventListener("pointerdown", (event) => {
        if (state.zoom > 1) {
          grip = at(event);
          this.frame.setPointerCapture(event.pointerId);
        }
        moveCursor(at(event));
      });
      this.frame.addEventListener("pointermove", (event) => {
        if (grip) {
          const now = at(event);
          look(state.zoom, state.top + grip.y - now.y, state.left + grip.x - now.x);
        }
        moveCursor(at(event));
      });
      for (const kind of ["pointerup", "pointercancel"]) {
        this.frame.addEventListener(kind, () => { grip = null; });
      }
      this.frame.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse" && document.activeElement !== this.frame) moveCursor(null);
      });
      this.frame.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
        event.preventDefault();
        zoomBy(event.deltaY < 0 ? 2 : 0.5);
      }, { passive: false });
      this.frame.addEventListener("keydown", (event) => this.press(event));
    }

    press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { picture, resolution: [height, width] } = this.erf;
      const step = picture.block * (event.shiftKey ? 10 : 1);
      const start = state.cursor || { y: (this.erf.unit[0] + 0.5) / height, x: (this.erf.unit[1] + 0.5) / width };
      const moves = {
        ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step],
      };
      if (moves[event.key]) {
        const [down, across] = state.cursor ? moves[event.key] : [0, 0];
        const y = clamp(start.y + down / height, 0, 0.999999);
        const x = clamp(start.x + across / width, 0, 0.999999);
        const size = 1 / state.zoom;
        const top = y < state.top || y > state.top + size ? y - size / 2 : state.top;
        const left = x < state.left || x > state.left + size ? x - size / 2 : state.left;
        if (top !== state.top || left !== state.left) look(state.zoom, top, left);
        moveCursor({ y, x });
        announce(this.reading.textContent);
      } else if (event.key === "+" || event.key === "=") zoomBy(2);
      else if (event.key === "-") zoomBy(0.5);
      else if (event.key === "0") look(1, 0, 0);
      else if (event.key === "Escape") moveCursor(null);
      else return;
      event.preventDefault();
    }

    paint() {
      const display = DISPLAYS[state.display];
      const { codes, rows, columns } = this.erf.picture;
      const image = new ImageData(columns, rows);
      const pixels = new Uint32Array(image.data.buffer);
      const [shown, other] = this.erfs.map(({ picture }) => Float32Array.from(picture.values, display));
      if (this.difference) {
        const minus = this.erfs[1].picture.codes;
        let most = 0;
        for (let place = 0; place < codes.length; place += 1) {
          most = Math.max(most, Math.abs(shown[codes[place]] - other[minus[place]]));
        }
        for (let place = 0; place < codes.length; place += 1) {
          const difference = most ? (shown[codes[place]] - other[minus[place]]) / most : 0;
          pixels[place] = differenceColours[colourIndex(0.5 - difference / 2)];
        }
      } else {
        const most = display(peak);
        const table = Uint32Array.from(shown, (value) => mapColours[colourIndex(value / most)]);
        for (let place = 0; place < codes.length; place += 1) pixels[place] = table[codes[place]];
      }
      this.canvas.getContext("2d").putImageData(image, 0, 0);
    }

    place() {
      const { picture, resolution: [height, width] } = this.erf;
      const { style } = this.canvas;
      style.width = `${(100 * state.zoom * picture.columns * picture.block) / width}%`;
      style.height = `${(100 * state.zoom * picture.rows * picture.block) / height}%`;
      style.left = `${-100 * state.zoom * state.left}%`;
      style.top = `${-100 * state.zoom * state.top}%`;
      this.frame.classList.toggle("zoomed", state.zoom > 1);
      const view = [state.left * width, state.top * height, width / state.zoom, height / state.zoom];
      this.overlay.setAttribute("viewBox", view.join(" "));
    }

    mark() {
      const { resolution: [height, width], unit: [row, column], theoretical } = this.erf;
      const marks = [];
      if (!this.difference) {
        if (theoretical) marks.push(...box("theoretical", theoretical));
        const square = smallestSquare(this.erf, state.threshold);
        if (square) {
          marks.push(...box("square", [square.top, square.bottom, square.left, square.right]));
          this.square.dataset.ratio = square.ratio;
          const sides = `${square.bottom - square.top}x${square.right - square.left} px`;
          this.square.textContent =
            `${state.threshold} % within ${sides}: r = ${percent(square.ratio)}`;
        } else this.square.textContent = "the map is zero everywhere: there is no square";
        const arm = (0.022 * Math.min(width, height)) / state.zoom;
        const cross = `M${column + 0.5 - arm} ${row + 0.5}h${2 * arm}M${column + 0.5} ${row + 0.5 - arm}v${2 * arm}`;
        marks.push(shape("path", { class: "halo", d: cross }), shape("path", { class: "unit", d: cross }));
        this.canvas.setAttribute("aria-label",
          `Effective receptive field of ${this.erf.label}: ${this.square.textContent}; the unit's `
          + `centre is at row ${fixed(row, 0)}, column ${fixed(column, 0)} of ${height} rows and ${width} columns.`);
      } else {
        this.canvas.setAttribute("aria-label",
          `Difference between the maps of ${this.erfs[0].label} and ${this.erfs[1].label}.`);
      }
      this.drawn = marks;
      this.point();
    }

    point() {
      const { resolution: [height, width], picture: { block } } = this.erf;
      const marks = [...this.drawn];
      if (state.cursor) {
        const y = Math.floor(state.cursor.y * height);
        const x = Math.floor(state.cursor.x * width);
        marks.push(shape("path", {
          class: "cursor", d: `M0 ${y + 0.5}H${width}M${x + 0.5} 0V${height}`,
        }));
        const values = this.erfs.map((erf) => times(valueAt(erf, y, x)));
        const average = block > 1 ? ` (mean of ${block}x${block} px)` : "";
        this.reading.textContent =
          `row ${y}, column ${x}: ${values.join(" and ")} uniform${average}`;
      } else this.reading.textContent = "\u00a0";
      this.overlay.replaceChildren(...marks);
    }
  }

  function moveCursor(cursor) {
    state.cursor = cursor;
    frames.forEach((frame) => frame.point());
  }

  function look(zoom, top, left) {
    state.zoom = clamp(zoom, 1, 32);
    state.top = clamp(top, 0, 1 - 1 / state.zoom);
    state.left = clamp(left, 0, 1 - 1 / state.zoom);
    frames.forEach((frame) => { frame.place(); frame.mark(); });
  }

  function zoomBy(factor) {
    const half = 0.5 / state.zoom;
    const centre = state.cursor || (state.zoom > 1
      ? { y: state.top + half, x: state.left + half }
      : { y: (data.erfs[0].unit[0] + 0.5) / data.erfs[0].resolution[0],
        x: (data.erfs[0].unit[1] + 0.5) / data.erfs[0].resolution[1] });
    const zoom = clamp(state.zoom * factor, 1, 32);
    // What lies under the cursor stays there.
    const share = state.cursor
      ? { y: (centre.y - state.top) * state.zoom, x: (centre.x - state.left) * state.zoom }
      : { y: 0.5, x: 0.5 };
    look(zoom, centre.y - share.y / zoom, centre.x - share.x / zoom);
  }

  function drawScale() {
    const display = DISPLAYS[state.display];
    const canvas = node("canvas", { width: 256, height: 1, role: "img",
      "aria-label": `Colour scale from 0 (black) to ${times(peak)} a uniform map (pale yellow)` });
    const image = new ImageData(256, 1);
    new Uint32Array(image.data.buffer).set(mapColours);
    canvas.getContext("2d").putImageData(image, 0, 0);
    const bar = node("div", { class: "bar" }, canvas);
    let last = -1;
    for (const value of [0, 0.001, 0.01, 0.1, 1, 10, 100, 1000, 1e4, 1e5, 1e6]) {
      const share = display(value) / display(peak);
      if (share > 1 || share - last < 0.11) continue;
      last = share;
      const tick = node("span", { class: "tick" }, value >= 1e4 ? value.toExponential(0).replace("e+", "e") : String(value));
      tick.style.left = `${100 * share}%`;
      bar.append(tick);
    }
    bar.append(node("span", { class: "caption" }, "A: influence of a pixel, uniform map = 1"));
    byId("scale").replaceChildren(bar);
  }

  function drawMarks() {
    const sample = (kind, text, d) => node("li", {},
      shape("svg", { viewBox: "0 0 26 18", "aria-hidden": "true" },
        shape("path", { class: "halo", d }), shape("path", { class: kind, d })), text);
    byId("marks").append(
      sample("square", "smallest centred square with the chosen share", "M5 3h16v12h-16z"),
      sample("unit", "centre of the unit", "M13 4v10M8 9h10"),
      sample("theoretical", "theoretical reach, where it ends inside the image", "M4 3h18v12h-18z"),
    );
  }

  function buildMaps() {
    show("maps", "Maps");
    data.erfs.forEach(({ picture }) => decode(picture));
    drawScale();
    drawMarks();
    byId("map-grid").append(...data.erfs.map((erf) => new Frame([erf]).element));
    const slider = byId("threshold");
    const slide = () => {
      state.threshold = Number(slider.value);
      byId("share").textContent = `${state.threshold} %`;
      frames.forEach((frame) => frame.mark());
    };
    slider.addEventListener("input", slide);
    slide();
    byId("display").addEventListener("change", (event) => {
      state.display = event.target.value;
      drawScale();
      frames.forEach((frame) => frame.paint());
    });
    byId("zoom-in").addEventListener("click", () => zoomBy(2));
    byId("zoom-out").addEventListener("click", () => zoomBy(0.5));
    byId("zoom-reset").addEventListener("click", () => look(1, 0, 0));
  }

  function buildPair() {
    show("pair", "Side by side");
    const selects = [byId("first"), byId("second")];
    let shown = [];
    const change = () => {
      shown.forEach((frame) => frames.delete(frame));
      const pair = selects.map((select) => data.erfs[Number(select.value)]);
      const alike = pair[0].resolution.join() === pair[1].resolution.join();
      byId("pair-refusal").hidden = alike;
      shown = [new Frame([pair[0]]), new Frame([pair[1]]), ...(alike ? [new Frame(pair)] : [])];
      byId("pair-grid").replaceChildren(...shown.map((frame) => frame.element));
    };
    // At first the widest against the narrowest, where a pixel of one is a pixel of the other.
    const sorted = bySide();
    const begin = sorted.length > 1 ? [sorted.at(-1), sorted[0]] : data.erfs;
    selects.forEach((select, position) => {
      select.append(...data.erfs.map(({ label }, index) => node("option", { value: index }, label)));
      select.value = String(data.erfs.indexOf(begin[position]));
      select.addEventListener("change", change);
    });
    change();
  }

  // --- Charts -----------------------------------------------------------------------------------

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

  const biasLine = (maker) => `shape bias ${fixed(maker.shape_bias, 3)}${range(maker.shape_bias_low, maker.shape_bias_high, 3)}`;
  const coverageLine = (maker) =>
    `coverage ${fixed(maker.coverage, 3)}${maker.low_coverage ? ", LOW" : ""}: ${maker.shape} shape, ${maker.texture} texture, of ${maker.total}`;

  function buildIntervals() {
    const order = data.makers.filter((maker) => known(maker.shape_bias))
      .sort((one, other) => other.shape_bias - one.shape_bias);
    const draw = (width) => {
      const longest = Math.max(...order.map(({ label }) => label.length));
      const left = Math.min(longest * 6.6 + 14, width * 0.46);
      const height = 50 + 24 * order.length;
      const grid = axes(width, height, { left, right: 14, top: 4, bottom: 42 },
        { low: 0, high: 1, ticks: linearTicks(0, 1, (width - left) / 70), title: "shape bias (1: always shape)" },
        { low: order.length - 0.5, high: -0.5 });
      const shapes = [...grid.shapes];
      const points = order.map((maker, row) => {
        const [x, y] = [grid.across(maker.shape_bias), 16 + 24 * row];
        const own = maker.human ? "human" : "s0";
        if (known(maker.shape_bias_low)) {
          shapes.push(line(grid.across(maker.shape_bias_low), y, grid.across(maker.shape_bias_high), y, `stroke ${own}`));
        }
        const hollow = (maker.published && !maker.human) || maker.untrained;
        shapes.push(
          symbol(maker.human ? CIRCLE : SYMBOLS[0], `${hollow ? "hollow" : "solid"} ${own}`, x, y),
          text(left - 10, y + 4, short(maker.label, left - 12), "end", maker.human ? "people" : null));
        return { x, y, lines: [maker.label, biasLine(maker), coverageLine(maker)] };
      });
      return { height, shapes, points };
    };
    plot("interval-plot", "Shape bias of each decision maker with its 95 % interval, highest first; the table above has the numbers.", draw);
  }

  function buildMatrix() {
    const shown = data.makers.filter(({ observer }) => !observer);
    const networks = shown.filter(({ human }) => !human);
    const own = (index) => `s${[0, 2, 3, 4, 5, 6, 7][index % 7]}`; // s1 looks like the colour of people
    const drawing = (maker) => {
      const index = networks.indexOf(maker);
      const filled = maker.published || maker.untrained ? "hollow" : "solid";
      return maker.human
        ? { d: CIRCLE, classes: "solid human", line: "stroke human" }
        : { d: SYMBOLS[index % 8], classes: `${filled} ${own(index)}`, line: `stroke ${own(index)}` };
    };
    const draw = (width) => {
      const rows = data.categories.length;
      const height = 66 + 27 * rows;
      const margin = { left: 78, right: 16, top: 24, bottom: 42 };
      const grid = axes(width, height, margin,
        { low: 0, high: 1, ticks: linearTicks(0, 1, width / 110), title: "share of texture decisions" },
        { low: rows - 0.5, high: -0.5 });
      const shapes = [...grid.shapes,
        text(margin.left, 14, "\u2190 decided by shape", "start"), text(grid.right, 14, "by texture \u2192", "end")];
      data.categories.forEach((category, row) => {
        const y = grid.down(row);
        shapes.push(line(margin.left, y, grid.right, y, "rule"), text(margin.left - 10, y + 4, category, "end"));
      });
      const points = [];
      for (const maker of shown) {
        const { d, classes, line: stroke } = drawing(maker);
        if (known(maker.shape_bias)) {
          const x = grid.across(1 - maker.shape_bias);
          shapes.push(line(x, margin.top, x, grid.bottom, stroke));
        }
        maker.by_category.forEach(([byShape, byTexture, bias], row) => {
          if (!known(bias)) return;
          const [x, y] = [grid.across(1 - bias), grid.down(row)];
          shapes.push(symbol(d, classes, x, y));
          points.push({ x, y, lines: [maker.label, `${data.categories[row]}: ${percent(bias, 0)} by shape`,
            `${byShape} shape, ${byTexture} texture`] });
        });
      }
      return { height, shapes, points };
    };
    plot("matrix-plot", "Share of texture decisions by category, a mark per decision maker and category.", draw);
    byId("matrix-plot").append(
      legend(shown.map((maker) => {
        const { d, classes } = drawing(maker);
        return { label: maker.label, swatch: [symbol(d, classes, 15, 7)] };
      })),
      asTable([
        { title: "Decision maker", value: (maker) => maker.label },
        ...data.categories.map((category, row) => ({ title: category, text: (maker) => fixed(maker.by_category[row][2], 2) })),
      ], shown, "Share of shape decisions by category"));
  }

  function buildShapeBias() {
    show("shape-bias", "Shape bias");
    listNotes("bias-notes", data.bias_notes);
    byId("bias-table").append(table([
      { title: "Decision maker", value: (maker) => maker.label },
      { title: "Weights", value: (maker) => maker.weights || null, word: true },
      { title: "Shape bias", value: (maker) => maker.shape_bias, text: (maker) => `${fixed(maker.shape_bias, 3)}${range(maker.shape_bias_low, maker.shape_bias_high, 3)}` },
      { title: "Coverage", value: (maker) => maker.coverage, text: (maker) => `${fixed(maker.coverage, 3)}${maker.low_coverage ? " LOW" : ""}` },
      { title: "By shape", value: (maker) => maker.shape },
      { title: "By texture", value: (maker) => maker.texture },
      { title: "Of", value: (maker) => maker.total },
      { title: "Errors as people's, kappa", value: (maker) => maker.kappa_human, text: (maker) => `${fixed(maker.kappa_human, 3)}${range(maker.kappa_human_low, maker.kappa_human_high, 3)}` },
    ], data.makers, "Shape bias of each decision maker", true));
    buildIntervals();
    buildMatrix();
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

  // --- Summary and provenance -------------------------------------------------------------------

  // Narrowest first; empty where inputs differ in size, so that sides do not compare.
  function bySide() {
    const shown = data.erfs.filter(({ measures }) => known(measures.effective_side));
    const alike = new Set(shown.map(({ resolution }) => resolution.join())).size === 1;
    return alike ? shown.sort((one, other) => one.measures.effective_side - other.measures.effective_side) : [];
  }

  function finding() {
    const sorted = bySide();
    if (sorted.length < 2) return "";
    const said = ({ label, measures }) =>
      `${label}: ${fixed(measures.effective_side, 0)} px, ${percent(measures.linear_50, 1)} of the area`;
    const [height, width] = sorted[0].resolution;
    return `On inputs of ${height}x${width} pixels, half of the influence lies in the widest square for `
      + `${said(sorted.at(-1))}; in the narrowest for ${said(sorted[0])}.`;
  }

  function buildSummary() {
    show("summary", "Table");
    byId("finding").textContent = finding();
    listNotes("erf-notes", data.erf_notes);
    const measure = (name, title, more = {}) => ({
      title, value: (erf) => erf.measures[name], text: (erf) => percent(erf.measures[name]), ...more,
    });
    const any = (name) => data.erfs.some(({ measures }) => known(measures[name]));
    const area = ({ theoretical: reach }) => (reach ? (reach[1] - reach[0]) * (reach[3] - reach[2]) : null);
    const columns = [
      { title: "Model", value: (erf) => erf.label },
      { title: "Weights", value: (erf) => erf.weights, word: true },
      { title: "Input, px", value: (erf) => erf.resolution[0] * erf.resolution[1], text: (erf) => `${erf.resolution[0]}x${erf.resolution[1]}` },
      { title: "Images", value: (erf) => erf.images },
      measure("effective_side", "Side, px", {
        text: ({ measures }) => `${fixed(measures.effective_side, 0)}${range(measures.effective_side_low, measures.effective_side_high, 0)}`,
      }),
      ...[20, 30, 50, 99].map((share) => measure(`linear_${share}`, `r at ${share}\u00a0%`)),
      { title: "Theoretical reach", value: area, text: (erf) => erf.theoretical_size },
      measure("legacy_50", "r at 50\u00a0%, as published (log)"),
      measure("legacy_99", "r at 99\u00a0%, as published (log)"),
      ...(any("paper_99") ? [measure("paper_99", "r at 99\u00a0%, the paper's value")] : []),
      ...(any("top1") ? [measure("top1", "Classified right", { text: (erf) => percent(erf.measures.top1, 0) })] : []),
    ];
    byId("summary-table").append(table(columns, data.erfs, "Effective receptive fields", true));
  }

  async function copy(command, code) {
    try {
      await navigator.clipboard.writeText(command);
      return "Copied";
    } catch { // not allowed here, as in a page inside another
      getSelection().selectAllChildren(code);
      return document.execCommand("copy") ? "Copied" : "Selected: copy it with Ctrl+C";
    }
  }

  function buildProvenance() {
    show("provenance", "Provenance");
    const entry = (title, lines, command) => {
      const details = node("details", {}, node("summary", {}, title),
        node("dl", {}, ...lines.flatMap(([term, value]) => [node("dt", {}, term), node("dd", {}, value)])));
      if (!command) {
        details.append(node("p", { class: "hint" }, "No single command makes this again: it came with the "
          + "package, was put together from parts, or was made in Python."));
        return details;
      }
      const code = node("code", {}, command);
      const button = node("button", { type: "button", "aria-label": `Copy the command of ${title}` }, "Copy command");
      const done = node("span", { role: "status" });
      button.addEventListener("click", async () => { done.textContent = ` ${await copy(command, code)}`; });
      details.append(node("pre", {}, code), button, done);
      return details;
    };
    byId("provenance-list").append(
      ...data.erfs.map(({ label, provenance, command }) => entry(`ERF: ${label}`, provenance, command)),
      ...data.makers.map(({ label, provenance, command }) => entry(`Shape bias: ${label}`, provenance, command)));
  }

  // --- The page ---------------------------------------------------------------------------------

  byId("version").textContent = data.version;
  document.querySelectorAll("[data-for]").forEach((part) => {
    part.hidden = !data[part.dataset.for].length;
  });
  const failed = [...data.failures];
  // What cannot be drawn stands alone, as what could not be read does.
  const attempt = (build) => {
    try {
      build();
    } catch (error) {
      failed.push(`A section of this page cannot be drawn: ${error.message}`);
    }
  };
  if (data.erfs.length) {
    attempt(buildSummary);
    attempt(buildMaps);
    if (data.erfs.length > 1) attempt(buildPair);
    if (data.erfs.some(({ held }) => held)) attempt(buildProfiles);
  }
  if (data.growth.length) attempt(buildGrowth);
  if (data.makers.length) attempt(buildShapeBias);
  if (data.scatter.length) attempt(buildScatter);
  attempt(buildProvenance);
  if (failed.length) {
    show("failures", "Not shown");
    listNotes("failed", failed);
  }
})();

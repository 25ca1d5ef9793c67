// Maps as sections show them: their display, the square, zoom and cursor.

const DISPLAYS = {
  linear: (value) => value,
  log: (value) => Math.log10(value + 1),
  power: (value) => value ** 0.2,
};
const state = { threshold: 50, display: "log", cursor: null, zoom: 1, top: 0, left: 0 };
const frames = new Set();

function decode(picture) {
  if (picture.values) return;
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
    const middle = erf.doubled_center[axis];
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

// Where keys begin, and zooming aims: at the unit; at the middle where it is not known.
const middle = ({ unit, resolution: [height, width] }) =>
  (unit ? { y: (unit[0] + 0.5) / height, x: (unit[1] + 0.5) / width } : { y: 0.5, x: 0.5 });

class Frame {
  // `erfs`: one, or two whose difference is shown.
  constructor(erfs) {
    this.erfs = erfs;
    [this.erf] = erfs;
    erfs.forEach(({ picture }) => decode(picture));
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
    if (!this.difference && this.erf.warnings.length) {
      caption.append(node("ul", { class: "warnings", "aria-label": "Warnings" },
        ...this.erf.warnings.map((warning) => node("li", {}, warning))));
    }
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
    const start = state.cursor || middle(this.erf);
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
    const { codes } = this.erf.picture;
    const pixels = new Uint32Array(codes.length);
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
    fillCanvas(this.canvas, pixels);
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
    const { resolution: [height, width], unit, theoretical } = this.erf;
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
      let place = "is not known";
      if (unit) {
        const [row, column] = unit;
        const arm = (0.022 * Math.min(width, height)) / state.zoom;
        const cross = `M${column + 0.5 - arm} ${row + 0.5}h${2 * arm}M${column + 0.5} ${row + 0.5 - arm}v${2 * arm}`;
        marks.push(shape("path", { class: "halo", d: cross }), shape("path", { class: "unit", d: cross }));
        place = `is at row ${fixed(row, 0)}, column ${fixed(column, 0)} of ${height} rows and ${width} columns`;
      }
      this.canvas.setAttribute("aria-label",
        `Effective receptive field of ${this.erf.label}: ${this.square.textContent}; the unit's centre ${place}.`);
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
  const center = state.cursor || (state.zoom > 1
    ? { y: state.top + half, x: state.left + half }
    : middle(data.erfs[0]));
  const zoom = clamp(state.zoom * factor, 1, 32);
  // What lies under the cursor stays there.
  const share = state.cursor
    ? { y: (center.y - state.top) * state.zoom, x: (center.x - state.left) * state.zoom }
    : { y: 0.5, x: 0.5 };
  look(zoom, center.y - share.y / zoom, center.x - share.x / zoom);
}

// Narrowest first; empty where inputs differ in size, so that sides do not compare.
function bySide() {
  const shown = data.erfs.filter(({ measures }) => known(measures.effective_side));
  const alike = new Set(shown.map(({ resolution }) => resolution.join())).size === 1;
  return alike ? shown.sort((one, other) => one.measures.effective_side - other.measures.effective_side) : [];
}

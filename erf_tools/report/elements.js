// What the sections of the page are made of. Data become text nodes and attribute values only, never
// markup: names may hold anything.
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

// Fills a canvas with colours, row by row.
function fillCanvas(canvas, colours) {
  const image = new ImageData(canvas.width, canvas.height);
  new Uint32Array(image.data.buffer).set(colours);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const NONE = "\u2013";
const known = (value) => value !== null && value !== undefined;
// Rounds to the nearest, and what is exactly between two to the even one, as Python does in tables:
// toFixed takes that away from zero. It is there where one binary place more than digits is left.
// What is rounded to zero has no sign.
function fixed(value, digits) {
  if (!known(value)) return NONE;
  const text = value.toFixed(digits);
  const between = Math.abs(value * 2 ** (digits + 1)) % 2 === 1;
  const even = between && Number(text.at(-1)) % 2;
  const rounded = even ? value.toFixed(digits + 1).slice(0, digits ? -1 : -2) : text;
  return Number(rounded) === 0 ? rounded.replace("-", "") : rounded;
}
const percent = (value, digits = 2) => (known(value) ? `${fixed(100 * value, digits)}\u00a0%` : NONE);
const precise = (value) =>
  value === 0 ? "0" : value >= 1000 || value < 1e-3
    ? value.toExponential(1).replace(".0e", "e").replace("e+", "e")
    : String(Number(value.toPrecision(3)));
const times = (value) => `${precise(value)} \u00d7`;
const range = (low, high, digits) =>
  known(low) && known(high) ? ` [${fixed(low, digits)}, ${fixed(high, digits)}]` : "";
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const announce = (text) => { byId("announcement").textContent = text; };

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

// A number of a row with its interval, and a column of such.
const estimate = (row, name, digits = 3) =>
  `${fixed(row[name], digits)}${range(row[`${name}_low`], row[`${name}_high`], digits)}`;
const estimates = (name, title, digits) =>
  ({ title, value: (row) => row[name], text: (row) => estimate(row, name, digits) });

const listNotes = (id, notes) => byId(id).append(...notes.map((note) => node("li", {}, note)));

// --- Sections ---------------------------------------------------------------------------------

const failed = [...data.failures];
// What cannot be drawn stands alone, as what could not be read does.
function attempt(draw) {
  try {
    draw();
  } catch (error) {
    failed.push(`A section of this page cannot be drawn: ${error.message}`);
  }
}

function show(id, title) {
  byId(id).hidden = false;
  byId("contents").append(node("li", {}, node("a", { href: `#${id}` }, title)));
}

// What stands in the section on provenance, as [title, what has a provenance and a command].
const origins = [];

// Shows a section by drawing what there is to show, if there is any.
function section(id, title, shown, draw) {
  if (!shown.length) return;
  show(id, title);
  draw(shown);
}
